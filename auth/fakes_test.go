package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// accounts is a Users in memory, with places for a test to interfere.
type accounts struct {
	mu    sync.Mutex
	users map[string]*account

	byID      int                  // calls of ByID
	fail      error                // what every call returns
	hang      bool                 // every call waits for the end of its context
	lost      error                // what a write returns that has been done
	strange   bool                 // ByID returns another user
	afterName func(auth.User)      // runs when ByName has read the user
	afterID   func(auth.User)      // runs when ByID has read the user
	onSet     func(id, phc string) // runs before SetPassword and ReplaceHash write
}

// account is a user with the canonical name that finds them.
type account struct {
	auth.User
	canonical string
}

func (a *accounts) change(id string, f func(*account)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a.users[id])
}

func (a *accounts) remove(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.users, id)
}

func (a *accounts) set(f func(*accounts)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a)
}

func (a *accounts) hash(id string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.users[id].Password
}

// find copies the user that f wants, and gives way to the test's wishes.
func (a *accounts) find(ctx context.Context, f func(*account) bool) (auth.User, error) {
	a.mu.Lock()
	fail, hang := a.fail, a.hang
	var user *auth.User
	for _, u := range a.users {
		if f(u) {
			c := u.User
			user = &c
		}
	}
	a.mu.Unlock()
	switch {
	case hang:
		<-ctx.Done()
		return auth.User{}, ctx.Err()
	case fail != nil:
		return auth.User{}, fail
	case user == nil:
		return auth.User{}, fmt.Errorf("accounts: find: %w", auth.ErrNoUser)
	}
	return *user, nil
}

func (a *accounts) ByName(ctx context.Context, name string) (auth.User, error) {
	u, err := a.find(ctx, func(u *account) bool { return u.canonical == name })
	if err == nil && a.afterName != nil {
		a.afterName(u)
	}
	return u, err
}

func (a *accounts) ByID(ctx context.Context, id string) (auth.User, error) {
	u, err := a.find(ctx, func(u *account) bool { return u.ID == id })
	a.mu.Lock()
	a.byID++
	strange, after := a.strange, a.afterID
	a.mu.Unlock()
	if strange {
		return auth.User{ID: "u0", Name: "somebody", Roles: []string{"admin"}, Epoch: u.Epoch}, nil
	}
	if err == nil && after != nil {
		after(u)
	}
	return u, err
}

func (a *accounts) SetPassword(_ context.Context, id, phc string, raiseEpoch bool) error {
	if a.onSet != nil {
		a.onSet(id, phc)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	u, ok := a.users[id]
	switch {
	case a.fail != nil:
		return a.fail
	case !ok:
		return auth.ErrNoUser
	}
	u.Password = phc
	if raiseEpoch {
		u.Epoch++
		u.MustChange = false
	}
	return a.lost
}

// replacer is accounts that replace a hash in one step.
type replacer struct{ *accounts }

func (a replacer) ReplaceHash(_ context.Context, id, old, phc string) (bool, error) {
	if a.onSet != nil {
		a.onSet(id, phc)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if u := a.users[id]; u == nil || u.Password != old {
		return false, a.fail
	}
	a.users[id].Password = phc
	return true, a.fail
}

// changer is accounts that change a password in one step.
type changer struct{ replacer }

func (a changer) ChangePassword(_ context.Context, id, old, phc string) (bool, error) {
	if a.onSet != nil {
		a.onSet(id, phc)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.users[id]
	if a.fail != nil || u == nil || u.Password != old {
		return false, a.fail
	}
	u.Password, u.Epoch, u.MustChange = phc, u.Epoch+1, false
	return true, a.lost
}

// kinds are Users that can do more or less in one step.
var kinds = map[string]func(*accounts) auth.Users{
	"SetPassword":    nil,
	"ChangePassword": func(u *accounts) auth.Users { return changer{replacer{u}} },
}

// faulty is a store that can be told to fail.
type faulty struct {
	*memstore.Store
	mu  sync.Mutex
	put error
	end error

	around func(call func() error) error // of every call; nil: none
}

func (f *faulty) Get(ctx context.Context, id store.ID) (r store.Record, err error) {
	if f.around == nil {
		return f.Store.Get(ctx, id)
	}
	err = f.around(func() error { r, err = f.Store.Get(ctx, id); return err })
	return r, err
}

func (f *faulty) set(put, end error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put, f.end = put, end
}

func (f *faulty) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (n int, err error) {
	if f.around == nil {
		return f.Store.EndUser(ctx, userID, except, why, until)
	}
	err = f.around(func() error { n, err = f.Store.EndUser(ctx, userID, except, why, until); return err })
	return n, err
}

func (f *faulty) Put(ctx context.Context, r store.Record) error {
	f.mu.Lock()
	err := f.put
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if f.around != nil {
		return f.around(func() error { return f.Store.Put(ctx, r) })
	}
	return f.Store.Put(ctx, r)
}

func (f *faulty) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	f.mu.Lock()
	err := f.end
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if f.around != nil {
		return f.around(func() error { return f.Store.End(ctx, id, version, why, until) })
	}
	return f.Store.End(ctx, id, version, why, until)
}

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was written since the last call.
func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// lines returns the lines of an event, as JSON objects, written since the last
// call of take or lines.
func (l *logBuffer) lines(t *testing.T, name string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(l.take()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if m["msg"] == name {
			all = append(all, m)
		}
	}
	return all
}
