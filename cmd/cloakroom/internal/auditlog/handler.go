package auditlog

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// Bounds of an entry, in bytes. What is longer keeps its beginning and three dots.
const (
	maxKind    = 64
	maxWho     = 512
	maxAddr    = 128
	maxText    = 512
	maxDetails = 16 // attributes
)

// timeLayout is RFC 3339 with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// Handler returns a handler that passes everything on to next, and keeps the events
// that belong here as well, whatever next's level is: from level info on. Lines about
// entries that could not be kept go to next alone. It wants to see the request's id and
// address among the attributes, so it stands behind the handler that adds them.
func (l *Log) Handler(next slog.Handler) slog.Handler {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = next
	}
	return &handler{log: l, next: next}
}

type handler struct {
	log   *Log
	next  slog.Handler
	attrs []slog.Attr
	group string // with a dot behind each
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.next.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	// First the line: it is there even if the program ends while it waits.
	var err error
	if h.next.Enabled(ctx, r.Level) {
		err = h.next.Handle(ctx, r)
	}
	if r.Level >= slog.LevelInfo && kinds[r.Message] != ignored {
		h.log.report(ctx, h.entry(r))
	}
	return err
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.next = h.next.WithAttrs(attrs)
	c.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		a.Key = h.group + a.Key
		c.attrs = append(c.attrs, a)
	}
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.next = h.next.WithGroup(name)
	if name != "" {
		c.group += name + "."
	}
	return &c
}

// report keeps an entry and waits for it, where its kind asks for that.
func (l *Log) report(ctx context.Context, e Entry) {
	i := l.add(e, time.Now())
	if i == nil {
		return
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-i.told:
	case <-t.C:
	case <-ctx.Done(): // it is kept nevertheless
	}
}

// entry makes an entry of a record.
func (h *handler) entry(r slog.Record) Entry {
	e := Entry{Time: stamp(r.Time), Kind: r.Message, Count: 1}
	if r.Time.IsZero() {
		e.Time = stamp(time.Now())
	}
	for _, a := range h.attrs {
		e.set("", a)
	}
	r.Attrs(func(a slog.Attr) bool {
		e.set(h.group, a)
		return true
	})
	return e
}

// set takes an attribute.
func (e *Entry) set(group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, a := range v.Group() {
			e.set(group, a)
		}
		return
	}
	if a.Equal(slog.Attr{}) {
		return
	}
	switch key := group + a.Key; key {
	case "user":
		e.User = bounded(text(v), maxWho)
	case "account":
		e.Account = bounded(text(v), maxWho)
	case "actor":
		e.Actor = bounded(text(v), maxWho)
	case "name":
		e.Name = bounded(text(v), maxText)
	case "addr":
		e.Addr = bounded(text(v), maxAddr)
	case "session":
		e.Session = bounded(text(v), maxKind)
	case "request":
		e.Request = bounded(text(v), maxAddr)
	case "reason":
		e.Reason = bounded(text(v), maxText)
	default:
		if e.Details == nil {
			e.Details = make(map[string]string)
		}
		if key = bounded(key, maxKind); len(e.Details) < maxDetails || e.Details[key] != "" {
			e.Details[key] = bounded(text(v), maxText)
		}
	}
}

// text is a value as people read it.
func text(v slog.Value) string {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().UTC().Format(time.RFC3339Nano)
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error:
			return x.Error()
		case []string:
			return strings.Join(x, ", ")
		}
		return fmt.Sprint(v.Any())
	}
	return v.String()
}

// bounded is s in printable ASCII, of at most n bytes. Text that came from outside has been
// quoted by package event; this catches what was taken for the program's own.
func bounded(s string, n int) string {
	if len(s) > n*4 {
		s = s[:n*4] // before the work of quoting it
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			s = strconv.QuoteToASCII(s)
			break
		}
	}
	if len(s) > n {
		s = s[:n-3] + "..."
	}
	return s
}

// stamp is a time as an entry has it.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// Who returns the text under which somebody of this name or ID stands in entries, for
// a Query.
func Who(name string) string { return bounded(event.User(name).Value.String(), maxWho) }
