package admin

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/store"
)

// ErrUncounted says that a store cannot be walked, so that nobody knows how many
// sessions it has.
var ErrUncounted = errors.New("admin: the sessions of this store cannot be counted")

// page is how many records or accounts are read at a time.
const page = 500

// Records are the sessions of a store.
type Records struct {
	// Store keeps the sessions. Nil is for those that nobody can list: in cookies, or
	// in the memory of another process. Ending them is a matter of the epoch alone.
	Store store.Store

	// Users lists the accounts, for a store that finds sessions of users and
	// cannot be walked.
	Users interface {
		List(ctx context.Context, after string, n int) ([]sqlusers.Account, error)
	}

	// Keep is how long the store remembers that a session has ended: the lifetime of
	// sessions.
	Keep time.Duration
}

var _ Sessions = (*Records)(nil)

// EndRecords implements [Sessions].
func (r *Records) EndRecords(ctx context.Context, userID string) (int, error) {
	users, ok := r.Store.(store.UserStore)
	if !ok {
		return 0, nil
	}
	why, until := r.tombstone()
	return users.EndUser(ctx, userID, store.ID{}, why, until)
}

// EndAllRecords implements [Sessions].
func (r *Records) EndAllRecords(ctx context.Context) (total int, err error) {
	why, until := r.tombstone()
	for rec, err := range r.All(ctx) {
		if err != nil {
			return total, err
		}
		switch err := r.Store.End(ctx, rec.ID, 0, why, until); {
		case err == nil:
			total++
		case !errors.Is(err, store.ErrEnded) && !errors.Is(err, store.ErrNotFound):
			return total, err
		}
	}
	return total, nil
}

// End ends one session, for who has no Manager. A session that is renewed at the same
// moment may go on under another token.
func (r *Records) End(ctx context.Context, id store.ID) error {
	why, until := r.tombstone()
	return r.Store.End(ctx, id, 0, why, until)
}

// Count returns how many sessions are live and signed in, and whether there are
// more than it looked at: it reads at most limit records. It returns [ErrUncounted]
// where the store cannot be walked.
func (r *Records) Count(ctx context.Context, limit int) (n int, more bool, err error) {
	scanner, ok := r.Store.(store.Scanner)
	if !ok {
		return 0, false, ErrUncounted
	}
	now, seen := time.Now(), 0
	for rec, err := range walk(ctx, scanner) {
		if err != nil {
			return 0, false, err
		}
		if seen++; seen > limit {
			return n, true, nil
		}
		if rec.UserID != "" && now.Before(rec.Expires) && now.Before(rec.Deadline) {
			n++
		}
	}
	return n, false, nil
}

// tombstone is what the store keeps of a session that an administrator ends, and
// until when at least.
func (r *Records) tombstone() (store.Ended, time.Time) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return store.Ended{Reason: store.Revoked, At: now}, now.Add(r.Keep)
}

// All goes through the live records; where the store cannot be walked, through
// those of every account.
func (r *Records) All(ctx context.Context) iter.Seq2[store.Record, error] {
	switch s := r.Store.(type) {
	case store.Scanner:
		return walk(ctx, s)
	case store.UserStore:
		return r.ofUsers(ctx, s)
	}
	return func(func(store.Record, error) bool) {}
}

func walk(ctx context.Context, s store.Scanner) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for after := (store.ID{}); ; {
			recs, err := s.Scan(ctx, after, page)
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			for _, rec := range recs {
				if !yield(rec, nil) {
					return
				}
			}
			if len(recs) < page {
				return
			}
			after = recs[len(recs)-1].ID
		}
	}
}

func (r *Records) ofUsers(ctx context.Context, s store.UserStore) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for after := ""; ; {
			accounts, err := r.Users.List(ctx, after, page)
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			for _, a := range accounts {
				recs, err := s.ListUser(ctx, a.ID)
				if err != nil {
					yield(store.Record{}, err)
					return
				}
				for _, rec := range recs {
					if !yield(rec, nil) {
						return
					}
				}
			}
			if len(accounts) < page {
				return
			}
			after = accounts[len(accounts)-1].Canonical
		}
	}
}
