package cloakroom

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// Session is one visitor during one request. A handler gets it from
// [FromContext], reads and writes its values through a [Key], and returns; the
// changes are saved before the first byte of the response's header leaves.
//
// A Session holds the record as it was loaded and a journal of what this request
// changed. What is saved is the journal, replayed on the newest record: two
// requests of one visitor that write different names both win.
//
// Its methods may be called by several goroutines. It must not be used after its
// handler has returned: reads then see what was there, changes are lost with a
// log line.
type Session struct {
	m *Manager
	r *http.Request

	mu sync.Mutex
	at *state // nil while nobody has a session here: nothing loaded, nothing changed

	// refused are those of valid cookies that made no session: several, one whose
	// record does not open, or a sealed one that is idle as far as is known. Nil as a
	// rule.
	refused []ending

	// cookie says what the response's header must carry. It is kept when a
	// commit has gone well and used when the header leaves.
	cookie cookieDue

	err error // the first fault of a change: it fails the next commit

	read     bool // somebody looked: the response depends on the cookie
	brought  bool // the request carried a cookie of our name
	crowded  bool // and more of them than are looked at
	late     bool // it came with a token renewed a moment ago
	skipped  bool // the request is to be anonymous
	sent     bool // the header has left
	finished bool // the handler has returned
}

type cookieDue uint8

const (
	cookieNone cookieDue = iota
	cookieSet            // of at
	cookieSeen           // the one with the times of a sealed session
	cookieExpire
)

// state is a session: what is stored and what this request made of it.
type state struct {
	token token
	id    store.ID
	key   keyring.KeyID // that signed the cookie which came; zero once this request gives another

	rec    store.Record // as loaded or last saved; Version 0: nothing is stored
	stored content      // its opened Data

	now     content // with the changes of this request
	journal []change
	loaded  time.Time // when the request came; zero if nothing was loaded

	renewal renewal // a new token is due
	old     oldSession
	user    string // of now
}

// A change is one entry of the journal: it makes new values of old ones. It may
// run several times, on different records.
type change func(values) (values, error)

// ID returns the session's ID, the hash of its token: the zero ID for a visitor
// who has no session, and the new one at once after Login and Renew. Lists and
// [Manager.EndUser] know the new one from [Session.Commit] on. Show
// people its Handle.
func (s *Session) ID() store.ID {
	s.look()
	defer s.mu.Unlock()
	if s.at == nil {
		return store.ID{}
	}
	return s.at.id
}

// UserID returns the user who is signed in, or "".
func (s *Session) UserID() string {
	s.look()
	defer s.mu.Unlock()
	if s.at == nil {
		return ""
	}
	return s.at.user
}

// Identity returns who signed in and how; the zero Identity before login.
func (s *Session) Identity() Identity {
	s.look()
	defer s.mu.Unlock()
	if s.at == nil {
		return Identity{}
	}
	return decodeIdentity(s.at.user, s.at.now.identity)
}

// AuthTime returns when identity was proven last, in UTC; the zero time before
// login.
func (s *Session) AuthTime() time.Time {
	s.look()
	defer s.mu.Unlock()
	if s.at == nil {
		return time.Time{}
	}
	return s.at.now.authTime
}

// Created returns when the session began: when its user signed in, or when its
// first value was stored. Renew does not move it. It is the zero time while
// nothing is stored.
func (s *Session) Created() time.Time {
	s.look()
	defer s.mu.Unlock()
	if s.at == nil {
		return time.Time{}
	}
	return s.at.rec.Created
}

// Expires returns the end of the session if nothing more is heard of its
// visitor, as far as it is known: the idle timeout after the activity noted
// last. It is the zero time while nothing is stored.
func (s *Session) Expires() time.Time {
	s.look()
	defer s.mu.Unlock()
	if s.at == nil {
		return time.Time{}
	}
	return s.at.rec.Expires
}

// Deadline returns when the session ends whatever its visitor does. It is the zero
// time while nothing is stored.
func (s *Session) Deadline() time.Time {
	s.look()
	defer s.mu.Unlock()
	if s.at == nil {
		return time.Time{}
	}
	return s.at.rec.Deadline
}

// New reports whether nothing is stored for this visitor yet.
func (s *Session) New() bool {
	s.look()
	defer s.mu.Unlock()
	return s.at == nil || s.at.rec.Version == 0
}

// Late reports that the request came with a token which was renewed a moment
// ago, at most 30 seconds. It is anonymous and can store nothing: a guard answers
// 409 Session renewed rather than 401, since the browser has the new token
// already or is about to. Once a login has been saved it is late no longer.
func (s *Session) Late() bool {
	s.look()
	defer s.mu.Unlock()
	return s.late
}

// Names returns the names of the values in the order of the alphabet.
func (s *Session) Names() []string {
	s.look()
	defer s.mu.Unlock()
	var names []string
	if s.at == nil {
		return nil
	}
	for rest := s.at.now.values; len(rest) > 0; {
		var name []byte
		if name, _, rest = next(rest); !reserved(string(name)) {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

// Has reports whether there is a value of this name.
func (s *Session) Has(name string) bool {
	_, ok := s.value(name)
	return ok
}

// Clear deletes all values. The visitor stays signed in: see End.
func (s *Session) Clear() {
	s.change(func(v values) (values, error) {
		var kept values
		for rest := v; len(rest) > 0; {
			name, val, after := next(rest)
			if reserved(string(name)) {
				kept = appendBytes(appendBytes(kept, name), val)
			}
			rest = after
		}
		return kept, nil
	})
}

// value returns the JSON of a value.
func (s *Session) value(name string) ([]byte, bool) {
	s.look()
	defer s.mu.Unlock()
	if s.at == nil {
		return nil, false
	}
	return s.at.now.values.get(name)
}

// change runs f on the values and appends it to the journal.
func (s *Session) change(f change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = true
	if s.finished {
		s.fail(ErrFinished)
		return
	}
	var old values
	if s.at != nil {
		old = s.at.now.values
	}
	v, err := s.m.apply(old, []change{f})
	switch {
	case err != nil:
		s.fail(err)
	case s.at != nil && s.m.sealed != nil && !s.skipped && !bytes.Equal(v, old) && !s.mayCarry(v):
		// The fault is noted.
	case s.at != nil:
		s.at.now.values = v
		if !s.skipped {
			s.at.journal = append(s.at.journal, f)
		}
	case bytes.Equal(v, old): // nothing came of nothing: no session for that
	case s.late:
		s.fail(ErrRenewed)
	case s.skipped:
		s.at = &state{now: content{values: v}}
	case s.mayCookie():
		t := newToken()
		s.at = &state{token: t, id: t.id(), now: content{values: v}, journal: []change{f}}
	}
}

// mayCookie reports whether a cookie can still be set, and notes the fault if not.
func (s *Session) mayCookie() bool {
	switch {
	case s.finished:
		s.fail(ErrFinished)
	case s.sent:
		s.fail(ErrHeaderSent)
	default:
		return true
	}
	return false
}

// fail keeps the first fault for the next commit. What comes too late for one is
// a log line at once.
func (s *Session) fail(err error) {
	if s.finished {
		s.m.lost(s, err)
		return
	}
	if s.err == nil {
		s.err = err
	}
}

// End ends the session: its token no longer works from the moment that End
// returns nil, on any instance that shares the store. The cookie is taken back with
// the response's header if that has not left. Values that are set afterwards
// belong to a new session.
//
// Of a request that is anonymous because it carries two valid cookies, or one whose
// record cannot be opened here, or a sealed one whose idle time is over, it ends the
// sessions of all that it carries. If it carries more than eight cookies of the
// session's name, it ends those of the first eight, takes the cookie back, and
// returns an error, as nobody knows of the others.
//
// It returns ErrUnavailable if the store did not answer, and then the session may
// have ended or not; ErrRenewed if another request has just renewed the token, and
// the session goes on under the new one, which only the browser knows; and
// ErrSkipped on a request that Options.Skip made anonymous. It does not heed the end
// of ctx: a visitor who signs out and closes the page is signed out.
func (s *Session) End(ctx context.Context) error {
	s.look()
	defer s.mu.Unlock()
	switch {
	case s.finished:
		return fmt.Errorf("cloakroom: end session: %w", ErrFinished)
	case s.skipped:
		return fmt.Errorf("cloakroom: end session: %w", ErrSkipped)
	case s.late:
		return fmt.Errorf("cloakroom: end session: %w", ErrRenewed)
	}
	call := context.WithoutCancel(outside{ctx, s})
	err := s.endRefused(call, byEnd, store.Logout)
	if a := s.at; a != nil {
		rec := a.rec
		if a.renewal != renewNone {
			rec = a.old.rec
		}
		if rec.Version > 0 {
			_, endErr := s.m.endNow(call, rec.ID, rec.Deadline, store.Logout)
			err = cmp.Or(err, endErr)
		}
	}
	if err != nil {
		return fmt.Errorf("cloakroom: end session: %w", err)
	}
	s.at, s.err = nil, nil
	s.expireCookie()
	if s.crowded {
		return errCrowded
	}
	return nil
}

var errCrowded = fmt.Errorf("cloakroom: end session: the request carries more than %d cookies of the session's name, and those behind were not looked at", maxCandidates)

// endRefused ends the sessions of the cookies that made none, those that this ends. It
// tries all of them, and returns the first error. That one has been renewed is an
// error for as long as it would be late, as of a cookie that load has asked the store
// about.
func (s *Session) endRefused(ctx context.Context, by endedBy, why store.Reason) (first error) {
	for _, e := range s.refused {
		if e.by > by {
			continue
		}
		_, err := s.m.endNow(ctx, e.id, e.deadline, why)
		if errors.Is(err, ErrRenewed) {
			if old, _ := s.m.get(ctx, e.id); !lately(old.Ended, time.Now()) {
				err = nil
			}
		}
		first = cmp.Or(first, err)
	}
	if first == nil {
		s.refused = slices.DeleteFunc(s.refused, func(e ending) bool { return e.by <= by })
	}
	return first
}

func (s *Session) expireCookie() {
	if !s.sent && !s.skipped && (s.brought || s.cookie == cookieSet) {
		s.cookie = cookieExpire
	}
}

// Commit saves the changes made so far and says what came of it; without it they
// are saved before the header leaves. After an error the unsaved changes are
// dropped, the session is again what it was before them, and the response is the
// handler's to choose: [Status] and [WriteError] tell a fitting one. Once begun
// it does not heed the end of ctx, which would leave half of a renewal.
//
// The errors are that of ctx before it began, ErrRenewed, ErrEnded,
// ErrUnavailable, ErrTooLarge, ErrHeaderSent, ErrFinished, ErrSkipped, or a
// *ValueError.
func (s *Session) Commit(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return fmt.Errorf("cloakroom: save session: %w", ErrFinished)
	}
	if err := ctx.Err(); err != nil {
		s.err = nil
		s.revert(err)
		return fmt.Errorf("cloakroom: save session: %w", err)
	}
	return s.commit(outside{ctx, s})
}

// EndOthers ends the other sessions of the signed-in user, and returns how many it
// ended. It commits first, so that this one is known by the ID that it keeps. Its
// errors are those of [Session.Commit] and [Manager.EndUser].
func (s *Session) EndOthers(ctx context.Context) (int, error) {
	if err := s.Commit(ctx); err != nil {
		return 0, err
	}
	user := s.UserID()
	if user == "" {
		return 0, nil
	}
	return s.m.EndUser(ctx, user, s.ID())
}

// Alive asks the store whether the session is still what it was, and the key ring whether
// the keys that it depends on are accepted: a long stream ends when it no longer is, or
// they are not. A visitor without a stored session is not alive, and
// neither is one whose store does not answer: a client comes back when it can. It
// does not know epochs, nor what became of a sealed session's idle time meanwhile.
func (s *Session) Alive(ctx context.Context) bool {
	s.look()
	var rec store.Record
	if s.at != nil && s.m.holds(s.at) {
		rec = s.at.rec
	}
	s.mu.Unlock()
	return rec.Version > 0 && s.m.alive(ctx, &rec)
}

// Format prints "session", whatever the verb: behind a Session stand its token
// and the request with the cookie, and neither is for a log. Log the Handle of
// its ID.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "session") }

// look locks the session for a look at it, which makes the response depend on
// the cookie.
func (s *Session) look() {
	s.mu.Lock()
	s.read = true
}
