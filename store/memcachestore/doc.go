// Package memcachestore keeps sessions in Memcached, for programs that have one
// and do not mind that it forgets.
//
//	st, err := memcachestore.Open(ctx, "memcache://127.0.0.1:11211/shop", nil)
//	if err != nil {
//		return err
//	}
//	defer st.Close()
//	manager, err := cloakroom.New(st, keys, nil)
//
// Whoever can choose takes sqlstore or redisstore. Memcached is a cache: what it
// has acknowledged it keeps until it needs the room, or is restarted. As long as
// it keeps it, this store keeps the whole contract of package store. What it
// means when it does not is said here.
//
// # What the server may forget
//
// A server that runs out of memory (memcached -m, 64 MiB by default) throws out
// what was used longest ago among items of a like size, and one that is restarted
// has forgotten everything.
//
//   - A session that is forgotten is a visitor who is signed out: the next request
//     is anonymous. It never becomes somebody else's session, and no error.
//   - A tombstone that is forgotten leaves nothing, and from nothing no session
//     comes back: an update or a touch finds no record and does nothing, and a
//     create is only ever made under a new token. What is lost with it is the
//     reason of the end, and with it the courtesy of a "session renewed" to a late
//     request. One thing remains: a create whose program gave it up, ended the
//     session, and whose bytes the network delivers after the tombstone was
//     forgotten. It makes a session whose token nobody has.
//   - A list of a user's sessions that is forgotten leaves sessions that work and
//     that no list shows, and EndUser, which ends what is listed, does not end
//     them. Each of them gets back on the list at a write that finds five minutes
//     gone since it was there: activity brings one about, so a session in use is
//     missing for minutes, and an idle one until it is used again or expires. To
//     look for the list is to use it: one whose sessions are in use is not what was
//     used longest ago. A password that is changed and a user who is disabled do
//     not depend on the list: package auth refuses their sessions by the user's
//     epoch.
//   - The ids of keys (store.KeyRegistry) that are forgotten are those of a new
//     store: an instance with other keys then starts, and everybody is signed out.
//
// The settings that narrow it: memory that suffices (-m; "evictions" of the
// server's stats should stay 0), and -M, with which a full server refuses what is
// new, as [ErrFull], and forgets nothing.
//
// What the server keeps and nobody can read, garbage or the format of a later
// version, is another matter: such a session has ended, and is a log line; an End
// replaces it. A list of a user's sessions that cannot be read is an error of
// ListUser and EndUser, until a create replaces it.
//
// # Several servers
//
// The keys are spread over the servers by the names that the URL gives them, so
// all instances give the same names, in any order. A server that does not answer
// is an outage for the sessions it has, and only for them; no other server takes
// its place. It can come back at any time: restarted, it has forgotten its
// sessions; after a mere break in the network it has them all, as nobody could
// have ended one meanwhile.
//
// A change of the list is another matter. A server that is taken from it takes
// its sessions along: these visitors are signed out. If it is put back with what
// it had, what it had is valid again: a session that was ended in between, when
// the list was without it, lives again, and an old state takes the place of a
// newer one. So the rule: restart a server before its name is put on the list, and
// change the list on all instances at once.
//
// # What it costs
//
// A read is one command. An update, a touch and an end are two, a read and a
// compare-and-swap, and they carry the whole record both ways; where another
// writer comes in between, both begin anew. A create is one; with a user, whose
// list is written first, three. Five minutes after the last look at the list, a
// write is one command more, or two to mend it.
//
// ListUser reads each record of the list whole. The list keeps an entry of 48
// bytes for each sign-in until the session's Deadline has passed, or it is seen
// to have ended, and has room for 16,384; a create beyond them returns
// [ErrTooManySessions]. A server with items of less than 1 MiB has less room.
//
// # Sizes and times
//
// The largest item of a server is 1 MiB by default, with its key and some
// bookkeeping. So by default this store takes somewhat less than store.MaxData:
// memcached -I 2m lifts that. Larger records are answered with [ErrTooLarge], and
// what was stored stays.
//
// The server forgets by its own clock what has expired. Lifetimes of up to 30 days
// are given to it as a number of seconds, so that no two clocks have to agree.
// Longer ones it takes as dates only: there its clock and the program's may be a
// day apart. Dates behind 18 January 2038 do not fit into the protocol; such items
// stay until they are thrown out.
//
// The server needs compare-and-swap: [Open] refuses one that runs with -C.
//
// # Who may reach the server
//
// Whoever reaches a Memcached may do everything: read, throw away, and overwrite
// what the store keeps. They can sign everybody out, but not make a session, read
// one's values or change them: these are sealed. What they put under a key is read
// whole before it is refused, up to the server's largest item. To put back what a
// key had before is within their power too: an ended session lives again, until
// its Deadline, for who still has its token. A server has no accounts with
// rights of their own. The most there is: a Unix socket with the rights of its
// file; TLS with client certificates (memcached -Z -o ssl_verify_mode=2); or a
// user and a password (memcached -Y), which the URL may carry. [CheckURL] tells a
// program that insists on one of them which there is (ASVS 13.2.1). Without TLS
// only servers on this machine are used, unless Options.AllowPlaintext is set.
//
// # Calls and connections
//
// Every call heeds its context: while it waits for one of the connections to a
// server, of which there are Options.MaxConns at most, while it dials, sends and
// reads. What is under way when a context ends is given up, and the connection is
// closed with it, so that an answer that comes late is never read as that to
// another question. A write that has been sent waits 50 ms longer for its answer,
// which mostly is there; a write whose answer is lost is never sent again. A
// server that is back is used again by the next call.
//
// The commands are those of the library gomemcache. It has one timeout for all
// calls and knows no context; so each connection has a client of its own, which
// one call holds at a time and whose dialling and waiting ends with that call's
// context.
package memcachestore
