package storetest

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// differ says in words how a live record differs from what it should be, "" if
// it does not.
func differ(got, want store.Record) string {
	var diffs []string
	add := func(field string, got, want any) {
		diffs = append(diffs, fmt.Sprintf("%s is %v, want %v", field, got, want))
	}
	if got.ID != want.ID {
		add("ID", got.ID, want.ID)
	}
	if got.Version != want.Version {
		add("Version", got.Version, want.Version)
	}
	if got.UserID != want.UserID {
		add("UserID", quote([]byte(got.UserID)), quote([]byte(want.UserID)))
	}
	for _, f := range []struct {
		name      string
		got, want time.Time
	}{
		{"Created", got.Created, want.Created},
		{"Seen", got.Seen, want.Seen},
		{"Expires", got.Expires, want.Expires},
		{"Deadline", got.Deadline, want.Deadline},
	} {
		if !sameTime(f.got, f.want) {
			add(f.name, f.got, f.want)
		}
	}
	if !bytes.Equal(got.Info, want.Info) {
		add("Info", quote(got.Info), quote(want.Info))
	}
	if !bytes.Equal(got.Data, want.Data) {
		add("Data", quote(got.Data), quote(want.Data))
	}
	if got.Ended != (store.Ended{}) {
		add("Ended", got.Ended, "nothing in a live record")
	}
	return strings.Join(diffs, "; ")
}

// quote shows the beginning of bytes, and how many there are.
func quote(b []byte) string {
	const shown = 40
	if len(b) <= shown {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q… (%d bytes)", b[:shown], len(b))
}
