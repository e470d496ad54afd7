package memcachestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cloakroom-dev/cloakroom/store"
)

// mendEvery is how far a session's Seen moves until its entry in the list of its
// user's sessions is looked for once more, in case that the server has evicted
// the list. It costs one more command.
const mendEvery = 5 * time.Minute

// unreadableError says that under a session's key there is something that is not
// a session: garbage, or the format of a later version. It is a [store.ErrEnded],
// so that the visitor signs in anew rather than being refused for ever, and so
// that nothing brings the session back: an End replaces it with a tombstone, and
// nothing else is stored over it.
type unreadableError struct{ id store.ID }

// Error names the session by its handle.
func (e *unreadableError) Error() string {
	return "memcachestore: session " + e.id.Handle() + " cannot be read: " + errUnreadable.Error()
}

// Unwrap returns [store.ErrEnded] and what was wrong.
func (e *unreadableError) Unwrap() []error { return []error{store.ErrEnded, errUnreadable} }

// load reads what stands under an ID. The item comes back beside an
// unreadableError too, for End to write over it.
func (s *Store) load(ctx context.Context, id store.ID) (*memcache.Item, session, error) {
	item, err := s.get(ctx, s.sessionKey(id))
	if err != nil {
		return nil, session{}, err
	}
	e, err := s.read(ctx, id, item)
	return item, e, err
}

// read says what an item is: a live record; a tombstone, beside store.ErrEnded;
// nothing; or, beside an unreadableError and a log line, what cannot be read.
func (s *Store) read(ctx context.Context, id store.ID, item *memcache.Item) (session, error) {
	if item == nil {
		return session{}, store.ErrNotFound
	}
	e, err := decodeSession(id, item.Value)
	if err != nil {
		err := &unreadableError{id}
		s.log.LogAttrs(ctx, slog.LevelError, "record_unreadable",
			slog.String("session", id.Handle()), slog.String("err", err.Error()))
		return session{}, err
	}
	if e.ended() {
		return e, store.ErrEnded
	}
	return e, nil
}

// Get implements [store.Store]. It is one command.
func (s *Store) Get(ctx context.Context, id store.ID) (store.Record, error) {
	_, e, err := s.load(ctx, id)
	if err != nil {
		return store.Record{ID: e.ID, Ended: e.Ended}, wrap("get", err)
	}
	return e.Record, nil
}

// Put implements [store.Store]. A create is one command, and two more for the
// list of a user's sessions; an update is two, and every five minutes a third
// one. It returns [ErrTooLarge], [ErrFull] or [ErrTooManySessions] where the
// server has no room. An ID of zero and a UserID over store.MaxUserID are refused.
func (s *Store) Put(ctx context.Context, r store.Record) error {
	if r.ID.IsZero() {
		return errors.New("memcachestore: put: no session has the zero ID")
	}
	if len(r.UserID) > store.MaxUserID {
		return fmt.Errorf("memcachestore: put: user ID of %d bytes, at most %d are kept", len(r.UserID), store.MaxUserID)
	}
	if r.Version == 0 {
		return wrap("create", s.create(ctx, &r))
	}
	return wrap("update", s.update(ctx, &r))
}

// create stores the first version of a session. Its entry in the list of its
// user's sessions comes first, so that whatever happens in between leaves an
// entry too many and never a session that no list shows.
func (s *Store) create(ctx context.Context, r *store.Record) error {
	e := session{Record: *r}
	e.Version = 1
	if e.Expires.After(e.Deadline) {
		e.Expires = e.Deadline
	}
	if e.UserID != "" {
		e.listed = e.Seen
		if err := s.enlist(ctx, &e.Record); err != nil {
			return err
		}
	}
	value := e.encode()
	for {
		if ok, err := s.add(ctx, s.sessionKey(e.ID), value, e.Expires); ok || err != nil {
			return err
		}
		// There is something, or there was just now.
		switch item, _, err := s.load(ctx, e.ID); {
		case item == nil && errors.Is(err, store.ErrNotFound):
		case item != nil && !errors.Is(err, store.ErrEnded):
			return store.ErrConflict
		default:
			return err
		}
	}
}

// update stores the next version of a session.
func (s *Store) update(ctx context.Context, r *store.Record) error {
	return s.change(ctx, r.ID, func(e *session) (bool, error) {
		switch {
		case e.Version != r.Version:
			return false, store.ErrConflict
		case e.UserID != r.UserID, !sameMilli(e.Created, r.Created), !sameMilli(e.Deadline, r.Deadline):
			return false, store.ErrImmutable
		}
		e.Version++
		e.Info, e.Data = r.Info, r.Data
		e.move(r.Seen, r.Expires)
		return true, nil
	})
}

// Touch implements [store.Store]. It is two commands, and every five minutes of a
// user's session a third one; the whole record goes over the link and back. One
// that moves nothing is a read.
func (s *Store) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	return wrap("touch", s.change(ctx, id, func(e *session) (bool, error) {
		return e.move(seen, expires), nil
	}))
}

// change reads a live record, lets f change it, and writes it over what was read;
// and begins anew where somebody else was first. Each turn of it means that
// another call has succeeded, and every turn heeds ctx. So a touch and an update
// at once both count: who comes later has read what the other has written.
func (s *Store) change(ctx context.Context, id store.ID, f func(e *session) (bool, error)) error {
	for {
		item, e, err := s.load(ctx, id)
		if err != nil {
			return err
		}
		if changed, err := f(&e); err != nil || !changed {
			return err
		}
		if e.UserID != "" && e.Seen.Sub(e.listed) >= mendEvery {
			switch err := s.enlist(ctx, &e.Record); {
			case err == nil:
				e.listed = e.Seen
			case errors.Is(err, ErrTooManySessions), errors.Is(err, ErrFull):
				// The visitor need not suffer; the next write tries again.
			default:
				return fmt.Errorf("list of the user's sessions: %w", err)
			}
		}
		if ok, err := s.swap(ctx, item, e.encode(), e.Expires); ok || err != nil {
			return err
		}
	}
}

// move moves the times of a live record forward, and tells whether it did.
func (e *session) move(seen, expires time.Time) bool {
	if expires.After(e.Deadline) {
		expires = e.Deadline
	}
	moved := false
	if seen.UnixMilli() > e.Seen.UnixMilli() {
		e.Seen, moved = seen, true
	}
	if expires.UnixMilli() > e.Expires.UnixMilli() {
		e.Expires, moved = expires, true
	}
	return moved
}

// sameMilli compares times as they are kept.
func sameMilli(a, b time.Time) bool { return a.UnixMilli() == b.UnixMilli() }

// End implements [store.Store]. It is two commands. An ID of zero and the reason
// store.NotEnded are refused.
func (s *Store) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	if id.IsZero() {
		return errors.New("memcachestore: end: no session has the zero ID")
	}
	if why.Reason == store.NotEnded {
		return errors.New("memcachestore: end: a tombstone needs a reason")
	}
	return wrap("end", s.end(ctx, id, version, why, until))
}

// end leaves a tombstone where a live record is, or nothing, or what cannot be
// read.
func (s *Store) end(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	for {
		item, e, err := s.load(ctx, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, errUnreadable) {
			return err
		}
		if err == nil && version != 0 && version != e.Version {
			return store.ErrConflict
		}
		last := until
		if e.Deadline.After(last) {
			last = e.Deadline
		}
		ok, writeErr := s.write(ctx, s.sessionKey(id), item, encodeTombstone(why, last), last)
		if writeErr != nil {
			return writeErr
		}
		if ok {
			return err
		}
	}
}
