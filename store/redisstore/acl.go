package redisstore

import (
	"cmp"
	"strings"
)

// ACL returns the rules that an ACL SETUSER needs for a user who may do what a
// Store with this prefix does, and nothing else; empty means [DefaultPrefix]. What
// turns the user on, and the password, come before them.
func ACL(prefix string) string {
	prefix = cmp.Or(prefix, DefaultPrefix)
	// In a pattern these stand for other characters.
	prefix = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(prefix)
	return "resetkeys resetchannels -@all ~" + prefix + "* " +
		"+ping +select +eval +evalsha +get +set +getrange +setrange +del +pexpireat +pexpiretime " +
		"+zadd +zrem +zrange +zscore +zremrangebyscore +time +hget +hset +hgetall"
}
