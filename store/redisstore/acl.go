package redisstore

import "cmp"

// ACL returns the rules that an ACL SETUSER needs for a user who may do what a
// Store with this prefix does, and nothing else; empty means [DefaultPrefix]. What
// turns the user on, and the password, come before them.
func ACL(prefix string) string {
	return "resetkeys resetchannels -@all ~" + glob(cmp.Or(prefix, DefaultPrefix)) + "* " +
		"+ping +select +eval +evalsha +get +set +getrange +setrange +del +pexpireat +pexpiretime " +
		"+zadd +zrem +zrange +zscore +zremrangebyscore +time +hget +hset +hgetall"
}
