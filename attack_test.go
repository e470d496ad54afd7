package cloakroom_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// A login that Commit has refused is no login, whatever the handler does next.
func TestPromise12_ARefusedCommitIsNotMadeUpFor(t *testing.T) {
	both(t, testPromise12_ARefusedCommitIsNotMadeUpFor)
}

func testPromise12_ARefusedCommitIsNotMadeUpFor(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.visitor(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	w := v.do(func(w http.ResponseWriter, r *http.Request) {
		at := cloakroom.FromContext(r.Context())
		login(at)
		if err := at.Commit(over); !errors.Is(err, context.Canceled) || at.UserID() != "" {
			t.Errorf("commit says %v, and the visitor is %q", err, at.UserID())
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	if c := setCookie(t, w); c != "" || v.user() != "" {
		t.Errorf("the refused login set %q and signed in %q", c, v.user())
	}
}

// Ending the others keeps this session, also while its token is being renewed.
func TestPromise09_EndOthersWhileRenewing(t *testing.T) {
	for name, change := range map[string]func(*cloakroom.Session){
		"nothing": func(*cloakroom.Session) {},
		"renew":   func(s *cloakroom.Session) { s.Renew() },
		"roles":   func(s *cloakroom.Session) { s.SetRoles([]string{"clerk"}) },
		"epoch":   func(s *cloakroom.Session) { s.SetEpoch(7) },
		"login":   func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1"}) },
	} {
		s := newSite(t, nil)
		v, other := s.signedIn(t, "u1"), s.signedIn(t, "u1")
		v.visit(func(s *cloakroom.Session) { word.Set(s, "kept") })
		v.visit(func(s *cloakroom.Session) {
			change(s)
			if n, err := s.EndOthers(t.Context()); n != 1 || err != nil {
				t.Errorf("%s: ended %d, %v", name, n, err)
			}
		})
		v.visit(func(s *cloakroom.Session) {
			if s.UserID() != "u1" || word.GetOr(s, "") != "kept" {
				t.Errorf("%s: this session is %q's with %q", name, s.UserID(), word.GetOr(s, ""))
			}
		})
		if other.user() != "" {
			t.Errorf("%s: the other one lives", name)
		}
	}
}

// Whoever plants many copies of their cookie hides nobody else's behind them.
func TestAttack_A38_ManyCopiesHideNothing(t *testing.T) {
	both(t, testAttack_A38_ManyCopiesHideNothing)
}

func testAttack_A38_ManyCopiesHideNothing(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	victim, mallory := s.signedIn(t, "u1"), s.signedIn(t, "mallory")
	for copies := range 20 {
		v := s.visitor(t)
		v.cookie = strings.Repeat(mallory.cookie+"; ", copies) + victim.cookie
		if user := v.user(); user == "mallory" {
			t.Fatalf("%d copies sign in %q", copies, user)
		}
	}
}

// A logout with two valid cookies ends what it carries.
func TestAttack_A38_LogoutEndsBoth(t *testing.T) { both(t, testAttack_A38_LogoutEndsBoth) }

func testAttack_A38_LogoutEndsBoth(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	a, b := s.signedIn(t, "u1"), s.signedIn(t, "u2")
	v := s.visitor(t)
	v.cookie = a.cookie + "; " + b.cookie
	v.visit(func(s *cloakroom.Session) {
		if err := s.End(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if a.user() != "" || b.user() != "" {
		t.Errorf("after the logout %q and %q are signed in", a.user(), b.user())
	}
}

// A panic while the session is being saved leaves nothing behind: whoever recovers
// it answers with the header as it was, and no session is there that nobody has.
func TestASVS_16_5_4_PanicInTheCommit(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	v.visit(func(s *cloakroom.Session) { count.Set(s, 1) })
	h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Of-The-Page", "secret")
		at, runs := cloakroom.FromContext(r.Context()), 0
		at.Renew()
		count.Update(at, func(n int) int {
			if runs++; runs > 1 {
				panic("on the replay")
			}
			return n + 1
		})
		other := &visitor{tb: t, m: s.Manager, cookie: v.cookie}
		other.visit(func(s *cloakroom.Session) { word.Set(s, "meanwhile") }) // a conflict
		w.WriteHeader(http.StatusOK)
	}))
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
			http.Error(w, "sorry", http.StatusInternalServerError)
		}()
		h.ServeHTTP(w, v.request())
	}()
	if w.Code != http.StatusInternalServerError || w.Header().Get("X-Of-The-Page") != "" || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("answer is %d with %v", w.Code, w.Header())
	}
	if infos, err := s.List(t.Context(), "u1"); len(infos) != 1 || err != nil {
		t.Errorf("the user has %d sessions, %v", len(infos), err)
	}
	if v.user() != "u1" {
		t.Error("the visitor is signed out")
	}
}

// A handler that gives up when it cannot write does not take the error's answer
// with it.
func TestPromise07_TheAnswerReachesThroughAReverseProxy(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }))
	defer page.Close()
	to, err := url.Parse(page.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, nil)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	front := httptest.NewServer(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		word.Set(cloakroom.FromContext(r.Context()), "x")
		proxy.ServeHTTP(w, r)
	})))
	defer front.Close()
	s.spy.on(func(context.Context, string) error { return errors.New("down") })
	resp, err := http.Get(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("answer is %s", resp.Status)
	}
}

// A key that is taken away while a request runs ends what it signed: no renewal
// brings it under the next key.
func TestPromise10_NoRenewalUnderAKeyThatIsGone(t *testing.T) {
	both(t, testPromise10_NoRenewalUnderAKeyThatIsGone)
}

func testPromise10_NoRenewalUnderAKeyThatIsGone(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	v.do(func(w http.ResponseWriter, r *http.Request) {
		if err := s.ring.Replace(keyring.Generate()); err != nil {
			t.Fatal(err)
		}
		cloakroom.FromContext(r.Context()).Renew()
	})
	if user := v.user(); user != "" {
		t.Errorf("the session of %q lives on", user)
	}
}

// What a refused create leaves behind does not stay.
func TestAttack_A07_RefusedCreatesLeaveNothingForLong(t *testing.T) {
	st := &untils{Store: memstore.New(nil)}
	m := newManager(t, st, newRing(t, keyring.Generate()), nil)
	v := &visitor{tb: t, m: m}
	v.do(func(w http.ResponseWriter, r *http.Request) { word.Set(cloakroom.FromContext(r.Context()), "x") })
	if st.seen == 0 || st.longest > 15*60 {
		t.Errorf("%d tombstones, the longest for %d seconds", st.seen, st.longest)
	}
}

// untils refuses creates and notes how long tombstones are to last.
type untils struct {
	*memstore.Store
	seen, longest int
}

func (u *untils) Put(context.Context, store.Record) error { return errors.New("full") }

func (u *untils) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	u.seen++
	u.longest = max(u.longest, int(until.Sub(why.At).Seconds()))
	return u.Store.End(ctx, id, version, why, until)
}
