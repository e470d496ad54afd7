package cloakroom

import (
	"bytes"

	"context"
	"errors"
	"fmt"

	"math/rand/v2"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// commitFactor is how many calls of the store a commit may take, in time: what
// it is bound by is this times Options.StoreTimeout.
const commitFactor = 5

// abandonedFor is how long a tombstone lasts of a session that was never answered.
const abandonedFor = 10 * time.Minute

// commit saves what the session has gathered. s.mu is held.
//
// Once begun it does not stop because a client goes away: between two steps of a
// renewal that would leave half of it.
func (s *Session) commit(ctx context.Context) error {
	err := s.err
	s.err = nil
	returned := false
	defer func() {
		if !returned || err != nil { // a panic, of an Update's function, saves nothing
			s.revert(err)
		}
	}()
	if err == nil {
		err = s.save(ctx)
	}
	returned = true
	if err != nil {
		return fmt.Errorf("cloakroom: save session: %w", err)
	}
	return nil
}

func (s *Session) save(ctx context.Context) error {
	a := s.at
	if a == nil || s.skipped {
		return nil
	}
	if a.renewal == renewNone {
		if len(a.journal) == 0 {
			return nil
		}
		if bytes.Equal(a.now.values, a.stored.values) {
			// Nothing has become of the changes: as if all had happened at once,
			// before whatever others do meanwhile.
			a.journal = nil
			if a.rec.Version == 0 {
				s.at = nil
			}
			return nil
		}
	}
	call := withDeadline(context.WithoutCancel(ctx), commitFactor*s.m.opts.StoreTimeout)
	defer call.release()
	if len(s.refused) > 0 && (a.rec.Version == 0 || a.renewal == renewLogin) {
		by := byNewCookie
		if a.renewal == renewLogin {
			by = byLogin
		}
		// That one of them was renewed a moment ago is no fault of a new one.
		if err := s.endRefused(call, by, store.Renewed); err != nil && !errors.Is(err, ErrRenewed) {
			return err
		}
	}
	switch {
	case a.renewal != renewNone:
		return s.m.renewSession(call, s)
	case a.rec.Version == 0:
		return s.m.create(call, s)
	}
	return s.m.update(call, s)
}

// saved notes what is stored now.
func (a *state) saved(rec store.Record, now content) {
	a.rec, a.now, a.stored = rec, now, now
	a.journal, a.renewal, a.old = nil, renewNone, oldSession{}
	a.user = rec.UserID
}

// revert makes the session what it was before the changes that failed.
func (s *Session) revert(err error) {
	a := s.at
	if a == nil {
		return
	}
	if a.renewal != renewNone {
		a.token, a.rec, a.id = a.old.token, a.old.rec, a.old.rec.ID
	}
	gone := errors.Is(err, ErrRenewed) || errors.Is(err, ErrEnded)
	if gone || a.rec.Version == 0 {
		s.late = s.late || errors.Is(err, ErrRenewed)
		if s.m.sealed != nil && a.rec.Version > 0 {
			// Its time may be over here alone: see load.
			s.refused = append(s.refused, ending{a.rec.ID, a.rec.Deadline, byNewCookie})
		}
		s.at = nil
		if s.cookie == cookieSet {
			s.cookie = cookieNone // it was of this session
		}
		return
	}
	a.now, a.user = a.stored, a.rec.UserID
	a.journal, a.renewal, a.old = nil, renewNone, oldSession{}
}

// create stores a session that was not there before.
func (m *Manager) create(ctx context.Context, s *Session) error {
	a := s.at
	rec := m.newRecord(s, &a.now)
	if _, err := m.put(ctx, &rec); err != nil {
		m.abandon(ctx, rec.ID)
		return m.saveError(ctx, rec.ID, err)
	}
	a.saved(rec, a.now)
	s.cookie = cookieSet
	return nil
}

// update stores the changes on the newest record: compare-and-set, and on a
// conflict the journal again on what the other has written. Somebody wins each
// round, so all get through.
func (m *Manager) update(ctx context.Context, s *Session) error {
	a := s.at
	rec, next, err := m.refresh(ctx, a, &a.token, a.rec)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		rec.Seen = milli(time.Now())
		rec.Expires = m.idleEnd(rec.Seen, rec.Deadline)
		m.sealRecord(a, &rec, &next)
		if m.sealed != nil && !m.holds(a) {
			return ErrEnded // as of a renewal: what was just sealed is a cookie under the next key
		}
		newest, err := m.put(ctx, &rec)
		if err == nil {
			a.saved(rec, next)
			if m.sealed != nil {
				a.key, s.cookie = keyring.KeyID{}, cookieSet
			}
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return m.saveError(ctx, rec.ID, err)
		}
		rec = newest
		if next.values, err = m.replay(a, &a.token, &rec); err != nil {
			return err
		}
		if err := pause(ctx, try); err != nil {
			return m.failed(ctx, "save session", rec.ID, err)
		}
	}
}

// refresh looks again at a session whose time has run out since it was loaded.
// Unless another request has moved it meanwhile it has ended, as others have been
// told: a slow handler does not bring it back. It returns the newest record, and
// its content with this request's changes.
func (m *Manager) refresh(ctx context.Context, a *state, t *token, rec store.Record) (store.Record, content, error) {
	next := a.now
	if !expired(&rec, time.Now()) {
		return rec, next, nil
	}
	newest, err := m.get(ctx, rec.ID)
	if err != nil {
		return rec, next, m.saveError(ctx, rec.ID, err)
	}
	next.values, err = m.replay(a, t, &newest)
	return newest, next, err
}

// newRecord returns the record of a session under a new token, sealed.
func (m *Manager) newRecord(s *Session, c *content) store.Record {
	a := s.at
	now := milli(time.Now())
	rec := store.Record{ID: a.id, UserID: a.user, Created: now, Deadline: milli(now.Add(m.opts.Lifetime))}
	info := Info{Device: clip(s.r.UserAgent(), 256), Address: clip(m.ClientAddr(s.r), 64)}
	if a.renewal == renewToken {
		rec.Created, rec.Deadline = a.old.rec.Created, a.old.rec.Deadline
		if kept, err := m.seal.openInfo(&a.old.rec); err == nil {
			info = kept
		}
	} else {
		c.lineage = nil // a life begins
	}
	info.Method = decodeIdentity(a.user, c.identity).Method
	rec.Seen = now
	rec.Expires = m.idleEnd(now, rec.Deadline)
	rec.Info = m.seal.sealInfo(&rec, &info)
	rec.Data = m.seal.sealData(&a.token, &rec, c)
	return rec
}

// sealRecord seals new content into a record, and its Info anew where a key that
// is no longer active has sealed it.
func (m *Manager) sealRecord(a *state, rec *store.Record, c *content) {
	rec.Data = m.seal.sealData(&a.token, rec, c)
	if by, ok := keyring.SealedBy(rec.Info); ok && by != m.keys.Active() {
		if info, err := m.seal.openInfo(rec); err == nil {
			rec.Info = m.seal.sealInfo(rec, &info)
		}
	}
}

// replay runs the journal on the values of a newer record.
func (m *Manager) replay(a *state, t *token, rec *store.Record) (values, error) {
	c, err := m.seal.openData(t, rec)
	if err != nil || expired(rec, time.Now()) {
		return nil, ErrEnded
	}
	return m.apply(c.values, a.journal)
}

// apply runs changes on values. They may become larger than Options.MaxBytes only
// by having been so, under a larger one.
func (m *Manager) apply(old values, journal []change) (values, error) {
	v := old
	for _, f := range journal {
		var err error
		if v, err = f(v); err != nil {
			return nil, err
		}
	}
	if len(v) > len(old) && len(v) > m.opts.MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(v), m.opts.MaxBytes)
	}
	return v, nil
}

// put stores rec, whose Version is then the stored one. On store.ErrConflict it
// returns the newest record. An answer that got lost is looked up: if the stored
// bytes are those that were sent, and their nonce is random, it was ours. A Put
// is never sent twice.
func (m *Manager) put(ctx context.Context, rec *store.Record) (newest store.Record, err error) {
	call := withDeadline(ctx, m.opts.StoreTimeout)
	err = m.st.Put(call, *rec)
	call.release()
	if err == nil {
		rec.Version++
		return *rec, nil
	}
	if isAnswer(err) && !errors.Is(err, store.ErrConflict) {
		return store.Record{}, err
	}
	newest, getErr := m.get(ctx, rec.ID)
	switch {
	case getErr == nil && bytes.Equal(newest.Data, rec.Data):
		*rec = newest
		return newest, nil
	case errors.Is(getErr, store.ErrEnded):
		return store.Record{}, store.ErrEnded
	case getErr == nil && errors.Is(err, store.ErrConflict):
		return newest, store.ErrConflict
	case errors.Is(err, store.ErrConflict):
		err = getErr
	}
	return store.Record{}, err
}

// saveError turns what put returned into an error of this package.
func (m *Manager) saveError(ctx context.Context, id store.ID, err error) error {
	switch {
	case errors.Is(err, store.ErrEnded):
		return m.endedWhy(ctx, id)
	case errors.Is(err, store.ErrNotFound):
		return ErrEnded // the store has forgotten it
	case errors.Is(err, ErrTooLarge):
		return err
	case errors.Is(err, store.ErrImmutable), errors.Is(err, store.ErrConflict):
		return fmt.Errorf("store refused the record: %w", err)
	}
	return m.failed(ctx, "save session", id, err)
}

// abandon leaves a tombstone for a token that nobody will be given, so that a
// create which is still on its way finds it. If the store does not take it, the
// session dies of its idle time; nobody knows its token. The tombstone of what was
// never there need not last: a create is on its way for seconds.
func (m *Manager) abandon(ctx context.Context, id store.ID) {
	if m.sealed != nil {
		return // nothing is on its way
	}
	why, _ := m.ended(store.Revoked, time.Time{})
	until := why.At.Add(abandonedFor)
	call := withDeadline(context.WithoutCancel(ctx), m.opts.StoreTimeout)
	defer call.release()
	_ = m.st.End(call, id, 0, why, until)
}

// reseal brings a session of a retiring key under the active one: the record by
// one compare-and-set, and the cookie only when the record is there, so that no
// moment needs both keys. Whatever goes wrong, the next request tries again. A
// session that was saved just now is still there; any other is looked at again
// before its token is issued once more: renewed meanwhile, the old token would
// take the new one's place in the browser.
func (m *Manager) reseal(ctx context.Context, s *Session, saved bool) {
	a := s.at
	if a == nil || a.rec.Version == 0 || s.cookie != cookieNone || s.skipped {
		return
	}
	by, _ := m.seal.sealedBy(&a.rec)
	data := m.retires(by)
	if !data && !m.retires(a.key) {
		return
	}
	if data {
		rec := a.rec
		if m.sealed != nil && !expired(&rec, time.Now()) {
			// This cookie is in the place of the one with the times. What has expired while
			// a slow handler was at work stays so.
			rec.Seen = milli(time.Now())
			rec.Expires = m.idleEnd(rec.Seen, rec.Deadline)
		}
		m.sealRecord(a, &rec, &a.now)
		call := withDeadline(context.WithoutCancel(ctx), m.opts.StoreTimeout)
		err := m.st.Put(call, rec)
		call.release()
		if err != nil {
			if !isAnswer(err) {
				_ = m.failed(ctx, "re-seal session", rec.ID, err)
			}
			return
		}
		rec.Version++
		a.saved(rec, a.now)
	} else if !saved && !m.alive(context.WithoutCancel(ctx), &a.rec) {
		return
	}
	s.cookie = cookieSet
}

// retires reports whether the key is a retiring one whose time has not passed: what it
// signed ends with it, also within a request. What a next key has sealed is left
// alone: instances where it is active already would only seal it anew again.
func (m *Manager) retires(id keyring.KeyID) bool {
	// Asking for the active one first spares the copy that Keys makes.
	return id != m.keys.Active() && slices.ContainsFunc(m.keys.Keys(), func(k keyring.KeyInfo) bool {
		return k.ID == id && k.State == keyring.Retiring && !k.Ended(time.Now())
	})
}

// accepts reports whether cookies that the key has signed are taken still. The zero
// KeyID stands for one that this request was the first to be given.
func (m *Manager) accepts(id keyring.KeyID) bool {
	return id == (keyring.KeyID{}) || m.keys.Accepts(id)
}

// pause lets others go first after a conflict, the longer the more there were.
func pause(ctx context.Context, try int) error {
	if try < 3 {
		return ctx.Err()
	}
	time.Sleep(rand.N(time.Duration(min(try, 50)) * 100 * time.Microsecond))
	return ctx.Err()
}
