package audit

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// RequestID is the header that carries a request's id, in both directions.
const RequestID = "X-Request-Id"

// request is what lines say about the request they belong to.
type request struct {
	id, addr string
	https    bool
	trusted  bool // the peer may say where a request came from
}

type requestKey struct{}

func fromContext(ctx context.Context) *request {
	rq, _ := ctx.Value(requestKey{}).(*request)
	return rq
}

// ClientAddr returns the address that the request came from, as Middleware found
// it: "" without it.
func ClientAddr(r *http.Request) string {
	if rq := fromContext(r.Context()); rq != nil {
		return rq.addr
	}
	return ""
}

// HTTPS tells whether the browser spoke TLS: with us, or with a trusted proxy
// that says so.
func HTTPS(r *http.Request) bool {
	rq := fromContext(r.Context())
	return r.TLS != nil || rq != nil && rq.https
}

// Middleware gives each request an id and an address, writes a line about it at
// level debug, and is the last resort of a handler that panics: the answer is
// then fail, the program lives on (ASVS 16.5.4). Only peers in trusted may say
// where a request came from.
func Middleware(l *slog.Logger, trusted []netip.Prefix, fail http.HandlerFunc, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rq := identify(r, trusted)
		w.Header().Set(RequestID, rq.id)
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, rq))
		logSpoofed(l, r, rq.trusted)
		cw := &countingWriter{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == http.ErrAbortHandler {
				panic(p) // the handler's own wish
			}
			if p != nil {
				logPanic(l, r, p)
				if cw.status != 0 {
					// Half an answer has left: only a broken connection tells
					// the client so.
					panic(http.ErrAbortHandler)
				}
				fail(cw, r)
			}
			// The query is left out: a setup link has its token there.
			l.LogAttrs(r.Context(), slog.LevelDebug, "request",
				event.Text("method", r.Method), event.Text("path", r.URL.Path),
				slog.Int("status", cmp.Or(cw.status, http.StatusOK)), slog.Int64("bytes", cw.bytes),
				slog.Duration("took", time.Since(start)))
		}()
		next.ServeHTTP(cw, r)
	})
}

// logPanic writes what is known of a panic. The text of a runtime error is the
// runtime's own; any other value may hold anything, so only its type is told.
// A stack names functions and lines, no values but addresses.
func logPanic(l *slog.Logger, r *http.Request, p any) {
	what := fmt.Sprintf("%T", p)
	if err, ok := p.(runtime.Error); ok {
		what = err.Error()
	}
	event.Log(r.Context(), l, slog.LevelError, event.Panic,
		slog.String("err", what), slog.String("stack", string(debug.Stack())))
}

// identify finds a request's id and address. An inbound id is taken from a
// trusted proxy only, and only if it looks like one.
func identify(r *http.Request, trusted []netip.Prefix) *request {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	rq := &request{addr: host}
	if peer, err := netip.ParseAddr(host); err == nil && contains(trusted, peer) {
		rq.trusted = true
		rq.addr = walk(r.Header.Values("X-Forwarded-For"), peer, trusted).String()
		rq.https = r.Header.Get("X-Forwarded-Proto") == "https"
		if id := r.Header.Get(RequestID); wellFormed(id) {
			rq.id = id
		}
	}
	if rq.id == "" {
		rq.id = rand.Text()
	}
	return rq
}

// walk goes through X-Forwarded-For from right to left: each proxy appends whom
// it heard the request from, so the first address that is no trusted proxy is
// the client, and everything left of it is the client's own invention. Where an
// entry is no address, the proxy that passed it on is as far as we know.
func walk(lines []string, peer netip.Addr, trusted []netip.Prefix) netip.Addr {
	addr := peer.Unmap()
	entries := strings.Split(strings.Join(lines, ","), ",")
	for i := len(entries) - 1; i >= 0 && contains(trusted, addr); i-- {
		next, ok := parseHop(strings.TrimSpace(entries[i]))
		if !ok {
			break
		}
		addr = next
	}
	return addr
}

// parseHop reads an address as proxies write it: with or without a port, IPv6
// with or without brackets.
func parseHop(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

func contains(trusted []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// wellFormed tells an id from something that only claims to be one.
func wellFormed(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	for _, b := range []byte(id) {
		if !('0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '-' || b == '_' || b == '.') {
			return false
		}
	}
	return true
}

// countingWriter remembers what was answered.
type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *countingWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the writer below.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
