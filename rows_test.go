package cloakroom_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
)

// The secret has 256 bits of the approved generator, four times what is asked for,
// whatever the generator gives.
func TestNIST_5_1_2_SecretsAre32BytesOfCryptoRand(t *testing.T) {
	v := newSite(t, nil).visitor(t)
	for seed := range uint64(20) {
		cryptotest.SetGlobalRandom(t, seed)
		var want [32]byte
		rand.Read(want[:])
		cryptotest.SetGlobalRandom(t, seed)
		v.visit(login)
		if _, token := v.token(); !bytes.Equal(token, want[:]) {
			t.Errorf("seed %d: the token is %x, crypto/rand gave %x", seed, token, want)
		}
	}
}

// The server refuses what is too old, whatever the client keeps: idle, and for its
// lifetime. This is asked again and again, and by a copy that was never told to
// forget the cookie.
func TestNIST_5_1_5_NothingIsAcceptedAfterItsTime(t *testing.T) {
	both(t, func(t *testing.T, newSite siteMaker) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, nil)
			left, used := s.signedIn(t, "u1"), s.signedIn(t, "u2")
			keptIdle := *left
			keepAlive(used, idle+time.Minute)
			if left.user() != "" || keptIdle.user() != "" || used.user() != "u2" {
				t.Errorf("after the idle timeout: %q, used %q", keptIdle.user(), used.user())
			}
			keepAlive(used, lifetime-idle-2*time.Minute)
			if used.user() != "u2" {
				t.Error("it ended before its lifetime")
			}
			keptLong := *used
			time.Sleep(time.Minute)
			for range 3 {
				probe := keptLong
				if probe.user() != "" {
					t.Error("it lives after its lifetime")
				}
				time.Sleep(time.Hour)
			}
		})
	})
}

// A cookie that outlives the browser says when it ends, near to when the session
// does; and nothing hangs on a client that looks at it.
func TestNIST_5_1_1_4_TheCookiesLifetimeIsNoTimeout(t *testing.T) {
	both(t, func(t *testing.T, newSite siteMaker) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, &cloakroom.Options{Persistent: true, Lifetime: 48 * time.Hour})
			v := s.visitor(t)
			res := v.visit(login).Result()
			cookies := res.Cookies()
			if len(cookies) != 1 || cookies[0].MaxAge < 47*3600 || cookies[0].MaxAge > 48*3600 {
				t.Fatalf("cookies %v", cookies)
			}
			deaf := *v // keeps the cookie for ever
			time.Sleep(idle + time.Second)
			if deaf.user() != "" {
				t.Error("signed in after the idle timeout, as the cookie still lives")
			}
			again := s.visitor(t)
			again.login("u1")
			keepAlive(again, 48*time.Hour-time.Minute)
			deaf = *again
			if deaf.user() != "u1" {
				t.Error("ended too early")
			}
			deaf = *again
			time.Sleep(2 * time.Minute)
			if deaf.user() != "" {
				t.Error("signed in after the session's lifetime")
			}
		})
	})
}

// The cookie says nothing of whom it belongs to, and of nothing that the session
// holds.
func TestNIST_5_1_1_7_TheCookieIsOpaque(t *testing.T) {
	both(t, func(t *testing.T, newSite siteMaker) {
		s := newSite(t, nil)
		v := s.visitor(t)
		v.visit(func(s *cloakroom.Session) {
			s.Login(cloakroom.Identity{UserID: "person@example.org", Method: "password", Roles: []string{"surgeon"}})
			word.Set(s, "diagnosis")
		})
		_, value, _ := strings.Cut(v.cookie, "=")
		raw, err := base64.RawURLEncoding.DecodeString(value)
		if err != nil || len(raw) < 32 {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
		for _, text := range []string{"person", "example.org", "password", "surgeon", "diagnosis", "{\""} {
			if strings.Contains(value, text) || bytes.Contains(raw, []byte(text)) {
				t.Errorf("the cookie says %q", text)
			}
		}
	})
}

// There is no option by which a program could give out a token of its choice, or
// the same one twice.
func TestASVS_7_2_2_NoOptionFixesAToken(t *testing.T) {
	names := regexp.MustCompile(`(?i)token|secret|sessionid|generat|random|^id$|^key$`)
	for _, v := range []any{cloakroom.Options{}, cloakroom.Identity{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			if f := typ.Field(i); names.MatchString(f.Name) {
				t.Errorf("%s.%s", typ, f.Name)
			}
		}
	}
	manager, session := reflect.TypeOf(&cloakroom.Manager{}), reflect.TypeOf(&cloakroom.Session{})
	for _, typ := range []reflect.Type{manager, session} {
		if typ.NumMethod() < 5 {
			t.Fatalf("%s has %d methods", typ, typ.NumMethod())
		}
		for i := range typ.NumMethod() {
			if m := typ.Method(i); regexp.MustCompile(`(?i)settoken|setid|usetoken|resume|adopt`).MatchString(m.Name) {
				t.Errorf("%s.%s", typ, m.Name)
			}
		}
	}
}

// Sessions live through the seconds at which clocks of 32 bits turn over, through
// a leap day and through the hour that clocks are put forward and back.
func TestAttack_A43_SecondsAtWhichClocksTurn(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	for name, at := range map[string]time.Time{
		"2038":       time.Unix(1<<31, 0),
		"2106":       time.Unix(1<<32, 0),
		"leap day":   time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC),
		"2100":       time.Date(2100, 3, 1, 0, 0, 0, 0, time.UTC), // no leap year
		"forward":    time.Date(2027, 3, 28, 2, 0, 0, 0, berlin),
		"back":       time.Date(2027, 10, 31, 2, 0, 0, 0, berlin),
		"leap smear": time.Date(2016, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, newSite siteMaker) {
				synctest.Test(t, func(t *testing.T) {
					time.Sleep(time.Until(at.Add(-10 * time.Minute)))
					s := newSite(t, nil)
					v, idler := s.signedIn(t, "u1"), s.signedIn(t, "u2")
					before := *v
					keepAlive(v, 40*time.Minute) // over it
					if v.user() != "u1" || idler.user() != "" {
						t.Errorf("used %q, idle %q", v.user(), idler.user())
					}
					keepAlive(v, lifetime-41*time.Minute)
					if v.user() != "u1" {
						t.Error("it ended before its lifetime")
					}
					time.Sleep(2 * time.Minute)
					if v.user() != "" || before.user() != "" {
						t.Error("it lives after its lifetime")
					}
				})
			})
		})
	}
}

// The cookie is Lax or Strict in every shape that options give it, but where None is
// asked for by name.
func TestNIST_5_1_1_6_SameSiteInEveryShape(t *testing.T) {
	for name, c := range variants {
		o := c.opts
		v := newSite(t, &o).visitor(t)
		for _, k := range v.visit(login).Result().Cookies() {
			asked := o.SameSite == http.SameSiteNoneMode
			if k.SameSite == http.SameSiteNoneMode != asked || !asked && k.SameSite != http.SameSiteLaxMode && k.SameSite != http.SameSiteStrictMode {
				t.Errorf("%s: %s", name, k.Raw)
			}
		}
	}
}
