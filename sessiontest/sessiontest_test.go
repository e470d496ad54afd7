package sessiontest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/sessiontest"
)

var cart = cloakroom.NewKey[[]string]("cart")

// shop is a handler as a program has it: it adds to a cart, and refuses strangers.
var shop = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	s := cloakroom.FromContext(r.Context())
	if s.UserID() == "" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/logout" {
		if err := s.End(r.Context()); err != nil {
			cloakroom.WriteError(w, r, err)
		}
		return
	}
	items := cart.Update(s, func(items []string) []string { return append(items, r.FormValue("item")) })
	fmt.Fprintf(w, "%s has %d things", s.UserID(), len(items))
})

func signedIn(s *cloakroom.Session) {
	s.Login(cloakroom.Identity{UserID: "u1"})
	cart.Set(s, []string{"apple"})
}

func TestRequestComesWithTheSessionAndSessionShowsWhatIsLeft(t *testing.T) {
	m := sessiontest.New(t, nil)
	r := httptest.NewRequest("POST", "/cart?item=pear", nil)
	r.AddCookie(&http.Cookie{Name: "theme", Value: "dark"})
	if got := sessiontest.Request(t, m, r, signedIn); got != r {
		t.Error("Request returned another request than it was given")
	}
	if c, err := r.Cookie("theme"); err != nil || c.Value != "dark" || len(r.Cookies()) != 2 {
		t.Errorf("cookies of the request are %v", r.Cookies())
	}
	w := httptest.NewRecorder()
	m.Handler(shop).ServeHTTP(w, r)
	if got := w.Body.String(); got != "u1 has 2 things" {
		t.Errorf("answer is %d %q", w.Code, got)
	}
	left := sessiontest.Session(t, m, r, w.Result())
	if got, _ := cart.Get(left); !slices.Equal(got, []string{"apple", "pear"}) || left.UserID() != "u1" {
		t.Errorf("left are %q of %q", got, left.UserID())
	}
}

func TestRequestTakesSeveralSteps(t *testing.T) {
	m := sessiontest.New(t, nil)
	r := httptest.NewRequest("GET", "/", nil)
	sessiontest.Request(t, m, r, func(s *cloakroom.Session) { cart.Set(s, []string{"apple"}) })
	first := r.Header.Get("Cookie")
	sessiontest.Request(t, m, r, func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1"}) })
	if len(r.Cookies()) != 1 || r.Header.Get("Cookie") == first {
		t.Errorf("after the login the request has the cookies %v", r.Cookies())
	}
	w := httptest.NewRecorder()
	m.Handler(shop).ServeHTTP(w, r)
	if got := w.Body.String(); got != "u1 has 2 things" {
		t.Errorf("answer is %d %q", w.Code, got)
	}
}

func TestStrangersStayStrangers(t *testing.T) {
	m := sessiontest.New(t, &cloakroom.Options{CookieName: "__Host-shop"})
	r := sessiontest.Request(t, m, httptest.NewRequest("GET", "/", nil), func(*cloakroom.Session) {})
	if len(r.Cookies()) != 0 {
		t.Errorf("a session in which nothing is stored has the cookies %v", r.Cookies())
	}
	w := httptest.NewRecorder()
	m.Handler(shop).ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("answer is %d", w.Code)
	}

	// And who signs out is one again.
	r = sessiontest.Request(t, m, httptest.NewRequest("POST", "/logout", nil), signedIn)
	w = httptest.NewRecorder()
	m.Handler(shop).ServeHTTP(w, r)
	left := sessiontest.Session(t, m, r, w.Result())
	if _, ok := cart.Get(left); ok || left.UserID() != "" || !left.ID().IsZero() {
		t.Errorf("after the logout %q is still there", left.UserID())
	}
	if len(r.Cookies()) != 1 {
		t.Errorf("Session changed the request's cookies: %v", r.Cookies())
	}
}

// fatal is a test that ends itself, as Fatalf does.
type fatal struct {
	testing.TB
	message string
}

func (f *fatal) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	panic(f)
}

func TestWhatCannotBePreparedEndsTheTest(t *testing.T) {
	for name, test := range map[string]struct {
		want string
		run  func(tb testing.TB)
	}{
		"options": {
			`sessiontest: cloakroom: Path "x" is no cookie path: it starts with "/" and has no space or ";"`,
			func(tb testing.TB) {
				sessiontest.New(tb, &cloakroom.Options{CookieName: "__Secure-x", Path: "x"})
			},
		},
		"value": {
			"sessiontest: prepare a session: cloakroom: save session: session is too large: 112 bytes, at most 100",
			func(tb testing.TB) {
				m := sessiontest.New(tb, &cloakroom.Options{MaxBytes: 100})
				r := httptest.NewRequest("GET", "/", nil)
				sessiontest.Request(tb, m, r, func(s *cloakroom.Session) { cart.Set(s, []string{string(make([]byte, 17))}) })
			},
		},
		"store": {
			"sessiontest: the session could not be loaded: status 503",
			func(tb testing.TB) {
				m := sessiontest.New(tb, nil)
				r := sessiontest.Request(tb, m, httptest.NewRequest("GET", "/", nil), signedIn)
				ctx, cancel := context.WithCancel(r.Context())
				cancel()
				sessiontest.Request(tb, m, r.WithContext(ctx), signedIn)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fatal{TB: t}
			defer func() {
				if recover() != any(f) {
					t.Fatal("the test went on")
				}
				if f.message != test.want {
					t.Errorf("it ended with\n%q, want\n%q", f.message, test.want)
				}
			}()
			test.run(f)
		})
	}
}
