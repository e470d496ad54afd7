package main_test

import (
	"strings"
	"testing"
)

// Of two instances with the same accounts and no administrator each prints a link, and
// says what becomes of the other one: the later start's is the only one that works.
func TestALaterStartReplacesTheSetupLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, dir)
	before := first.await(linkLine)
	second := start(t, dir)
	link := second.await(linkLine)
	for _, s := range []*server{first, second} {
		if !strings.Contains(s.stdout.String(), "this link, which replaces any earlier one: http") {
			t.Errorf("a start does not say that its link replaces earlier ones: %s", s.stdout.String())
		}
	}
	c := first.client()
	c.want(c.page(strings.TrimPrefix(before, first.URL)), 410)
	c.want(c.page(strings.TrimPrefix(link, second.URL)), 200)
}
