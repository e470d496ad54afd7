package memcachestore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/bits"
	"slices"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cloakroom-dev/cloakroom/store"
)

const (
	// maxEntries is how many sessions the list of a user has room for: 768 KiB,
	// which fit into an item of any server that keeps the default.
	maxEntries = 16 << 10

	// tidyFrom is the length of a list from which a create looks whether the
	// sessions on it are still there: each time that it has doubled.
	tidyFrom = 64

	// oldEntry is the age from which an entry without a record is no longer that
	// of a create on its way.
	oldEntry = time.Hour

	// batch is how many records are read by one command.
	batch = 16
)

// index reads the list of a user's sessions. One that cannot be read is an error
// and a log line, and the item comes back all the same.
func (s *Store) index(ctx context.Context, userID string) (*memcache.Item, []entry, error) {
	item, err := s.get(ctx, s.userKey(userID))
	if err != nil || item == nil {
		return nil, nil, err
	}
	list, err := decodeIndex(userID, item.Value)
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "record_unreadable", slog.String("err", "memcachestore: list of a user's sessions: "+err.Error()))
	}
	return item, list, err
}

// writeIndex writes the list of a user's sessions over what was read. It lives as
// long as the longest of them.
func (s *Store) writeIndex(ctx context.Context, userID string, old *memcache.Item, list []entry) (bool, error) {
	var last int64
	for _, e := range list {
		last = max(last, e.deadline)
	}
	ok, err := s.write(ctx, s.userKey(userID), old, encodeIndex(userID, list), time.UnixMilli(last))
	if errors.Is(err, ErrTooLarge) {
		err = ErrTooManySessions // for an item of this server
	}
	return ok, err
}

// enlist makes sure that a session stands in the list of its user's sessions. A
// list that cannot be read is replaced, for the user has to be able to sign in.
func (s *Store) enlist(ctx context.Context, r *store.Record) error {
	for {
		item, list, err := s.index(ctx, r.UserID)
		if err != nil && !errors.Is(err, errUnreadable) {
			return err
		}
		if slices.ContainsFunc(list, func(e entry) bool { return e.id == r.ID }) {
			return nil
		}
		now := time.Now()
		list = slices.DeleteFunc(list, func(e entry) bool { return e.over(now) })
		if n := len(list); n >= tidyFrom && bits.OnesCount(uint(n)) == 1 || n >= maxEntries {
			if list, err = s.tidy(ctx, list, now); err != nil {
				return err
			}
		}
		if len(list) >= maxEntries {
			return ErrTooManySessions
		}
		list = append(list, entry{r.ID, now.UnixMilli(), r.Deadline.UnixMilli()})
		if ok, err := s.writeIndex(ctx, r.UserID, item, list); ok || err != nil {
			return err
		}
	}
}

// over tells of an entry whose session no instance takes for a live one any more,
// were its clock as far off as it may be.
func (e entry) over(now time.Time) bool {
	return now.After(time.UnixMilli(e.deadline).Add(2 * store.Slack))
}

// each reads the records of entries, some at a time, and calls f with what stands
// under each ID: its item, nil where there is none, and what load says of it. What
// cannot be read is no tombstone, and stays on the list for EndUser.
func (s *Store) each(ctx context.Context, list []entry, f func(e entry, item *memcache.Item, rec session, err error) error) error {
	byServer := map[*server][]entry{}
	for _, e := range list {
		srv := s.server(s.sessionKey(e.id))
		byServer[srv] = append(byServer[srv], e)
	}
	for srv, list := range byServer {
		for some := range slices.Chunk(list, batch) {
			var keys []string
			for _, e := range some {
				keys = append(keys, s.sessionKey(e.id))
			}
			items, err := s.getMulti(ctx, srv, keys)
			if err != nil {
				return err
			}
			for i, e := range some {
				item := items[keys[i]]
				rec, err := s.read(ctx, e.id, item)
				if err := f(e, item, rec, err); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// tidy leaves out of a list the sessions that have ended, and those of which
// nothing has been there for long. Under such an ID it leaves a tombstone first:
// a create that is still on its way finds it, rather than make a session that no
// list shows.
func (s *Store) tidy(ctx context.Context, list []entry, now time.Time) ([]entry, error) {
	gone := map[store.ID]bool{}
	why := store.Ended{Reason: store.Revoked, At: now}
	err := s.each(ctx, list, func(e entry, item *memcache.Item, rec session, _ error) error {
		switch {
		case rec.ended():
			gone[e.id] = true
		case item == nil && now.Sub(time.UnixMilli(e.added)) > oldEntry:
			until := time.UnixMilli(e.deadline)
			added, err := s.add(ctx, s.sessionKey(e.id), encodeTombstone(why, until), until)
			gone[e.id] = added
			return err
		}
		return nil
	})
	return without(list, gone), err
}

// without returns a list without the entries that have gone.
func without(list []entry, gone map[store.ID]bool) []entry {
	return slices.DeleteFunc(slices.Clone(list), func(e entry) bool { return gone[e.id] })
}

// ListUser implements [store.UserStore]. It reads the list and then the records,
// sixteen with one command. Data is nil. It finds what stands in the list: see
// the package's comment on lists that the server has evicted.
func (s *Store) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	if userID == "" {
		return nil, ctx.Err()
	}
	item, list, err := s.index(ctx, userID)
	if err != nil || item == nil {
		return nil, wrap("list a user's sessions", err)
	}
	var records []store.Record
	gone := map[store.ID]bool{}
	err = s.each(ctx, list, func(e entry, _ *memcache.Item, rec session, err error) error {
		switch {
		case rec.ended():
			gone[e.id] = true
		case err == nil && rec.UserID == userID:
			rec.Info, rec.Data = bytes.Clone(rec.Info), nil // not to keep Data with it
			records = append(records, rec.Record)
		}
		return nil
	})
	if err != nil {
		return nil, wrap("list a user's sessions", err)
	}
	if len(gone) >= batch && len(gone) > len(list)/2 {
		// Only to read less the next time: whoever writes meanwhile comes first.
		_, _ = s.writeIndex(ctx, userID, item, without(list, gone))
	}
	return records, nil
}

// EndUser implements [store.UserStore]. It ends one session after the other, and
// begins anew until it finds none that lives. Where it returns an error, what it
// has ended stays ended, and is counted.
func (s *Store) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	if userID == "" {
		return 0, ctx.Err()
	}
	if why.Reason == store.NotEnded {
		return 0, errors.New("memcachestore: end a user's sessions: a tombstone needs a reason")
	}
	n := 0
	for {
		item, list, err := s.index(ctx, userID)
		if err != nil || item == nil {
			return n, wrap("end a user's sessions", err)
		}
		gone := map[store.ID]bool{}
		before := n
		err = s.each(ctx, list, func(e entry, item *memcache.Item, rec session, err error) error {
			switch {
			case rec.ended():
				gone[e.id] = true
				return nil
			case e.id == except, item == nil, err == nil && rec.UserID != userID:
				return nil
			}
			// A record that cannot be read may be one that a newer program can.
			ended, err := s.endEntry(ctx, e, item, why, until)
			if ended {
				n++
			}
			return err
		})
		if err != nil {
			return n, wrap("end a user's sessions", err)
		}
		if n > before {
			continue
		}
		if len(gone) > 0 {
			_, _ = s.writeIndex(ctx, userID, item, without(list, gone)) // as ListUser
		}
		return n, nil
	}
}

// endEntry ends a session of a list, whose record has just been read, and tells
// whether it was this call that did.
func (s *Store) endEntry(ctx context.Context, e entry, item *memcache.Item, why store.Ended, until time.Time) (bool, error) {
	if deadline := time.UnixMilli(e.deadline); deadline.After(until) {
		until = deadline
	}
	ok, err := s.swap(ctx, item, encodeTombstone(why, until), until)
	if ok || err != nil {
		return ok, err
	}
	switch err := s.end(ctx, e.id, 0, why, until); {
	case errors.Is(err, store.ErrEnded), errors.Is(err, store.ErrNotFound):
		return false, nil
	default:
		return err == nil, err
	}
}
