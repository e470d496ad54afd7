package cloakroom

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// NewSealed returns a Manager that keeps each session, sealed, in its visitor's
// cookie, and in the store nothing but tombstones of sessions that have ended.
// What that costs: it does not keep the promise that no acknowledged write is
// lost. Of two requests of one visitor that write at the same time, the answer
// that the browser reads last wins, with all values, whatever names they wrote.
// And the browser's owner, or whoever has copied the cookie, can bring back an
// earlier state of the session by sending an earlier cookie, until the session
// ends. So keep no counters in it (attempts, credit, quotas) and no one-time
// values (codes, nonces, what may be redeemed once): with a cookie of before they
// begin anew. Sessions that need these belong in a store: see [New].
//
// The tombstones must last as long as the sessions, and every instance must see
// them: a memory store that starts empty forgets who has signed out, and a cookie
// that somebody kept is a session again. They need no store.UserStore.
//
// Nobody can list cookies: [Manager.List], [Manager.EndUser] and
// [Session.EndOthers] return [ErrNoUserStore]. To end all sessions of a user raise
// the user's epoch, which package auth compares with that of [Identity] at each
// guarded request; [Session.SetEpoch] lets one go on. [Manager.End] ends one whose ID
// is known.
//
// A session that does not fit a cookie is [ErrTooLarge], and no cookie leaves: there
// are about 2,300 bytes for values, and 512 for the Identity. A change after the
// header has left is [ErrHeaderSent]. If the tombstones cannot be read, the answer
// is 503 and the cookies stay. Who takes a key away ends what was ever under it.
//
// Options.MaxBytes bounds the values; zero means what fits, and more than that is
// refused. So is Options.MaxSessions, and attributes that browsers would not read.
// Nil options are the zero Options. Every fault is reported at once. The sizes, the
// second cookie and what keys are to a session are told in docs/sealed.md.
func NewSealed(keys *keyring.Ring, tombstones store.Store, opts *Options) (*Manager, error) {
	var faults []error
	if tombstones == nil {
		faults = append(faults, errors.New("cloakroom: NewSealed needs a store for the tombstones of sessions that have ended"))
	}
	if keys == nil {
		faults = append(faults, errors.New("cloakroom: NewSealed needs keys: keyring.OpenFile keeps them in a file"))
	}
	o, room, err := opts.resolveSealed()
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	c := &carrier{
		keys:     keys,
		session:  keys.Purpose(labelSealed, o.CookieName, o.Audience),
		idle:     keys.Purpose(labelSeen, o.CookieName, o.Audience),
		seenName: o.CookieName + seenSuffix,
		room:     room,
	}
	m := &Manager{st: newEndings(tombstones, c), keys: keys, opts: o, attributes: o.attributes(), sealed: c}
	m.seal.sealed = c
	return m, nil
}

const (
	// maxCookie bounds name, value and attributes of a cookie together.
	maxCookie = 4096

	// maxAttributes is what browsers read of an attribute (RFC 6265bis §5.6).
	maxAttributes = 1024

	// seenSuffix makes the name of the second cookie.
	seenSuffix = "-seen"
)

// resolveSealed is resolve for sealed sessions. It returns how many characters the
// value of a cookie may have.
func (o *Options) resolveSealed() (Options, int, error) {
	var r Options
	if o != nil {
		r = *o
	}
	var faults []error
	if r.MaxSessions > 0 {
		faults = append(faults, errors.New("cloakroom: MaxSessions cannot be had with sealed sessions: nobody can count cookies; use New with a store"))
		r.MaxSessions = 0
	}
	asked := r.MaxBytes
	r, err := r.resolve(nil)
	faults = append(faults, err)
	attributes := len(r.attributes())
	if attributes > maxAttributes {
		faults = append(faults, fmt.Errorf("cloakroom: Path and Domain make %d bytes of attributes, and browsers read %d", attributes, maxAttributes))
		return r, 0, errors.Join(faults...)
	}
	room := maxCookie - len(r.CookieName) - len("=") - attributes
	if r.Persistent {
		room -= len(maxAge) + len("34560000") // 400 days
	}
	most := room*6/8 - sealedOverhead - plainSize - identityRoom - lineageRoom
	if r.MaxBytes = asked; asked == 0 {
		r.MaxBytes = most
	} else if asked > most {
		faults = append(faults, fmt.Errorf("cloakroom: MaxBytes %d does not fit a cookie: at most %d with this name, path and domain", asked, most))
	}
	return r, room, errors.Join(faults...)
}

// endings is the store of a Manager of sealed sessions. A session is in its cookie,
// so nothing is ever stored: what the store knows is which have ended. To the
// Manager a session that has not ended is there, at whatever version.
type endings struct {
	tombstones store.Store
	carrier    *carrier
}

// newEndings returns a store that sweeps if that of the tombstones does.
func newEndings(tombstones store.Store, c *carrier) store.Store {
	e := endings{tombstones, c}
	if sweeper, ok := tombstones.(store.Sweeper); ok {
		return struct {
			endings
			store.Sweeper
		}{e, sweeper}
	}
	return e
}

// Get returns a Record with the ID alone for a session that has not ended. Its
// cookie knows the rest.
func (e endings) Get(ctx context.Context, id store.ID) (store.Record, error) {
	rec, err := e.tombstones.Get(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Record{ID: id}, nil
	case err == nil:
		return store.Record{}, errors.New("the store has a live record under the ID of a sealed session")
	}
	return rec, err
}

// Put refuses what does not fit a cookie, and changes of a session that has ended.
// What has just been made cannot have ended.
func (e endings) Put(ctx context.Context, r store.Record) error {
	if n := encoding.EncodedLen(len(r.Data)); n > e.carrier.room {
		return tooLong(n, e.carrier.room)
	}
	if r.Version == 0 {
		return nil
	}
	_, err := e.Get(ctx, r.ID)
	return err
}

func tooLong(n, room int) error {
	return fmt.Errorf("%w: the cookie's value would have %d characters, at most %d", ErrTooLarge, n, room)
}

// Touch does nothing: the times go into a cookie, see noteSeen.
func (e endings) Touch(context.Context, store.ID, time.Time, time.Time) error { return nil }

// End leaves a tombstone. That nothing was there before is as it should be.
func (e endings) End(ctx context.Context, id store.ID, _ uint64, why store.Ended, until time.Time) error {
	if err := e.tombstones.End(ctx, id, 0, why, until); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// noteTimes writes the times of a sealed session into a cookie: the second one, or the
// first where that would say nothing, as the key that signs has not been at the session.
func (s *Session) noteTimes(h http.Header) {
	m, a := s.m, s.at
	if value, ok := m.sealed.seen(&a.rec, a.now.lineage); ok {
		m.setCookie(h, m.sealed.seenName, value, a.rec.Deadline)
		return
	}
	rec, now := a.rec, a.now
	m.sealRecord(a, &rec, &now)
	if encoding.EncodedLen(len(rec.Data)) > m.sealed.room {
		return // it goes on under its key, and is idle from its last write on
	}
	a.saved(rec, now)
	m.setCookie(h, m.opts.CookieName, m.cookieValue(a), rec.Deadline)
}

// cookieValue is what the session's cookie says.
func (m *Manager) cookieValue(a *state) string {
	if m.sealed != nil {
		return encoding.EncodeToString(a.rec.Data)
	}
	return m.encodeCookie(&a.token)
}

// needsCookie reports whether what is to be saved needs a new cookie: always, where
// the cookie carries the session, and else where the session is a new one.
func (s *Session) needsCookie() bool {
	return s.at.rec.Version == 0 || s.m.sealed != nil && string(s.at.now.values) != string(s.at.stored.values)
}

// mayCarry reports whether these values can still go out with a cookie, and notes
// the fault if not.
func (s *Session) mayCarry(v values) bool {
	if n := s.m.sealed.size(s.at.user, &s.at.now, v); n > s.m.sealed.room && len(v) > len(s.at.now.values) {
		s.fail(tooLong(n, s.m.sealed.room))
		return false
	}
	return s.mayCookie()
}

// noteSeen is touch for a sealed session: what was seen goes into the second
// cookie, when a tenth of the idle timeout has passed and nothing else takes the
// times along. Of a session that has ended meanwhile nothing is set.
func (m *Manager) noteSeen(ctx context.Context, s *Session) {
	a := s.at
	if m.sealed == nil || a == nil || a.loaded.IsZero() || a.rec.Version == 0 || s.cookie != cookieNone || s.skipped {
		return
	}
	now := milli(a.loaded)
	if now.Sub(a.rec.Seen) < m.opts.IdleTimeout/10 || !m.alive(context.WithoutCancel(ctx), &a.rec) {
		return
	}
	a.rec.Seen, a.rec.Expires = now, m.idleEnd(now, a.rec.Deadline)
	s.cookie = cookieSeen
}
