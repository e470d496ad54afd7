package main_test

import (
	"strings"
	"testing"
)

// TestPagesInABrowser walks through every page as people do, and has each judged on
// the way.
func TestPagesInABrowser(t *testing.T) {
	s := start(t, t.TempDir())
	b := &browser{t, chromium(t, true), strings.Replace(s.URL, "127.0.0.1", "localhost", 1)}
	b.open(b.url + "/auth/login")
	b.look("before setup")
}
