package cloakroom

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/store"
)

// Handler gives every request to next a [Session], and saves it before the first
// byte of the response's header leaves: on WriteHeader, Write, Flush, ReadFrom or
// Hijack, or when next returns, whatever the status; 1xx passes by. If the
// session cannot be saved, the header becomes again what it was before next ran,
// Options.ErrorHandler answers, and what next writes is thrown away. A panic
// saves nothing.
//
// A visitor who has no session and stores nothing costs no store call and gets
// no cookie. If the store cannot say whose a cookie is, the answer is 503 and the
// cookie stays: an outage is no logout.
//
// A handler that looks at its session gets Vary: Cookie and Cache-Control:
// no-store, unless it says private or no-store itself.
func (m *Manager) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(m) != nil {
			panic("cloakroom: Manager.Handler stands twice around this handler: take one away")
		}
		e := &exchange{}
		s := &e.session
		s.m, s.r = m, r
		if m.skips(r) {
			s.skipped = true
		} else if lines := r.Header["Cookie"]; len(lines) > 0 {
			if err := m.load(s, lines); err != nil {
				m.opts.ErrorHandler(w, r, err)
				return
			}
		}
		e.writer = responseWriter{ResponseWriter: w, session: s}
		if h := w.Header(); len(h) > 0 {
			e.writer.before = h.Clone()
		}
		e.context = sessionContext{Context: r.Context(), session: s}
		whole := false
		defer func() {
			if !whole {
				e.writer.abort()
			}
		}()
		next.ServeHTTP(&e.writer, r.WithContext(&e.context))
		whole = true
		e.writer.finish()
	})
}

// exchange is all that a request needs from us, in one piece of memory.
type exchange struct {
	session Session
	context sessionContext
	writer  responseWriter
}

// sessionContext is the request's context with the session in it: once for
// FromContext, which finds the nearest, and once for each Manager.
type sessionContext struct {
	context.Context
	session *Session
}

type sessionKey struct{}

func (c *sessionContext) Value(key any) any {
	switch k := key.(type) {
	case sessionKey:
		return c.session
	case *Manager:
		if k == c.session.m {
			return c.session
		}
	}
	return c.Context.Value(key)
}

// outside is a context without the session. While a session is locked, whoever
// gets its request's context must not find it there: a log handler that adds the
// user to each line would wait for ever.
type outside struct {
	context.Context
	session *Session
}

func (c outside) Value(key any) any {
	if v := c.Context.Value(key); v != any(c.session) {
		return v
	}
	return nil
}

// FromContext returns the session of a request that went through
// [Manager.Handler], of the innermost one if there are several. It panics
// without: a guard that finds no session must not open.
func FromContext(ctx context.Context) *Session {
	s, ok := ctx.Value(sessionKey{}).(*Session)
	if !ok {
		panic("cloakroom: no session in the context: wrap the handler in Manager.Handler")
	}
	return s
}

// FromContext returns the session that this Manager gave the request, for
// programs that have several Managers. It panics without.
func (m *Manager) FromContext(ctx context.Context) *Session {
	s, ok := ctx.Value(m).(*Session)
	if !ok {
		panic("cloakroom: no session of this Manager in the context: wrap the handler in its Handler")
	}
	return s
}

func (m *Manager) skips(r *http.Request) bool {
	return m.opts.SkipHeader != "" && r.Header.Get(m.opts.SkipHeader) != "" || m.opts.Skip != nil && m.opts.Skip(r)
}

// load finds the session of a request: cookie, shape and signature, token, ID,
// record, seal, deadlines. Its one error is ErrUnavailable; everything else that
// is wrong with a cookie makes the visitor a stranger, all in the same way, and
// leaves the cookie alone: an answer that took it back might overtake the one
// that sets the next.
func (m *Manager) load(s *Session, lines []string) error {
	ctx := s.r.Context()
	p := m.readCookie(lines)
	s.brought = p.seen > 0
	if p.valid != 1 {
		s.refused, s.crowded = p.ends, p.seen > maxCandidates
		m.refuse(s, &p)
		return nil
	}
	a := &state{token: p.token, key: p.key, loaded: time.Now()}
	a.id = a.token.id()
	if p.carried != nil {
		m.sealed.readSeen(lines, &p.carried.rec, p.carried.content.lineage)
		if expired(&p.carried.rec, a.loaded) {
			// Nobody needs to be asked. But that it was idle is what the cookies of this
			// browser say: somebody with a copy may have it in use until its deadline.
			if a.loaded.Before(p.carried.rec.Deadline) {
				s.refused = []ending{p.ending(byNewCookie)}
			}
			return nil
		}
	}
	rec, err := m.get(ctx, a.id)
	switch {
	case errors.Is(err, store.ErrEnded):
		s.late = lately(rec.Ended, a.loaded)
		return nil
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("cloakroom: load session: %w", m.failed(ctx, "load session", a.id, err))
	case p.carried != nil:
		rec = p.carried.rec
	case expired(&rec, a.loaded):
		return nil
	}
	a.rec = rec
	if p.carried != nil {
		a.stored = p.carried.content
	} else if a.stored, err = m.seal.openData(&a.token, &a.rec); err != nil {
		m.event(ctx, slog.LevelError, event.RecordUnreadable, event.Session(a.id), event.Addr(m.ClientAddr(s.r)), event.Err(err))
		s.refused = []ending{{a.id, a.rec.Deadline, byEnd}}
		return nil
	}
	a.now, a.user = a.stored, rec.UserID
	s.at = a
	return nil
}

// lately reports whether a session was renewed a moment ago. A tombstone from far
// ahead was left by a clock that has been set back.
func lately(why store.Ended, now time.Time) bool {
	return why.Reason == store.Renewed && now.Sub(why.At).Abs() < lateWindow
}

// refuse logs a cookie that was no session's.
func (m *Manager) refuse(s *Session, p *presented) {
	switch {
	case p.valid > 1:
		m.event(s.r.Context(), slog.LevelWarn, event.TwoCookies, event.Addr(m.ClientAddr(s.r)))
	case p.seen > 0 && p.retired:
		// Everybody who was signed in has such a one, the day that a key is taken away.
		m.event(s.r.Context(), slog.LevelInfo, event.BadCookie, event.Addr(m.ClientAddr(s.r)), event.Reason("retired key"))
	case p.seen > 0:
		m.event(s.r.Context(), slog.LevelInfo, event.BadCookie, event.Addr(m.ClientAddr(s.r)))
	}
}

// responseWriter commits the session before the header leaves.
type responseWriter struct {
	http.ResponseWriter
	session *Session
	before  http.Header // as it was before the handler; nil if it was empty
	wrote   bool        // the header has left, the handler's or the error's
	failed  error       // the commit's: what the handler writes is thrown away
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *responseWriter) WriteHeader(status int) {
	if status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols {
		if w.failed == nil {
			w.ResponseWriter.WriteHeader(status)
		}
		return
	}
	if w.commit() == nil {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if err := w.commit(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}

func (w *responseWriter) WriteString(p string) (int, error) {
	if err := w.commit(); err != nil {
		return 0, err
	}
	return io.WriteString(w.ResponseWriter, p)
}

func (w *responseWriter) ReadFrom(src io.Reader) (int64, error) {
	if err := w.commit(); err != nil {
		return 0, err
	}
	return io.Copy(w.ResponseWriter, src)
}

func (w *responseWriter) Flush() { _ = w.FlushError() }

func (w *responseWriter) FlushError() error {
	if err := w.commit(); err != nil {
		return err
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack refuses while a cookie is due, as there is no header to carry it.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	sent := w.wrote
	if err := w.commitForHijack(); err != nil {
		return nil, nil, err
	}
	conn, buf, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil && !sent {
		// The server cannot, as over HTTP/2: the header is still to come.
		w.session.mu.Lock()
		defer w.session.mu.Unlock()
		w.session.sent, w.wrote = false, false
	}
	return conn, buf, err
}

func (w *responseWriter) commitForHijack() error {
	if w.wrote {
		return w.failed
	}
	s := w.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != nil && (s.at.renewal != renewNone || s.needsCookie() && !s.skipped) || s.cookie != cookieNone {
		return ErrHeaderSent
	}
	if err := s.commit(s.r.Context()); err != nil {
		return err
	}
	s.sent, w.wrote = true, true
	return nil
}

// commit saves the session once, before the header leaves. If that fails it
// answers, and returns the error from then on.
func (w *responseWriter) commit() error {
	if w.wrote {
		return w.failed
	}
	w.wrote = true
	s := w.session
	if w.failed = w.prepare(); w.failed != nil {
		s.m.commitFailed(s, w.failed)
		w.restore()
		s.mu.Lock()
		s.setCookie(w.ResponseWriter.Header())
		s.mu.Unlock()
		s.m.opts.ErrorHandler(w.ResponseWriter, s.r, w.failed)
		// At once: a handler that gives up when it cannot write, as httputil's
		// ReverseProxy does, takes with it what is not flushed.
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
	return w.failed
}

// prepare saves the session and writes what it needs into the header.
func (w *responseWriter) prepare() error {
	s := w.session
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := s.r.Context()
	before := s.version()
	returned := false
	defer func() {
		w.wrote = returned // after a panic whoever recovers it may still answer
		s.sent = returned
	}()
	err := s.commit(ctx)
	returned = true
	if err != nil {
		return err
	}
	s.m.reseal(ctx, s, s.version() != before)
	s.m.noteSeen(ctx, s)
	h := w.Header()
	s.setCookie(h)
	if s.read || s.cookie != cookieNone {
		forThisVisitor(h, s.cookie == cookieNone)
	}
	return nil
}

// version is that of the stored session, 0 for none.
func (s *Session) version() uint64 {
	if s.at == nil {
		return 0
	}
	return s.at.rec.Version
}

// setCookie writes the cookie that is due. It goes with an error's answer as
// well: what Session.Commit or End has done stands, whatever the rest of the
// request came to, and a renewed token that nobody is told would sign its visitor
// out. s.mu is held.
func (s *Session) setCookie(h http.Header) {
	switch s.cookie {
	case cookieSet:
		s.m.setCookie(h, s.m.opts.CookieName, s.m.cookieValue(s.at), s.at.rec.Deadline)
	case cookieSeen:
		s.noteTimes(h)
	case cookieExpire:
		s.m.expireCookie(h, s.m.opts.CookieName)
		if s.m.sealed != nil {
			s.m.expireCookie(h, s.m.sealed.seenName)
		}
	}
}

// finish runs when the handler has returned.
func (w *responseWriter) finish() {
	early := !w.wrote
	_ = w.commit()
	s := w.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.failed != nil {
		w.dropTrailers()
	} else if !early {
		// The header had left. What needs no cookie is saved now.
		if err := s.commit(s.r.Context()); err != nil {
			s.m.lost(s, err)
		}
	}
	s.finished = true
	if a := s.at; a != nil && !a.loaded.IsZero() && a.rec.Version > 0 {
		s.m.touch(s.r.Context(), &a.rec, milli(a.loaded))
	}
}

// abort runs when the handler has panicked: nothing is saved, and whoever
// answers now finds the header as it was.
func (w *responseWriter) abort() {
	s := w.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	if !w.wrote {
		w.restore()
		s.setCookie(w.ResponseWriter.Header())
	}
	if w.failed != nil {
		w.dropTrailers()
	}
}

// dropTrailers takes from a refusal what the handler has set since: over HTTP/2
// net/http would send it when the handler has returned.
func (w *responseWriter) dropTrailers() {
	h := w.ResponseWriter.Header()
	maps.DeleteFunc(h, func(name string, _ []string) bool {
		return strings.HasPrefix(name, http.TrailerPrefix) && w.before[name] == nil
	})
}

func (w *responseWriter) restore() {
	h := w.ResponseWriter.Header()
	clear(h)
	maps.Copy(h, w.before)
}

// commitFailed logs why a request's changes were not saved. An outage has been
// logged where it happened.
func (m *Manager) commitFailed(s *Session, err error) {
	level := slog.LevelError
	if Status(err) == http.StatusConflict {
		level = slog.LevelInfo
	}
	m.event(s.r.Context(), level, event.CommitFailed, event.Addr(m.ClientAddr(s.r)), event.Err(err))
}

// lost logs a change that nobody can be told of any more.
func (m *Manager) lost(s *Session, err error) {
	m.event(s.r.Context(), slog.LevelError, event.WriteAfterEnd, event.Addr(m.ClientAddr(s.r)), event.Err(err))
}
