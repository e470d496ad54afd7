package redisstore

import "fmt"

// CheckURL returns what Open would refuse of a URL and options before it
// connects, for a program that lists all faults of its configuration at once.
func CheckURL(url string, opts *Options) error {
	var o Options
	if opts != nil {
		o = *opts
	}
	if _, err := parse(url, o.AllowPlaintext); err != nil {
		return fmt.Errorf("redisstore: open: %w", err)
	}
	return o.check()
}
