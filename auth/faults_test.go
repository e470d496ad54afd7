package auth_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// failing counts the calls of everything that stands behind an Auth, and fails one of
// them, before or after it was done.
type failing struct {
	mu    sync.Mutex
	calls int
	at    int  // the call that fails, counted from 1; 0: none
	done  bool // it fails when it was done: the answer got lost
}

// around runs one call.
func (f *failing) around(call func() error) error {
	f.mu.Lock()
	f.calls++
	fails := f.calls == f.at
	f.mu.Unlock()
	if fails && !f.done {
		return errBoom
	}
	err := call()
	if fails && err == nil {
		return errBoom
	}
	return err
}

type failingUsers struct {
	changer
	f *failing
}

func (u failingUsers) ByName(ctx context.Context, name string) (user auth.User, err error) {
	err = u.f.around(func() error { user, err = u.changer.ByName(ctx, name); return err })
	return user, err
}

func (u failingUsers) ByID(ctx context.Context, id string) (user auth.User, err error) {
	err = u.f.around(func() error { user, err = u.changer.ByID(ctx, id); return err })
	return user, err
}

func (u failingUsers) ChangePassword(ctx context.Context, id, old, phc string) (ok bool, err error) {
	err = u.f.around(func() error { ok, err = u.changer.ChangePassword(ctx, id, old, phc); return err })
	return ok && err == nil, err
}

// plainUsers change a password by SetPassword.
type plainUsers struct {
	*accounts
	f *failing
}

func (u plainUsers) ByName(ctx context.Context, name string) (auth.User, error) {
	return failingUsers{changer{replacer{u.accounts}}, u.f}.ByName(ctx, name)
}

func (u plainUsers) ByID(ctx context.Context, id string) (auth.User, error) {
	return failingUsers{changer{replacer{u.accounts}}, u.f}.ByID(ctx, id)
}

func (u plainUsers) SetPassword(ctx context.Context, id, phc string, raise bool) error {
	return u.f.around(func() error { return u.accounts.SetPassword(ctx, id, phc, raise) })
}

type failingThrottle struct {
	throttle.Store
	f *failing
}

func (s failingThrottle) Take(ctx context.Context, lanes []throttle.Lane, now time.Time) (m []throttle.Mark, r *throttle.Refusal, err error) {
	err = s.f.around(func() error { m, r, err = s.Store.Take(ctx, lanes, now); return err })
	return m, r, err
}

func (s failingThrottle) Settle(ctx context.Context, back []throttle.Return) error {
	return s.f.around(func() error { return s.Store.Settle(ctx, back) })
}

// Whichever call fails, before or after it was done: an answer of success is true, one
// of failure leaves the account with either password and nothing in between, and
// afterwards the user signs in with the one that is theirs (ASVS 7.4.3, 16.5.3).
func TestASVS_7_4_3_NoFaultLeavesHalfAChange(t *testing.T) {
	for _, kind := range []string{"ChangePassword", "SetPassword"} {
		for _, done := range []bool{false, true} {
			calls := 1 // of a change without a fault, learnt in the first turn
			for at := 0; at <= calls; at++ {
				f := &failing{done: done}
				a := faultyApp(t, kind, f)
				g, other := a.guest("192.0.2.1"), a.guest("192.0.2.2")
				a.signIn(t, g, "alice")
				a.signIn(t, other, "alice")
				f.calls, f.at = 0, at
				r := g.change(rightPassword, newPassword)
				if at == 0 {
					calls = f.calls
				}
				f.at = 0
				name := fmt.Sprintf("%s, call %d of %d, done %t: %d", kind, at, calls, done, r.StatusCode)
				checkChange(t, name, a, g, other, r)
			}
			if calls < 8 {
				t.Errorf("%s: only %d calls were seen", kind, calls)
			}
		}
	}
}

func faultyApp(t *testing.T, kind string, f *failing) *app {
	t.Helper()
	a := newHandler(t, &setup{
		auth: auth.Options{Throttle: patient(t, failingThrottle{throttle.NewMemory(), f})},
		wrap: func(u *accounts) auth.Users {
			if kind == "SetPassword" {
				return plainUsers{u, f}
			}
			return failingUsers{changer{replacer{u}}, f}
		},
	})
	a.store.around = f.around
	return a
}

func checkChange(t *testing.T, name string, a *app, g, other *guest, r answer) {
	t.Helper()
	changed := a.users.hash("u1") != rightHash()
	switch {
	case r.StatusCode == 204 && !changed:
		t.Errorf("%s, and the password is the old one", name)
	case r.StatusCode != 204 && r.StatusCode != 503 && r.StatusCode != 409:
		t.Errorf("%s: %s", name, r.body)
	case r.StatusCode == 204 && g.get("/private").StatusCode != 200:
		t.Errorf("%s, and the session is gone", name)
	}
	if strings.Contains(r.body, "canary") {
		t.Errorf("%s: %s", name, r.body)
	}
	if in := other.get("/private").StatusCode == 200; in == changed {
		t.Errorf("%s: changed %t, and the other session lives: %t", name, changed, in)
	}
	if in := g.get("/private").StatusCode == 200; in && changed && r.StatusCode != 204 {
		t.Errorf("%s: the session lives on with the new epoch", name)
	}
	if changed {
		if ok, err := a.hasher.Verify(t.Context(), a.users.hash("u1"), newPassword); err != nil || !ok {
			t.Errorf("%s: the new password is not the user's: %v", name, err)
		}
	}
	lines := strings.Count(a.log.take(), `"msg":"password_changed"`)
	if want := map[bool]int{true: 1}[changed]; lines != want && (r.StatusCode == 204 || !changed) {
		t.Errorf("%s: %d lines of a change", name, lines)
	}
}

// Likewise for logins and re-authentications: success is true, and failure leaves who
// was signed in before.
func TestPromise07_NoFaultSignsAnybodyIn(t *testing.T) {
	for _, path := range []string{"login", "reauth"} {
		for _, done := range []bool{false, true} {
			calls := 1
			for at := 0; at <= calls; at++ {
				f := &failing{done: done}
				a := faultyApp(t, "ChangePassword", f)
				g := a.guest("192.0.2.1")
				a.signIn(t, g, "bob")
				f.calls, f.at = 0, at
				var r answer
				if path == "login" {
					r = g.login("alice", rightPassword)
				} else {
					r = g.reauth(rightPassword)
				}
				if at == 0 {
					calls = f.calls
				}
				f.at = 0
				name := fmt.Sprintf("%s, call %d of %d, done %t: %d", path, at, calls, done, r.StatusCode)
				who := g.get("/private")
				switch {
				case r.StatusCode/100 <= 3 && (a.result != nil || who.StatusCode != 200):
					t.Errorf("%s: %v, and then %d", name, a.result, who.StatusCode)
				case r.StatusCode/100 > 3 && r.StatusCode != 503 && r.StatusCode != 409:
					t.Errorf("%s: %v %s", name, a.result, r.body)
				case path == "login" && r.StatusCode/100 > 3 && strings.HasPrefix(who.body, "alice"):
					t.Errorf("%s, and then %s", name, who.body)
				case path == "login" && r.StatusCode == 303 && !strings.HasPrefix(who.body, "alice"):
					t.Errorf("%s, and then %s", name, who.body)
				}
			}
		}
	}
}
