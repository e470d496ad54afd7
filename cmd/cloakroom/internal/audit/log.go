// Package audit makes the log of the service: how its lines look, and what every
// line of a request says about the request.
package audit

import (
	"context"
	"io"
	"log"
	"log/slog"
	"strconv"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// NewLogger returns a logger that writes one line an event to w: as "json" or as
// "text", from level "debug", "info", "warn" or "error" on. Times are in UTC
// (ASVS 16.2.2). Lines that are written under the context of a request carry its
// id and the client's address, unless they name an address themselves.
//
// Whatever is not printable ASCII is quoted, so that no text from outside can
// begin a line of its own or act on a terminal: slog's JSON handler passes
// U+202E, U+0085 and U+200B through (ASVS 16.4.1).
func NewLogger(w io.Writer, format, level string) *slog.Logger {
	opts := &slog.HandlerOptions{Level: levels[level], ReplaceAttr: safe}
	if format == "json" {
		return slog.New(&handler{slog.NewJSONHandler(w, opts)})
	}
	return slog.New(&handler{slog.NewTextHandler(w, opts)})
}

// Tee returns a logger that writes to l through the handler that wrap puts before l's
// own. It sees each line with what is known of its request.
func Tee(l *slog.Logger, wrap func(slog.Handler) slog.Handler) *slog.Logger {
	if h, ok := l.Handler().(*handler); ok {
		return slog.New(&handler{wrap(h.Handler)})
	}
	return slog.New(wrap(l.Handler()))
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// safe is the last hand on every attribute. Packages quote what they know to be
// outside text; this catches what they took for their own, such as the text of
// an error.
func safe(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindTime:
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	case slog.KindString:
		if s := a.Value.String(); !printable(s) {
			a.Value = slog.StringValue(strconv.QuoteToASCII(s))
		}
	case slog.KindAny:
		// A level prints itself; an error's text may repeat anything.
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(err.Error())
			return safe(nil, a)
		}
	}
	return a
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// handler adds to each line what is known of its request.
type handler struct{ slog.Handler }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if rq := fromContext(ctx); rq != nil {
		named := false
		r.Attrs(func(a slog.Attr) bool { named = a.Key == "addr"; return !named })
		r = r.Clone()
		r.AddAttrs(slog.String("request", rq.id))
		if !named {
			r.AddAttrs(event.Addr(rq.addr))
		}
	}
	return h.Handler.Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.Handler.WithAttrs(attrs)}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name)}
}

// ErrorLog is what [http.Server] complains to: failed TLS handshakes and the
// like, which are the client's doing and so no more than a notice.
func ErrorLog(l *slog.Logger) *log.Logger {
	return log.New(notice{l}, "", 0)
}

type notice struct{ l *slog.Logger }

func (n notice) Write(p []byte) (int, error) {
	n.l.LogAttrs(context.Background(), slog.LevelInfo, "server", slog.String("notice", strings.TrimSpace(string(p))))
	return len(p), nil
}
