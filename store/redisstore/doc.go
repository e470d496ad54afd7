// Package redisstore keeps sessions in Redis or Valkey.
//
//	st, err := redisstore.Open(ctx, "redis://:password@localhost:6379/0", nil)
//	if err != nil {
//		return err
//	}
//	defer st.Close()
//	manager, err := cloakroom.New(st, keys, nil)
//
// A read is one GET. Each change is one script: a create with the user's index, an
// update, a touch, an end, and an end of all sessions of a user, in steps of 500.
// Nothing is sent twice. The server forgets by itself what has expired, so the
// store needs no sweep; and it cannot be walked in the order of IDs, since that
// would take an index over all sessions that every create writes to.
//
// Redis 7.0 or Valkey 7.2 is needed. Only what both have is used; the tests run on
// Redis 7.0.
//
// # What is kept where
//
//	PREFIX s:ID     a session, or what is left of one, as one string
//	PREFIX u:NAME   a user's sessions: IDs in a sorted set, scored with the time
//	                at which the entry may go: the session's Deadline and store.Slack
//	PREFIX keys     a hash: ids of the signing keys in use, and when
//
// ID is base64url of the session's ID; NAME is a hash of the user ID, which stands
// in no key's name. In the value of a session it does, beside bytes that are sealed.
// Keys expire at the session's Expires, or a tombstone's time, plus [store.Slack].
// The time is ours and absolute, judged by the server's clock: one that is more
// than Slack ahead forgets sessions early, which signs out, and never brings back.
//
// A session that cannot be read is one that has ended, and a log line; an End
// replaces it. An index that cannot be read is an error of ListUser and EndUser, as
// nobody knows whom it named, until a create replaces it.
//
// A create writes the index entry and the record in one step, and an entry stays
// until its score is past, whether its record is there or not. The scripts reach
// from a record to its index, and so belong on one server. A cluster, which has
// the two in different slots, can keep the same promise in two steps: the entry
// first, then the record; and an end of all ends what the index names, found or
// not, so that a create on its way meets a tombstone. New does not take a
// cluster's client.
//
// # What the server does not promise
//
// The contract of package store is kept as far as the server keeps what it has
// acknowledged.
//
// Eviction. With maxmemory and any policy but noeviction, sessions and tombstones
// vanish when memory is short. A visitor whose session has vanished is signed out.
// An ended session stays ended without its tombstone, since an update finds
// nothing to update; only the hint "renewed just now" is lost. If a user's index
// vanishes, his sessions are in no list, and EndUser does not end them; each of
// them is gone at its next change or touch, which look for the entry, but can be
// read until then: a tenth of the idle timeout for a visitor who is active. The
// setting is
//
//	maxmemory-policy noeviction
//
// with which a full server refuses new sessions and updates, while reads, touches
// and ends go on.
//
// Persistence. A server without any forgets all sessions when it stops: everybody
// is signed out. With snapshots alone a server that crashes comes back in an earlier
// state, in which sessions live that have ended since. With
//
//	appendonly yes
//	appendfsync always
//
// every end that was acknowledged is kept. With appendfsync everysec the last second
// may be lost, usually two at most, when the machine goes down, or when the process
// does while the disk is slow.
//
// Failover. A replica follows the primary after the fact. If it takes over, what the
// primary acknowledged last is lost, an end among it. This setting bounds by how
// much, in seconds, and refuses writes when no replica keeps up:
//
//	min-replicas-to-write 1
//	min-replicas-max-lag 1
//
// The epoch of a user in package auth is in another database, and is kept: a
// password change ends sessions whatever Redis has lost.
//
// # Rights
//
// The store needs the commands and keys that [ACL] returns, and no others:
//
//	ACL SETUSER cloakroom on >PASSWORD resetkeys resetchannels -@all ~cloakroom:*
//	    +ping +select +eval +evalsha +get +set +getrange +setrange +del +pexpireat
//	    +pexpiretime +zadd +zrem +zrange +zscore +zremrangebyscore +time +hget +hset
//	    +hgetall
//
// # Limits
//
// A session may be as large as the server takes strings, 512 MB by default, and
// 99,999,999 bytes of it Info. All calls share one connection, or Options.MaxConns,
// with 512 calls under way on each; the next waits as long as its context lasts. A connection on which nothing
// was heard for 5 seconds is made anew. While the server is away, calls wait for
// the attempt to reach it under way, at most 2 seconds and never longer than their
// context, and fail with it.
package redisstore
