package csrf

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// Why the second check refuses: the reasons of log lines.
const (
	noToken   = "no token"
	wrongOne  = "wrong token"
	tooMany   = "too many tokens"
	noCookie  = "no pre-login cookie"
	wasBefore = "token of before a renewal"
)

// contextKey finds the innermost exchange in a context.
type contextKey struct{}

// exchange is one request and its response: the context of the one and the writer
// of the other in one piece of memory. The session is not looked at before it has
// to be, since whoever looks makes the response one for this visitor only.
type exchange struct {
	context.Context
	p      *Protection
	s      *cloakroom.Session
	r      *http.Request
	writer writer

	mu     sync.Mutex
	cookie cookieID // the pre-login cookie, once looked for or set
	made   string   // the token of this response
	bound  store.ID // the session that made belongs to; zero for the cookie
}

func (x *exchange) Value(key any) any {
	if _, ok := key.(contextKey); ok {
		return x
	}
	return x.Context.Value(key)
}

// check is both checks.
func (x *exchange) check() error {
	var e *refusal
	if reason := x.p.checkOrigin(x.r); reason != "" {
		e = &refusal{ErrCrossOrigin, reason}
	} else if reason := x.checkToken(); reason != "" {
		e = &refusal{ErrToken, reason}
		if x.s.Late() {
			// Its token was right until a moment ago, and the browser has a new
			// session already: not a forgery but a race, and the client may try again.
			e = &refusal{cloakroom.ErrRenewed, wasBefore}
		}
	}
	if e == nil {
		return nil
	}
	x.log(e)
	return e
}

// checkToken tells why the token is wrong, and "" where it is right or not needed.
func (x *exchange) checkToken() (reason string) {
	purpose, bound := x.p.sessions, []byte(nil)
	if id := x.s.ID(); !id.IsZero() {
		bound = id[:]
	} else if media, _ := mediaType(x.r); media == "application/json" {
		return ""
	} else {
		// Without a cookie no token can be right, and the body need not be read.
		cookie, _ := x.p.readCookie(x.r)
		if cookie == (cookieID{}) {
			return noCookie
		}
		purpose, bound = x.p.visitors, cookie[:]
	}
	// A header and a field, or a field twice, have to say the same: who can add
	// one must not choose which one counts. What is in the header is judged before
	// the body is read.
	header := x.r.Header[http.CanonicalHeaderKey(headerName)]
	if reason := judge(purpose, bound, header); reason != "" {
		return reason
	}
	field := formTokens(x.r, x.p.maxForm)
	if len(header)+len(field) == 0 {
		return noToken
	}
	return judge(purpose, bound, field)
}

// judge tells why one of the tokens is not made for what bound names.
func judge(p *keyring.Purpose, bound []byte, tokens []string) (reason string) {
	if len(tokens) > maxTokens {
		return tooMany
	}
	for _, token := range tokens {
		if !isToken(p, bound, token) {
			return wrongOne
		}
	}
	return ""
}

// token is Token.
func (x *exchange) token() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	id := x.s.ID()
	if x.made != "" && x.bound == id {
		return x.made
	}
	if !id.IsZero() {
		x.made = makeToken(x.p.sessions, id[:])
	} else {
		if x.cookie == (cookieID{}) && !x.findCookie() {
			return ""
		}
		x.made = makeToken(x.p.visitors, x.cookie[:])
	}
	x.bound = id
	return x.made
}

// findCookie keeps the request's pre-login cookie where it has some time left, so
// that forms in several tabs all work, and sets a new one otherwise.
func (x *exchange) findCookie() bool {
	cookie, expires := x.p.readCookie(x.r)
	if cookie != (cookieID{}) && (time.Until(expires) >= cookieRest || x.writer.sent.Load()) {
		x.cookie = cookie
		return true
	}
	if x.writer.sent.Load() {
		err := fmt.Errorf("csrf: set the pre-login cookie for a token: %w", cloakroom.ErrHeaderSent)
		event.Log(x, x.p.logger, slog.LevelError, event.WriteAfterEnd, event.Addr(x.p.m.ClientAddr(x.r)), event.Err(err))
		return false
	}
	x.cookie = x.p.issueCookie(x.writer.Header())
	return true
}

// writer notes that the header has left, after which no cookie can be set.
type writer struct {
	http.ResponseWriter
	sent atomic.Bool
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	if status < 100 || status > 199 || status == http.StatusSwitchingProtocols {
		w.sent.Store(true)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.sent.Store(true)
	return w.ResponseWriter.Write(p)
}

func (w *writer) WriteString(s string) (int, error) {
	w.sent.Store(true)
	return io.WriteString(w.ResponseWriter, s)
}

func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	w.sent.Store(true)
	return io.Copy(w.ResponseWriter, src)
}

func (w *writer) Flush() { _ = w.FlushError() }

func (w *writer) FlushError() error {
	w.sent.Store(true)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.sent.Store(true)
	}
	return c, rw, err
}
