package cloakroom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// lateWindow is how long a renewed token is answered with 409 rather than taken
// for a stranger's: the time in which a page's parallel requests come in.
const lateWindow = 30 * time.Second

// maxTurns bounds an end of all for a user who never stops signing in.
const maxTurns = 8

// Manager loads and saves sessions. It may be used by many goroutines, and
// nothing in it changes after New.
type Manager struct {
	st         store.Store
	keys       *keyring.Ring
	cookie     *keyring.Purpose
	seal       sealer
	sealed     *carrier // nil: sessions are stored
	opts       Options
	attributes string // behind the value of every cookie

	touching sync.Map // store.ID of each touch under way

	stamped atomic.Int64 // of the last renewal, in milliseconds; see stamp
}

// New returns a Manager that keeps its sessions in st and signs and seals with
// keys. Nil options are the zero Options. Every fault is reported at once.
func New(st store.Store, keys *keyring.Ring, opts *Options) (*Manager, error) {
	o, err := opts.resolve(st)
	if st == nil {
		err = errors.Join(errors.New("cloakroom: New needs a store: memstore.New(nil) keeps sessions in memory"), err)
	}
	if keys == nil {
		err = errors.Join(errors.New("cloakroom: New needs keys: keyring.OpenFile keeps them in a file"), err)
	}
	if err != nil {
		return nil, err
	}
	return &Manager{
		st: st, keys: keys, opts: o, attributes: o.attributes(),
		cookie: keys.Purpose(labelCookie, o.CookieName, o.Audience),
		seal:   newSealer(keys, o.Audience),
	}, nil
}

// Purpose derives keys from the Manager's key ring, for packages that sign or seal
// something of their own. They differ for each label, context and
// Options.Audience, and from the Manager's own.
func (m *Manager) Purpose(label string, context ...string) *keyring.Purpose {
	return m.keys.Purpose(label, append([]string{m.opts.Audience}, context...)...)
}

// Logger returns where the Manager writes its events.
func (m *Manager) Logger() *slog.Logger { return m.opts.Logger }

// Sealed reports whether the sessions are in their cookies, as [NewSealed] has them.
// Then nobody can list them, and what ends all of a user's is another epoch alone.
func (m *Manager) Sealed() bool { return m.sealed != nil }

// ClientAddr returns where a request comes from, as Options.ClientAddr says.
func (m *Manager) ClientAddr(r *http.Request) string { return m.opts.ClientAddr(r) }

// List returns the live sessions of a user, the one seen last first.
func (m *Manager) List(ctx context.Context, userID string) ([]Info, error) {
	recs, err := m.listUser(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("cloakroom: list sessions: %w", err)
	}
	infos := make([]Info, 0, len(recs))
	for i := range recs {
		info, err := m.seal.openInfo(&recs[i])
		if err != nil {
			m.event(ctx, slog.LevelError, event.RecordUnreadable, event.Session(recs[i].ID), event.Err(err))
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b Info) int {
		return cmp.Or(b.Seen.Compare(a.Seen), b.Created.Compare(a.Created), slices.Compare(a.ID[:], b.ID[:]))
	})
	return infos, nil
}

// listUser returns the records of a user that have not expired.
func (m *Manager) listUser(ctx context.Context, userID string) ([]store.Record, error) {
	users, ok := m.st.(store.UserStore)
	if !ok {
		return nil, ErrNoUserStore
	}
	call := withDeadline(ctx, bulkFactor*m.opts.StoreTimeout)
	recs, err := users.ListUser(call, userID)
	call.release()
	if err != nil {
		return nil, m.failed(ctx, "list sessions", store.ID{}, err)
	}
	now := time.Now()
	return slices.DeleteFunc(recs, func(r store.Record) bool { return expired(&r, now) }), nil
}

// End ends a session, whoever's it is. One that has ended already, or was never
// there, is no error: it is not live when End returns nil. ErrRenewed says that it
// goes on under another token, and so under another ID: list the user's sessions
// again.
func (m *Manager) End(ctx context.Context, id store.ID) error {
	ended, err := m.endNow(ctx, id, time.Time{}, store.Revoked)
	if err != nil {
		return fmt.Errorf("cloakroom: end session: %w", err)
	}
	if ended {
		m.event(ctx, slog.LevelInfo, event.SessionEnded, event.Session(id), event.Reason(store.Revoked.String()))
	}
	return nil
}

// EndUser ends all sessions of a user but the one with the ID except, and
// returns how many it ended. The zero ID excepts none. A login that is under way
// is not ended by it: for that the user's epoch is raised. That is also what ends
// sealed sessions, which nobody can find: here they are ErrNoUserStore.
func (m *Manager) EndUser(ctx context.Context, userID string, except store.ID) (int, error) {
	users, ok := m.st.(store.UserStore)
	if !ok {
		return 0, fmt.Errorf("cloakroom: end sessions: %w", ErrNoUserStore)
	}
	why, until := m.ended(store.Revoked, time.Time{})
	all := 0
	// A store need not do this in one moment. A session that is renewed while the
	// store goes from one to the next may be met under neither token; but the new
	// one is there before the next turn begins, which therefore meets it.
	for turn, n := 0, 0; turn < 2 || n > 0 && turn < maxTurns; turn++ {
		var err error
		call := withDeadline(ctx, bulkFactor*m.opts.StoreTimeout)
		n, err = users.EndUser(call, userID, except, why, until)
		call.release()
		all += n
		if err != nil {
			return all, fmt.Errorf("cloakroom: end sessions: %w", m.failed(ctx, "end sessions", store.ID{}, err))
		}
	}
	m.event(ctx, slog.LevelInfo, event.SessionEnded, event.User(userID), slog.Int("count", all), event.Reason(store.Revoked.String()))
	return all, nil
}

// Sweep makes the store forget what has expired, once and then every so often,
// until ctx ends. It blocks: run it in a goroutine of yours. A turn that fails is
// a log line. A store that forgets by itself returns at once with nil; otherwise
// the error is that of ctx. An interval of zero or less means a minute.
func (m *Manager) Sweep(ctx context.Context, every time.Duration) error {
	sweeper, ok := m.st.(store.Sweeper)
	if !ok {
		return nil
	}
	if every <= 0 {
		every = time.Minute
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if _, err := sweeper.Sweep(ctx, milli(time.Now())); err != nil && ctx.Err() == nil {
			m.event(ctx, slog.LevelError, event.SweepFailed, event.Err(err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ended returns a tombstone of now and the time that it must last: no session
// lives longer than a Lifetime from now, nor any that was made meanwhile. One that
// was made under a longer Lifetime does: its deadline is in the store's record, or
// else is given here. Zero is none that is known.
func (m *Manager) ended(why store.Reason, deadline time.Time) (store.Ended, time.Time) {
	now := milli(time.Now())
	if why == store.Renewed {
		now = m.stamp()
	}
	until := now.Add(m.opts.Lifetime)
	switch {
	case deadline.After(until):
		until = deadline
	case m.sealed != nil && deadline.IsZero():
		until = now.Add(maxLifetime) // nobody but the cookie knows
	}
	return store.Ended{Reason: why, At: now}, until.Add(deadlineSlack)
}

// stamp returns the time, and never the same twice while there are no more than a
// thousand renewals in a second. A renewal that has lost the answer of its End
// knows by it whether the tombstone is its own: of two parallel ones that both
// take it for theirs, one would go on without what was written last.
func (m *Manager) stamp() time.Time {
	for {
		last, now := m.stamped.Load(), time.Now().UnixMilli()
		if last >= now && last < now+1000 {
			now = last + 1
		}
		if m.stamped.CompareAndSwap(last, now) {
			return milliTime(now)
		}
	}
}

// end ends a session at the version, or at any for 0. An answer that got lost is
// looked up rather than asked for again: an End is never sent twice. Its errors
// are store.ErrNotFound, store.ErrEnded and store.ErrConflict, which say that
// this call has not ended it, and ErrUnavailable.
func (m *Manager) end(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	call := withDeadline(ctx, m.opts.StoreTimeout)
	err := m.st.End(call, id, version, why, until)
	call.release()
	if err == nil || isAnswer(err) {
		return err
	}
	if got, getErr := m.get(ctx, id); errors.Is(getErr, store.ErrEnded) {
		if got.Ended == why {
			return nil // it had been applied
		}
		return store.ErrEnded
	}
	return m.failed(ctx, "end session", id, err)
}

// endNow ends a session at any version, and reports whether it was this call that
// did. The session's deadline is zero where it is not known. That it has ended already is what was wanted, unless it was renewed: then
// it goes on under a token that only the browser knows, and the error is
// ErrRenewed.
func (m *Manager) endNow(ctx context.Context, id store.ID, deadline time.Time, reason store.Reason) (bool, error) {
	why, until := m.ended(reason, deadline)
	err := m.end(ctx, id, 0, why, until)
	switch {
	case err == nil, errors.Is(err, ErrUnavailable):
		return err == nil, err
	case errors.Is(err, store.ErrEnded):
		if err = m.endedWhy(ctx, id); !errors.Is(err, ErrEnded) {
			return false, err
		}
	}
	return false, nil
}

// endedWhy returns ErrRenewed or ErrEnded for a session that is not live, or
// ErrUnavailable.
func (m *Manager) endedWhy(ctx context.Context, id store.ID) error {
	got, err := m.get(ctx, id)
	switch {
	case errors.Is(err, store.ErrEnded) && got.Ended.Reason == store.Renewed:
		return ErrRenewed
	case err != nil && !isAnswer(err):
		return m.failed(ctx, "load session", id, err)
	}
	return ErrEnded
}

// alive reports whether a session that was loaded has neither ended nor expired.
func (m *Manager) alive(ctx context.Context, rec *store.Record) bool {
	newest, err := m.get(ctx, rec.ID)
	if err != nil {
		if !isAnswer(err) {
			_ = m.failed(ctx, "look at session", rec.ID, err)
		}
		return false
	}
	if m.sealed != nil {
		newest = *rec
	}
	return !expired(&newest, time.Now())
}

func (m *Manager) get(ctx context.Context, id store.ID) (store.Record, error) {
	call := withDeadline(ctx, m.opts.StoreTimeout)
	defer call.release()
	return m.st.Get(call, id)
}

// isAnswer reports an error that says something about the session, and not that
// the store could not answer.
func isAnswer(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEnded) ||
		errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrImmutable) || errors.Is(err, ErrTooLarge)
}

// expired judges both deadlines. They are the server's: whatever the cookie says
// and whatever the store still keeps. A session ends at its deadline, not after.
func expired(r *store.Record, now time.Time) bool {
	return !now.Before(r.Expires) || !now.Before(r.Deadline)
}

// touch notes activity, once a tenth of the idle timeout and not twice at the
// same time. It never fails a request.
func (m *Manager) touch(ctx context.Context, rec *store.Record, now time.Time) {
	if now.Sub(rec.Seen) < m.opts.IdleTimeout/10 || expired(rec, time.Now()) {
		return // what has expired while a slow handler was at work stays so
	}
	if _, busy := m.touching.LoadOrStore(rec.ID, struct{}{}); busy {
		return
	}
	defer m.touching.Delete(rec.ID)
	call := withDeadline(context.WithoutCancel(ctx), m.opts.StoreTimeout)
	defer call.release()
	if err := m.st.Touch(call, rec.ID, now, m.idleEnd(now, rec.Deadline)); err != nil && !isAnswer(err) {
		m.event(ctx, slog.LevelWarn, event.TouchFailed, event.Session(rec.ID), event.Err(err))
	}
}

// idleEnd is when a session expires that was seen now.
func (m *Manager) idleEnd(now, deadline time.Time) time.Time {
	if end := now.Add(m.opts.IdleTimeout); end.Before(deadline) {
		return end
	}
	return deadline
}

// failed logs what the store said and returns ErrUnavailable: what a store says
// may hold addresses and names, and is nothing for an answer.
func (m *Manager) failed(ctx context.Context, op string, id store.ID, err error) error {
	level := slog.LevelError
	switch {
	case errors.Is(err, store.ErrNotAsked):
		level = slog.LevelDebug // who did not ask has said why, once
	case errors.Is(err, context.Canceled):
		level = slog.LevelInfo // the client went away
	}
	m.event(ctx, level, event.StoreFailed, slog.String("op", op), event.Session(id), event.Err(err))
	return ErrUnavailable
}

func (m *Manager) event(ctx context.Context, level slog.Level, name string, attrs ...slog.Attr) {
	event.Log(ctx, m.opts.Logger, level, name, attrs...)
}
