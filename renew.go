package cloakroom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

type renewal uint8

const (
	renewNone  renewal = iota
	renewToken         // the same session goes on: its deadlines stay
	renewLogin         // a fresh proof of identity: its deadlines start anew
)

// oldSession is what a renewal leaves behind. Version 0: there was none.
type oldSession struct {
	token token
	rec   store.Record
}

// Login signs a user in, after they have proven who they are. The session goes
// on under a new token, the old one stops working at once, and both deadlines
// start anew (ASVS 7.2.4). An anonymous visitor keeps the values, and so does the same
// user; another user starts with none, and so does whoever would not fit beside them
// in a sealed session.
//
// It is saved with the other changes, before the header leaves; [Session.Commit]
// says at once whether it was. An Identity without a UserID, or with one of over
// 255 bytes, fails the commit.
func (s *Session) Login(u Identity) {
	s.look()
	defer s.mu.Unlock()
	switch {
	case s.skipped:
		s.fail(ErrSkipped)
	case u.UserID == "" || len(u.UserID) > store.MaxUserID:
		s.fail(fmt.Errorf("login: a UserID has 1 to %d bytes, this one %d", store.MaxUserID, len(u.UserID)))
	case s.mayCookie():
		if s.late && errors.Is(s.err, ErrRenewed) {
			s.err = nil // a fresh proof goes on, with empty values
		}
		s.beginRenewal(renewLogin)
		if s.at.user != "" && s.at.user != u.UserID {
			s.at.journal = []change{func(values) (values, error) { return nil, nil }}
			s.at.now.values = nil
		}
		s.at.user = u.UserID
		s.at.now.identity = u.encode()
		s.at.now.authTime = milli(time.Now())
	}
}

// Renew gives the session a new token; the old one stops working at once. The
// deadlines stay. A visitor without a session has no token to renew.
func (s *Session) Renew() {
	s.look()
	defer s.mu.Unlock()
	s.renew()
}

func (s *Session) renew() {
	if s.at != nil && s.at.rec.Version > 0 && !s.skipped && s.mayCookie() {
		s.beginRenewal(max(s.at.renewal, renewToken))
	}
}

// SetRoles notes that the signed-in user holds these roles now, and renews the
// token (ASVS 7.2.4). Guards call it when they find that roles have changed.
func (s *Session) SetRoles(roles []string) {
	s.setIdentity(func(u *Identity) { u.Roles = roles })
}

// SetEpoch notes that the signed-in user's epoch is this one now, and renews the
// token. It is for whoever has raised the epoch to end the user's sessions and
// means all but this one: the epoch is the one that was raised to, and not one
// that was read later, which somebody else may have raised to end this session.
func (s *Session) SetEpoch(epoch uint64) {
	s.setIdentity(func(u *Identity) { u.Epoch = epoch })
}

// setIdentity changes what is noted of the signed-in user, under a new token.
func (s *Session) setIdentity(change func(*Identity)) {
	s.look()
	defer s.mu.Unlock()
	if s.at == nil || s.at.user == "" {
		return
	}
	if s.renew(); s.at.renewal == renewNone {
		return // too late for a cookie: the next request finds the old ones again
	}
	u := decodeIdentity(s.at.user, s.at.now.identity)
	change(&u)
	s.at.now.identity = u.encode()
}

// beginRenewal mints the token at once, so that the ID is the new one from here on.
func (s *Session) beginRenewal(why renewal) {
	if s.at == nil {
		s.at = &state{}
	}
	a := s.at
	if a.renewal == renewNone && a.rec.Version > 0 {
		a.old = oldSession{token: a.token, rec: a.rec}
	}
	a.renewal = max(a.renewal, why)
	a.token = newToken()
	a.id = a.token.id()
}

// renewSession stores the session under its new token and ends the old one, at
// the version that was copied, so that nothing which was acknowledged meanwhile
// is left behind. A crash between the two ends nobody: the old one still lives,
// and the new one is known to nobody. The old one is ended last, so that whatever
// fails before has cost the visitor nothing.
func (m *Manager) renewSession(ctx context.Context, s *Session) error {
	a := s.at
	reason, old, next := "login", a.old.rec, a.now
	if a.renewal != renewLogin {
		reason = "renew"
		if !m.holds(a) {
			return ErrEnded // the key was taken away meanwhile, and with it what it signed
		}
		var err error
		if old, next, err = m.refresh(ctx, a, &a.old.token, old); err != nil {
			return err
		}
	}
	level := slog.LevelInfo
	if a.renewal == renewLogin && m.makeRoom(a, &next) {
		level, reason = slog.LevelWarn, "login without values"
	}
	if err := m.roomy(a, &next); err != nil {
		return err
	}
	rec := m.newRecord(s, &next)
	done := false
	defer func() {
		if !done { // also after a panic
			m.abandon(ctx, rec.ID)
		}
	}()
	if _, err := m.put(ctx, &rec); err != nil {
		return m.saveError(ctx, rec.ID, err)
	}
	if a.renewal == renewLogin {
		if err := m.limit(ctx, &rec, old.ID); err != nil {
			return err
		}
	}
	if err := m.endOld(ctx, a, old, &rec, &next); err != nil {
		return err
	}
	done = true
	renewed := old.Version > 0
	s.late = s.late && a.renewal != renewLogin // from here on the request has a session
	a.saved(rec, next)
	a.key, s.cookie = keyring.KeyID{}, cookieSet
	if renewed {
		m.event(ctx, level, event.SessionRenewed, event.User(rec.UserID), event.Session(rec.ID), event.Reason(reason))
	}
	return nil
}

// makeRoom drops the values of before where a sealed session would not fit with them
// beside who signs in, and reports whether it did: else nobody with that much in their
// session could sign in. So it does where a key has been taken away meanwhile that could
// have written them. What this request has stored stays.
func (m *Manager) makeRoom(a *state, next *content) bool {
	if m.sealed == nil || m.sealed.size(a.user, next, next.values) <= m.sealed.room && m.holds(a) {
		return false
	}
	own, err := m.apply(nil, a.journal)
	if err != nil {
		return false // the store says that it is too large
	}
	next.values = own
	return true
}

// roomy refuses to let who is signed in grow into the room that the lineage of a sealed
// session needs to be sealed anew.
func (m *Manager) roomy(a *state, next *content) error {
	if m.sealed == nil || len(a.user)+len(next.identity) <= len(a.rec.UserID)+len(a.stored.identity) {
		return nil
	}
	if n := m.sealed.size(a.user, next, next.values); n > m.sealed.room {
		return tooLong(n, m.sealed.room)
	}
	return nil
}

// endOld ends the session under its old token, at the version that rec holds a
// copy of. Whatever somebody has written since is brought into rec first.
func (m *Manager) endOld(ctx context.Context, a *state, old store.Record, rec *store.Record, next *content) error {
	why, until := m.ended(store.Renewed, old.Deadline)
	for try := 0; old.Version > 0; try++ {
		err := m.end(ctx, old.ID, old.Version, why, until)
		if err == nil {
			return nil
		}
		if old, err = m.catchUp(ctx, a, old.ID, err, next); err != nil {
			return err
		}
		m.sealRecord(a, rec, next)
		if _, err = m.put(ctx, rec); err != nil {
			return m.saveError(ctx, rec.ID, err)
		}
		if err = pause(ctx, try); err != nil {
			return m.failed(ctx, "renew session", rec.ID, err)
		}
	}
	return nil
}

// catchUp finds out why the old session could not be ended, and brings what it
// became into next. The record that it returns is to be ended now; Version 0 says
// that somebody else has.
func (m *Manager) catchUp(ctx context.Context, a *state, id store.ID, err error, next *content) (store.Record, error) {
	if errors.Is(err, store.ErrConflict) {
		var newest store.Record
		if newest, err = m.get(ctx, id); err == nil {
			next.values, err = m.replay(a, &a.old.token, &newest)
			return newest, err
		}
		if !isAnswer(err) {
			return newest, m.failed(ctx, "renew session", id, err)
		}
	}
	if errors.Is(err, ErrUnavailable) {
		return store.Record{}, err
	}
	if a.renewal != renewLogin {
		if errors.Is(err, store.ErrNotFound) {
			return store.Record{}, ErrEnded // the store has forgotten it; the tombstone is our own
		}
		return store.Record{}, m.endedWhy(ctx, id)
	}
	// A fresh proof goes on, with nothing of what has ended.
	next.values, err = m.apply(nil, a.journal)
	return store.Record{}, err
}

// limit ends the oldest sessions beyond Options.MaxSessions. Each login does so
// before it is answered, and by the same order, so that the bound holds for all
// that have been answered, however many came at once. The session with the ID old
// is about to be ended and does not count.
func (m *Manager) limit(ctx context.Context, own *store.Record, old store.ID) error {
	if m.opts.MaxSessions == 0 {
		return nil
	}
	recs, err := m.listUser(ctx, own.UserID)
	recs = slices.DeleteFunc(recs, func(r store.Record) bool { return r.ID == old })
	if err != nil || len(recs) <= m.opts.MaxSessions {
		return err
	}
	slices.SortFunc(recs, func(a, b store.Record) int {
		return cmp.Or(b.Created.Compare(a.Created), slices.Compare(b.ID[:], a.ID[:]))
	})
	why, until := m.ended(store.Excess, time.Time{})
	for _, r := range recs[m.opts.MaxSessions:] {
		switch err := m.end(ctx, r.ID, 0, why, until); {
		case errors.Is(err, ErrUnavailable):
			return err
		case err == nil:
			m.event(ctx, slog.LevelInfo, event.SessionEnded, event.User(own.UserID), event.Session(r.ID), event.Reason(why.Reason.String()))
		}
		if r.ID == own.ID {
			return ErrEnded
		}
	}
	return nil
}
