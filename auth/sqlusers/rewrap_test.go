package sqlusers_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
)

// sealer returns a Hasher whose pepper is that of a ring with these keys.
func sealer(t *testing.T, active keyring.Key, others ...keyring.Key) *password.Hasher {
	t.Helper()
	return sealerOf(t, purpose(t, active, others...))
}

func purpose(t *testing.T, active keyring.Key, others ...keyring.Key) *keyring.Purpose {
	t.Helper()
	ring, err := keyring.New(active, others...)
	is(t, err, nil)
	return ring.Purpose("password")
}

func sealerOf(t *testing.T, pepper password.Pepper) *password.Hasher {
	t.Helper()
	h, err := password.New(&password.Options{Pepper: pepper})
	is(t, err, nil)
	return h
}

// watched is a pepper that says when it opens something.
type watched struct {
	password.Pepper
	opens func()
}

func (w watched) Open(sealed, ad []byte) ([]byte, error) {
	w.opens()
	return w.Pepper.Open(sealed, ad)
}

// enroll makes n accounts whose hashes h has sealed, and returns their IDs.
func enroll(t *testing.T, users *sqlusers.Users, h *password.Hasher, prefix string, n int) []string {
	t.Helper()
	ids := make([]string, n)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				name := fmt.Sprint(prefix, i)
				stored := phc(name)
				if h != nil {
					var err error
					stored, err = h.Rewrap(stored)
					is(t, err, nil)
				}
				u, err := users.Create(t.Context(), sqlusers.NewUser{Name: name, Password: stored})
				is(t, err, nil)
				ids[i] = u.ID
			}
		})
	}
	wg.Wait()
	return ids
}

// sealedWith checks how many hashes are sealed with the key of each Hasher.
func sealedWith(t *testing.T, users *sqlusers.Users, want map[*password.Hasher]int) {
	t.Helper()
	got, err := users.SealedHashes(t.Context())
	is(t, err, nil)
	for h, n := range want {
		key, ok := h.PepperKey()
		if !ok || got[key] != n {
			t.Errorf("%d hashes are sealed with %x, want %d", got[key], key, n)
		}
		if n > 0 {
			delete(got, key)
		}
	}
	if len(got) > 0 {
		t.Errorf("and with others: %v", got)
	}
}

// TestASVS_13_3_4_HashesFollowTheKey: after a pass nothing depends on the former key, and
// nothing of the accounts has changed but that; what cannot be opened is left and counted.
func TestASVS_13_3_4_HashesFollowTheKey(t *testing.T) { each(t, proveRewrap) }

func proveRewrap(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	old, key, lost := keyring.Generate(), keyring.Generate(), keyring.Generate()
	before, after, gone := sealer(t, old), sealer(t, key), sealer(t, lost)
	h := sealer(t, key, old.AsRetiring(time.Now().Add(time.Hour)))
	ids := enroll(t, users, before, "sealed", 120) // more than a page
	enroll(t, users, after, "current", 3)
	enroll(t, users, nil, "plain", 3)
	strange := enroll(t, users, gone, "lost", 2)
	invited, err := users.Create(ctx, sqlusers.NewUser{Name: "invited"})
	is(t, err, nil)
	is(t, users.SetDisabled(ctx, ids[1], true), nil)
	is(t, users.RequireChange(ctx, ids[2]), nil)
	_, err = users.NewLink(ctx, ids[3], sqlusers.LinkReset, time.Now(), time.Hour)
	is(t, err, nil)
	sealedWith(t, users, map[*password.Hasher]int{before: 120, after: 3, gone: 2})
	was := everyone(t, users)

	got, err := users.Rewrap(ctx, h)
	is(t, err, nil)
	if (got != sqlusers.Rewrapped{Done: 120, Left: 2}) {
		t.Errorf("got %+v, want 120 done and 2 left", got)
	}
	sealedWith(t, users, map[*password.Hasher]int{before: 0, after: 123, gone: 2})
	for id, a := range everyone(t, users) {
		if fmt.Sprint(a) != fmt.Sprint(was[id]) {
			t.Errorf("an account has become %+v, was %+v", a, was[id])
		}
	}
	for i, id := range ids {
		stored := read(t, users, id).Password
		if err := after.Check(stored); err != nil {
			t.Fatalf("hash %d needs the former key: %v", i, err)
		}
	}
	if u := read(t, users, strange[0]); gone.Check(u.Password) != nil {
		t.Error("a hash that cannot be opened was changed")
	}
	if u := read(t, users, invited.ID); u.Password != "" {
		t.Errorf("who has no password has %q", u.Password)
	}
	if got, err := users.Rewrap(ctx, h); err != nil || got.Done != 0 {
		t.Errorf("once more: %+v, %v", got, err)
	}
}

// everyone returns all accounts by their IDs.
func everyone(t *testing.T, users *sqlusers.Users) map[string]sqlusers.Account {
	t.Helper()
	list, err := users.List(t.Context(), "", 1000)
	is(t, err, nil)
	m := make(map[string]sqlusers.Account, len(list))
	for _, a := range list {
		m[a.ID] = a
	}
	return m
}

// TestASVS_13_3_4_RewrappingIsTakenUp: a pass that was cut off leaves every hash under one
// key or the other, and the next goes on.
func TestASVS_13_3_4_RewrappingIsTakenUp(t *testing.T) { each(t, proveTakenUp) }

func proveTakenUp(t *testing.T, users *sqlusers.Users, _ database) {
	old, key := keyring.Generate(), keyring.Generate()
	before, after := sealer(t, old), sealer(t, key)
	enroll(t, users, before, "sealed", 110)
	both := purpose(t, key, old.AsRetiring(time.Now().Add(time.Hour)))
	ctx, cancel := context.WithCancel(t.Context())
	opened := 0
	got, err := users.Rewrap(ctx, sealerOf(t, watched{both, func() {
		if opened++; opened == 105 {
			cancel()
		}
	}}))
	is(t, err, context.Canceled)
	if got.Done != 100 {
		t.Errorf("got %+v, want the page that was written", got)
	}
	sealedWith(t, users, map[*password.Hasher]int{before: 10, after: 100})
	got, err = users.Rewrap(t.Context(), sealerOf(t, both))
	is(t, err, nil)
	if got.Done != 10 {
		t.Errorf("got %+v, want the rest", got)
	}
	sealedWith(t, users, map[*password.Hasher]int{after: 110})
}

// TestASVS_13_3_4_RewrappingLosesNoChange: a password that is changed between reading and
// writing stays changed, with what the change has done to the account.
func TestASVS_13_3_4_RewrappingLosesNoChange(t *testing.T) { each(t, proveLosesNoChange) }

func proveLosesNoChange(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	old, key := keyring.Generate(), keyring.Generate()
	before := sealer(t, old)
	ids := enroll(t, users, before, "sealed", 4)
	was := read(t, users, ids[0])
	changed, err := before.Rewrap(phc("another"))
	is(t, err, nil)
	both := purpose(t, key, old.AsRetiring(time.Now().Add(time.Hour)))
	var once sync.Once
	got, err := users.Rewrap(ctx, sealerOf(t, watched{both, func() {
		once.Do(func() { // the page has been read
			done, err := users.ChangePassword(ctx, ids[0], was.Password, changed)
			if !done || err != nil {
				t.Errorf("changed: %v, %v", done, err)
			}
			is(t, users.Remove(ctx, ids[1]), nil)
		})
	}}))
	is(t, err, nil)
	if (got != sqlusers.Rewrapped{Done: 2}) {
		t.Errorf("got %+v, want the other two", got)
	}
	if u := read(t, users, ids[0]); u.Password != changed || u.Epoch != was.Epoch+1 {
		t.Error("the change was undone")
	}
	_, err = users.ByID(ctx, ids[1])
	is(t, err, auth.ErrNoUser)
}

// TestRewrapSideBySide: instances that do it at once do each hash once.
func TestRewrapSideBySide(t *testing.T) { each(t, proveSideBySide) }

func proveSideBySide(t *testing.T, users *sqlusers.Users, _ database) {
	old, key := keyring.Generate(), keyring.Generate()
	enroll(t, users, sealer(t, old), "sealed", 110)
	h := sealer(t, key, old.AsRetiring(time.Now().Add(time.Hour)))
	var results [3]sqlusers.Rewrapped
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			var err error
			results[i], err = users.Rewrap(t.Context(), h)
			is(t, err, nil)
		})
	}
	wg.Wait()
	if n := results[0].Done + results[1].Done + results[2].Done; n != 110 {
		t.Errorf("%d were done, want 110: %+v", n, results)
	}
	sealedWith(t, users, map[*password.Hasher]int{sealer(t, key): 110})
}

// TestRewrapSealsOnly: without a pepper that is wanted, it opens nothing for good.
func TestRewrapSealsOnly(t *testing.T) {
	users, _ := openAt(t, kinds[0], kinds[0].Address(t))
	key := keyring.Generate()
	ids := enroll(t, users, sealer(t, key), "sealed", 1)
	plain, err := password.New(&password.Options{Pepper: purpose(t, key), Unsealed: true})
	is(t, err, nil)
	if _, err := users.Rewrap(t.Context(), plain); err == nil || errors.Is(err, auth.ErrNoUser) {
		t.Errorf("got %v, want a refusal", err)
	}
	if u := read(t, users, ids[0]); sealer(t, key).Check(u.Password) != nil {
		t.Errorf("the hash has become %q", u.Password)
	}
}
