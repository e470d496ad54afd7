package admin_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// away is a store of sessions that does not answer.
type away struct{ *memstore.Store }

var errAway = errors.New("away")

func (away) EndUser(context.Context, string, store.ID, store.Ended, time.Time) (int, error) {
	return 0, errAway
}
func (away) Scan(context.Context, store.ID, int) ([]store.Record, error) { return nil, errAway }

// unwalked is a store that finds a user's sessions and cannot be walked.
type unwalked struct{ store.UserStore }

func open(t *testing.T, st store.Store) (*admin.Admin, *admin.Records, *sqlusers.Users) {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "users.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	users, err := sqlusers.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	th, err := throttle.New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &admin.Records{Store: st, Users: users, Keep: time.Hour}
	return &admin.Admin{Users: users, Sessions: r, Throttle: th, Links: func() string { return "https://x/auth" }}, r, users
}

// put stores a session.
func put(t *testing.T, st store.Store, n byte, user string, expires time.Duration) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	err := st.Put(t.Context(), store.Record{
		ID: store.ID{n}, UserID: user, Created: now, Seen: now, Expires: now.Add(expires), Deadline: now.Add(2 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The epoch goes first: where the sessions cannot be tidied up, nobody is let in all the
// same, and whoever asked for it is told.
func TestASVS_7_4_5_AnOutageOfTheStoreLetsNobodyIn(t *testing.T) {
	a, _, users := open(t, away{memstore.New(nil)})
	u, err := a.Add(t.Context(), admin.Console, sqlusers.NewUser{Name: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for name, end := range map[string]func() (admin.Ended, error){
		"disable": func() (admin.Ended, error) { return a.Disable(t.Context(), admin.Console, u.ID) },
		"end":     func() (admin.Ended, error) { return a.EndSessions(t.Context(), admin.Console, u.ID) },
		"change":  func() (admin.Ended, error) { return a.RequireChange(t.Context(), admin.Console, u.ID) },
		"all":     func() (admin.Ended, error) { return a.EndEveryone(t.Context(), admin.Console) },
	} {
		ended, err := end()
		if err != nil || !errors.Is(ended.Left, errAway) || ended.Count != 0 {
			t.Errorf("%s: %+v, %v", name, ended, err)
		}
		now, err := users.ByID(t.Context(), u.ID)
		if err != nil || now.Epoch <= last {
			t.Errorf("%s: epoch %d after %d, %v", name, now.Epoch, last, err)
		}
		last = now.Epoch
	}
}

func TestRecords(t *testing.T) {
	mem := memstore.New(nil)
	for name, st := range map[string]store.Store{"walked": mem, "by users": unwalked{memstore.New(nil)}} {
		a, r, _ := open(t, st)
		u, err := a.Add(t.Context(), admin.Console, sqlusers.NewUser{Name: "bob"})
		if err != nil {
			t.Fatal(err)
		}
		for n := range byte(7) {
			put(t, st, n+1, u.ID, time.Hour)
		}
		n, more, err := r.Count(t.Context(), 100)
		if st == mem {
			put(t, st, 99, "", time.Hour) // a visitor
			if again, _, _ := r.Count(t.Context(), 100); n != 7 || more || err != nil || again != 7 {
				t.Errorf("%s: %d %t %v, with a visitor %d", name, n, more, err, again)
			}
			if n, more, err := r.Count(t.Context(), 3); n > 3 || !more || err != nil {
				t.Errorf("%s: of 3 looked at %d %t %v", name, n, more, err)
			}
		} else if !errors.Is(err, admin.ErrUncounted) {
			t.Errorf("%s: %v", name, err)
		}
		ended, err := a.EndEveryone(t.Context(), admin.Console)
		if want := 7; err != nil || ended.Left != nil || ended.Count < want {
			t.Errorf("%s: %+v %v", name, ended, err)
		}
		for n := range byte(7) {
			if _, err := st.Get(t.Context(), store.ID{n + 1}); !errors.Is(err, store.ErrEnded) {
				t.Errorf("%s: session %d: %v", name, n, err)
			}
		}
		if err := r.End(t.Context(), store.ID{1}); !errors.Is(err, store.ErrEnded) {
			t.Errorf("%s: end again: %v", name, err)
		}
	}
	// In cookies, or in another process: the epoch alone.
	a, r, _ := open(t, nil)
	if ended, err := a.EndEveryone(t.Context(), admin.Console); err != nil || ended != (admin.Ended{}) {
		t.Errorf("%+v %v", ended, err)
	}
	if n, err := r.EndRecords(t.Context(), "u"); n != 0 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if _, _, err := r.Count(t.Context(), 1); !errors.Is(err, admin.ErrUncounted) {
		t.Error(err)
	}
}
