package promises_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// onEachSealed runs a test on sealed sessions, with tombstones in every store, of
// which each instance has one of its own.
func onEachSealed(t *testing.T, f func(t *testing.T, w *world, here *place)) {
	for name, at := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here := at(t)
			st, _ := here.open(t)
			w := prepareWorld(t, st)
			w.sealed = true
			w.second, _ = here.open(t)
			w.start(t, nil)
			f(t, w, here)
		})
	}
}

// sealedEnders are the ways in which a sealed session ends. Nobody can find all of
// a user's.
var sealedEnders = []kind{logsOut, ends, renews, setsRoles, logsIn, logsInElse}

// endSealed ends a session at the second instance.
func (w *world) endSealed(t *testing.T, k kind, user, cookie string) (next string) {
	t.Helper()
	q := request{at: 1, method: "POST", cookie: cookie}
	switch k {
	case logsOut:
		q.path = "/logout"
	case ends:
		q.path, q.form, q.cookie = "/admin/end", url.Values{"id": {w.id(cookie).String()}}, ""
	case renews:
		q.path = "/renew"
	case setsRoles:
		q.path, q.form = "/roles", url.Values{"role": {"r"}}
	case logsIn:
		q.path, q.form = "/login", url.Values{"user": {user}}
	case logsInElse:
		q.path, q.form = "/login", url.Values{"user": {user + "-else"}}
	}
	return w.must(t, q).cookie
}

// A slow request of a sealed session that ends meanwhile at another instance: its
// change is refused, no cookie brings the session back, and the old cookie is
// nobody's, on both instances and after a restart of both.
func TestAttack_A01_SealedSlowRequestAndLogout(t *testing.T) {
	t.Parallel()
	onEachSealed(t, func(t *testing.T, w *world, here *place) {
		var ended []string
		for i, k := range sealedEnders {
			for j, path := range []string{"/read", "/set", "/update", "/renew", "/roles"} {
				if !*prove && !mine(t, i+j) {
					continue
				}
				user := w.fresh("u")
				cookie := w.signIn(t, user)
				next := ""
				a := w.slowly(t, path, cookie, func() { next = w.endSealed(t, k, user, cookie) })
				if path == "/read" {
					if !a.ok() || a.touchesCookie() {
						t.Errorf("%s: the reader got %v", k, a)
					}
				} else if err := a.refusal(); err != nil || a.status != http.StatusConflict {
					t.Errorf("%s during %s: %v: %v", k, path, a, err)
				}
				if err := w.nobody(cookie); err != nil {
					t.Errorf("%s during %s: %v", k, path, err)
				}
				if k == renews || k == logsIn {
					if c := w.read(t, 0, next); c.User != user || c.Values["first"] != "f" || c.Values["late"] != "" {
						t.Errorf("%s during %s: it goes on as %+v", k, path, c)
					}
				}
				ended = append(ended, cookie)
			}
		}
		w.close()
		st, _ := here.open(t)
		again := prepareWorld(t, st)
		again.ring, again.sealed = w.ring, true
		again.start(t, nil)
		for _, cookie := range ended {
			if err := again.nobody(cookie); err != nil {
				t.Errorf("after a restart: %v", err)
			}
		}
	})
}

// What sealed sessions do not promise, and say so: of two writes at the same time
// one is lost, although both were acknowledged; an earlier cookie brings an earlier
// state back; and nobody finds the sessions of a user.
func TestPromise02_SealedSessionsLoseWrites(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t, openers["memory"](t), nil)
	cookie := w.signIn(t, "u")
	var other answer
	late := w.slowly(t, "/set", cookie, func() {
		other = w.must(t, request{at: 1, method: "POST", path: "/set", cookie: cookie, form: url.Values{"name": {"other"}, "value": {"o"}}})
	})
	if !late.ok() || late.cookie == "" || other.cookie == "" {
		t.Fatalf("%v, %v", late, other)
	}
	for name, c := range map[string]contents{"late": w.read(t, 0, late.cookie), "other": w.read(t, 0, other.cookie)} {
		if len(c.Values) != 2 || c.Values[name] == "" || c.User != "u" {
			t.Errorf("the cookie of %q holds %+v: of two writes at once it should know one", name, c)
		}
	}
	if c := w.read(t, 1, cookie); len(c.Values) != 1 {
		t.Errorf("the cookie of before holds %+v", c)
	}
	m := w.instances[0].m
	if _, err := m.List(t.Context(), "u"); !errors.Is(err, cloakroom.ErrNoUserStore) {
		t.Errorf("List: %v", err)
	}
	if _, err := m.EndUser(t.Context(), "u", store.ID{}); !errors.Is(err, cloakroom.ErrNoUserStore) {
		t.Errorf("EndUser: %v", err)
	}
	if a := w.do(post("/admin/enduser", "user", "u")); a.ok() || w.read(t, 0, cookie).User != "u" {
		t.Errorf("an end of all that cannot be: %v", a)
	}
	ring, err := keyring.New(keyring.Generate())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloakroom.NewSealed(ring, openers["memory"](t), &cloakroom.Options{MaxSessions: 3}); err == nil {
		t.Error("a limit that nobody can count was accepted")
	}
}

// The tombstones of sealed sessions have nothing in them that signs in, and
// nothing of what the sessions hold. Visitors who are nobody leave none.
func TestPromise05_ADumpOfTheTombstones(t *testing.T) {
	t.Parallel()
	onEachSealed(t, func(t *testing.T, w *world, here *place) {
		for i := range 50 {
			bad := make([]byte, 120+i)
			for k := range bad {
				bad[k] = byte(i * k)
			}
			tr := w.trace()
			a := w.do(request{at: i % 2, method: "GET", path: "/read", cookie: base64.RawURLEncoding.EncodeToString(bad), trace: tr})
			if c, err := a.contents(); err != nil || c.User != "" || tr.count() > 0 || a.touchesCookie() {
				t.Fatalf("a forged cookie: %v, %d calls", a, tr.count())
			}
		}
		var cookies []string
		for _, k := range sealedEnders {
			cookie := w.must(t, post("/login", "user", "u", "name", secretValue, "value", secretValue)).cookie
			w.endSealed(t, k, "u", cookie)
			cookies = append(cookies, cookie)
		}
		if here.dump == nil {
			return
		}
		dump := here.dump(t)
		for _, cookie := range cookies {
			id, raw := w.id(cookie), []byte(cookie)
			if !bytes.Contains(dump, id[:]) && !bytes.Contains(dump, []byte(id.String())) {
				t.Fatal("the dump does not know a session that has ended")
			}
			data, _ := base64.RawURLEncoding.DecodeString(cookie)
			plain, err := w.ring.Purpose("cloakroom sealed session v1", cloakroom.DefaultCookieName, "").OpenFor(data[1:17], data[17:], data[:1])
			if err != nil {
				t.Fatal(err)
			}
			for what, secret := range map[string][]byte{"token": plain[:32], "cookie": data, "value": []byte(secretValue), "text of the cookie": raw} {
				for how, spelling := range spellings(secret) {
					if bytes.Contains(dump, spelling) {
						t.Errorf("the %s, %s, is in the dump", what, how)
					}
				}
			}
		}
		w.signsNobodyIn(t, dump)
	})
}

// Sixty-four users at once, each at either instance: each page is the caller's own.
func TestAttack_A56_SealedSessionsAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t, openers["memory"](t), nil)
	w.crowd(t, 64, 20)
}

// crowd lets users read and write at once, and looks whom they meet.
func (w *world) crowd(t *testing.T, users, visits int) {
	t.Helper()
	if *prove {
		visits *= 20
	}
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			user := fmt.Sprint("user", i)
			cookie := w.do(post("/login", "user", user, "name", "mine", "value", user)).cookie
			for n := range visits {
				if n%5 == 4 {
					a := w.do(request{at: n % 2, method: "POST", path: "/set", cookie: cookie, form: url.Values{"name": {"mine"}, "value": {user}}})
					if !a.ok() {
						t.Errorf("%s: %v", user, a)
					}
					if a.cookie != "" {
						cookie = a.cookie
					}
					continue
				}
				c, err := w.do(request{at: n % 2, method: "GET", path: "/read", cookie: cookie}).contents()
				if err != nil || c.User != user || c.Values["mine"] != user || len(c.Values) != 1 {
					t.Errorf("%s met %+v, %v", user, c, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// What is spoilt in the store of tombstones never signs a visitor in as somebody
// else, and is no outage that lasts: whoever signs in anew is in.
func TestAttack_A51_SpoiltTombstones(t *testing.T) {
	t.Parallel()
	onEachSealed(t, func(t *testing.T, w *world, here *place) {
		if here.raw == nil {
			return
		}
		first := w.signIn(t, "u")
		w.endSealed(t, logsOut, "u", first)
		tombstone := here.raw.read(t, w.id(first))
		for part, value := range tombstone {
			for how := range spoilt(part, value) {
				user := w.fresh("u")
				cookie := w.signIn(t, user)
				w.endSealed(t, logsOut, user, cookie)
				here.raw.write(t, w.id(cookie), part, spoilt(part, here.raw.read(t, w.id(cookie))[part])[how])
				a := w.do(request{method: "GET", path: "/read", cookie: cookie})
				c, err := a.contents()
				if a.status != http.StatusServiceUnavailable && (err != nil || !slices.Contains([]string{"", user}, c.User)) {
					t.Errorf("%s is %s: %v", part, how, a)
				}
				next := w.do(request{method: "POST", path: "/login", cookie: cookie, form: url.Values{"user": {user}}})
				if part == "ended" && how == "0" {
					// A live session where only tombstones are kept: somebody uses the
					// store for something else, and nobody is let in on its word.
					if next.status != http.StatusServiceUnavailable || a.status != http.StatusServiceUnavailable {
						t.Errorf("a live record under a sealed session's ID: %v, %v", a, next)
					}
					next = w.do(post("/login", "user", user))
				}
				if !next.ok() || w.read(t, 1, next.cookie).User != user {
					t.Errorf("%s is %s: signing in anew: %v", part, how, next)
				}
			}
		}
	})
}
