package memcachestore

import "fmt"

// CheckURL returns what Open would refuse of a URL and options before it
// connects, for a program that lists all faults of its configuration at once.
func CheckURL(url string, opts *Options) error {
	if opts == nil {
		opts = new(Options)
	}
	if _, err := parseURL(url, opts); err != nil {
		return fmt.Errorf("memcachestore: %w", err)
	}
	return nil
}
