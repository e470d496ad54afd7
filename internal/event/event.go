// Package event writes one structured log line per event.
//
// The message of a line is the event's name, one of the constants of this
// package, so that a line is found by its name and never by its wording. Outside
// text reaches a line only through [User], [Addr], [Text] and [Err], which leave
// printable ASCII: slog's JSON handler passes U+202E, U+0085 and U+200B through,
// and a terminal or a log viewer acts on them (ASVS 16.4.1).
package event

import (
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/store"
)

// How much of an outside text, and of an error, a line keeps, in bytes before
// quoting.
const (
	maxText = 256
	maxErr  = 1024
)

// Log writes the event name with its attributes. A nil logger is
// [slog.Default]. The line's source is the caller of Log.
func Log(ctx context.Context, l *slog.Logger, level slog.Level, name string, attrs ...slog.Attr) {
	if l == nil {
		l = slog.Default()
	}
	if !l.Enabled(ctx, level) {
		return
	}
	// Logger.LogAttrs would name this function as the source of every line.
	var pc [1]uintptr
	runtime.Callers(2, pc[:]) // skip Callers and Log
	r := slog.NewRecord(time.Now(), level, name, pc[0])
	r.AddAttrs(attrs...)
	_ = l.Handler().Handle(ctx, r) // as slog itself does: a log that fails has nobody to tell
}

// User is who an event is about: a user's ID, or a name as it was typed.
func User(name string) slog.Attr { return Text("user", name) }

// Addr is the address a request came from.
func Addr(a string) slog.Attr { return Text("addr", a) }

// Reason is why something was refused or ended: a fixed word of this module,
// never outside text.
func Reason(r string) slog.Attr { return slog.String("reason", r) }

// Outcome is how something ended: a fixed word of this module.
func Outcome(o string) slog.Attr { return slog.String("outcome", o) }

// Session is a session under the handle that device lists show as well. The
// zero ID gives no attribute.
func Session(id store.ID) slog.Attr {
	if id.IsZero() {
		return slog.Attr{} // handlers leave out the zero Attr
	}
	return slog.String("session", id.Handle())
}

// Text is outside text under key. Printable ASCII stands as it is; text with
// anything else in it, with a quote or a backslash, is a quoted Go string, so that
// nothing can pass for what it is not. Of more than 256 bytes it keeps the
// beginning, quoted, followed by three dots.
func Text(key, s string) slog.Attr {
	if len(s) <= maxText && printable(s) && !strings.ContainsAny(s, `"\`) {
		return slog.String(key, s)
	}
	return slog.String(key, quote(s, maxText))
}

// Err is what went wrong. An error's text may repeat what came from outside:
// where it holds anything but printable ASCII it is quoted as a whole. A nil
// error gives no attribute.
func Err(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	s := err.Error()
	if len(s) <= maxErr && printable(s) {
		return slog.String("err", s)
	}
	return slog.String("err", quote(s, maxErr))
}

// Printable is outside text as it may stand in what a terminal shows: what has anything
// that cannot be printed, a control character or one that turns the direction of
// writing, is a quoted Go string. Letters of all scripts stand as they are.
func Printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return s
	}
	return strconv.Quote(s)
}

// quote cuts s to n bytes, at the beginning of a character, and quotes it.
func quote(s string, n int) string {
	if len(s) <= n {
		return strconv.QuoteToASCII(s)
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strconv.QuoteToASCII(s[:n]) + "..."
}

// printable tells whether s is printable ASCII throughout.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
