package cloakroom_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// replace exchanges the keys of a site.
func (s *site) replace(tb testing.TB, active keyring.Key, others ...keyring.Key) {
	tb.Helper()
	if err := s.ring.Replace(active, others...); err != nil {
		tb.Fatal(err)
	}
}

// retiring returns the key as one that retires after a lifetime and a bit.
func retiring(k keyring.Key) keyring.Key { return k.AsRetiring(time.Now().Add(lifetime + time.Hour)) }

// signedBy returns the ID of the key that signed the browser's cookie.
func (v *visitor) signedBy() keyring.KeyID {
	v.tb.Helper()
	raw, _ := v.token()
	return keyring.KeyID(raw[1:5])
}

// sealedBy returns the IDs of the keys that sealed the one live record.
func (s *site) sealedBy(tb testing.TB) (data, info keyring.KeyID) {
	tb.Helper()
	recs := s.spy.live(tb)
	if len(recs) != 1 {
		tb.Fatalf("%d live records", len(recs))
	}
	data, _ = keyring.SealedBy(recs[0].Data)
	info, _ = keyring.SealedBy(recs[0].Info)
	return data, info
}

// A reader of a session whose key retires causes one write and gets the cookie
// anew, and from then on nothing depends on the old key.
func TestPromise10_ARetiringKeyIsLeftAtTheNextRequest(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
	before, _ := v.token()
	old, next := s.key, keyring.Generate()
	s.replace(t, next, retiring(old))
	s.spy.take()

	first := *v
	if v.user() != "u1" {
		t.Fatal("a rotation signed the user out")
	}
	s.wantCalls(t, "first request after the rotation", "get", "put")
	if v.signedBy() != next.ID() {
		t.Error("the cookie was not signed anew")
	}
	if after, _ := v.token(); string(after[5:37]) != string(before[5:37]) {
		t.Error("the token has changed: requests under way with the old one are nobody's")
	}
	if data, info := s.sealedBy(t); data != next.ID() || info != next.ID() {
		t.Errorf("the record is sealed by %v and %v, want %v", data, info, next.ID())
	}
	w := v.visit(func(s *cloakroom.Session) {
		if word.GetOr(s, "") != "x" || s.UserID() != "u1" {
			t.Error("re-sealing has changed the session")
		}
	})
	s.wantCalls(t, "second request after the rotation", "get")
	if c := setCookie(t, w); c != "" {
		t.Errorf("the second request sets %q", c)
	}

	// Whoever did not hear of the new cookie is still known, and gets it, without
	// another write: the data is there already. A second look makes sure that the
	// token has not been renewed while the handler was at work.
	w = first.visit(func(*cloakroom.Session) {})
	s.wantCalls(t, "request with the old cookie", "get", "get")
	if setCookie(t, w) == "" || first.cookie != v.cookie {
		t.Error("the old cookie was not signed anew")
	}

	// And without the old key all goes on.
	s.replace(t, next)
	if v.user() != "u1" {
		t.Error("the session still depended on the old key")
	}
	if infos, err := s.List(t.Context(), "u1"); err != nil || len(infos) != 1 || infos[0].Method != "password" {
		t.Errorf("without the old key the list is %+v, %v", infos, err)
	}
}

// A write does the same at one go.
func TestPromise10_AWriteSealsAnew(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	next := keyring.Generate()
	s.replace(t, next, retiring(s.key))
	v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
	s.wantCalls(t, "write", "get", "put")
	if data, info := s.sealedBy(t); data != next.ID() || info != next.ID() || v.signedBy() != next.ID() {
		t.Errorf("sealed by %v and %v, signed by %v", data, info, v.signedBy())
	}
}

func TestPromise10_ARenewalSealsAnew(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	next := keyring.Generate()
	s.replace(t, next, retiring(s.key))
	v.visit(func(s *cloakroom.Session) { s.Renew() })
	if data, info := s.sealedBy(t); data != next.ID() || info != next.ID() || v.signedBy() != next.ID() {
		t.Errorf("sealed by %v and %v, signed by %v", data, info, v.signedBy())
	}
	if infos, err := s.List(t.Context(), "u1"); err != nil || len(infos) != 1 || infos[0].Method != "password" {
		t.Errorf("list is %+v, %v", infos, err)
	}
}

// The cookie is signed by the new key only once the record is sealed by it: a
// re-sealing that fails, or that somebody has overtaken, changes nothing, and the
// visitor notices nothing.
func TestPromise10_TheCookieFollowsTheRecord(t *testing.T) {
	for name, answer := range map[string]error{
		"store down": errors.New("disk is full"), "overtaken": store.ErrConflict, "forgotten": store.ErrNotFound, "ended": store.ErrEnded,
	} {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		old := v.cookie
		next := keyring.Generate()
		s.replace(t, next, retiring(s.key))
		s.spy.on(func(_ context.Context, op string) error {
			if op == "put" {
				return answer
			}
			return nil
		})
		w := v.visit(func(s *cloakroom.Session) {
			if s.UserID() != "u1" {
				t.Errorf("%s: not signed in", name)
			}
		})
		s.wantCalls(t, name, "get", "put")
		if c := setCookie(t, w); c != "" || v.cookie != old {
			t.Errorf("%s: the response sets %q", name, c)
		}
		s.spy.on(nil)
		if v.user() != "u1" || v.signedBy() != next.ID() {
			t.Errorf("%s: the next request did not try again", name)
		}
	}
}

// Taking a key away ends what it signed, without a call of the store.
func TestPromise10_TakingAKeyAwayEndsWhatItSigned(t *testing.T) {
	both(t, testPromise10_TakingAKeyAwayEndsWhatItSigned)
}

func testPromise10_TakingAKeyAwayEndsWhatItSigned(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	away, back := s.signedIn(t, "u1"), s.signedIn(t, "u2")
	next := keyring.Generate()
	s.replace(t, next, retiring(s.key))
	back.user()
	s.replace(t, next)
	s.spy.take()
	if away.user() != "" {
		t.Error("a cookie of a key that is gone is a session")
	}
	s.wantCalls(t, "cookie of a key that is gone")
	// A sealed session could have been made up with the key that it has left.
	if goes := back.user() == "u2"; goes == s.Sealed() {
		t.Errorf("a session that had left the key goes on: %v", goes)
	}
	// Its record cannot be opened, by whatever cookie.
	s.replace(t, next, retiring(s.key))
	if away.user() != "u1" {
		t.Error("the key is back, the session is not")
	}
	// Unlike the cookie, the data of a reader that came by with the key gone.
	s.replace(t, keyring.Generate())
	for _, v := range []*visitor{away, back} {
		if v.user() != "" {
			t.Error("a session outlives all its keys")
		}
	}
}

func TestPromise10_ARetiringKeyEndsOnTime(t *testing.T) {
	both(t, testPromise10_ARetiringKeyEndsOnTime)
}

func testPromise10_ARetiringKeyEndsOnTime(t *testing.T, newSite siteMaker) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		old := *v
		s.replace(t, keyring.Generate(), s.key.AsRetiring(time.Now().Add(time.Minute)))
		if v.user() != "u1" || v.cookie == old.cookie {
			t.Fatal("the session has not left the retiring key")
		}
		time.Sleep(time.Minute - time.Millisecond)
		if probe := old; probe.user() != "u1" {
			t.Error("the key ended early")
		}
		time.Sleep(time.Millisecond)
		if probe := old; probe.user() != "" {
			t.Error("the key goes on after its time")
		}
		// The key makes no stored session, as the store knows these; a sealed one it could
		// have made.
		if goes := v.user() == "u1"; goes == s.Sealed() {
			t.Errorf("with the key that it had left the session goes on: %v", goes)
		}
	})
}

// The day a key is taken away everybody comes with a cookie under it: the log tells these
// from forgeries, as far as cookies can say it.
func TestPromise10_CookiesOfARetiredKeyAreToldApart(t *testing.T) {
	s := newSite(t, nil)
	v, stranger := s.signedIn(t, "u1"), s.signedIn(t, "u2")
	at := len(stranger.cookie) - 10 // in the tag
	other := map[bool]string{true: "B", false: "A"}[stranger.cookie[at] == 'A']
	if stranger.cookie = stranger.cookie[:at] + other + stranger.cookie[at+1:]; stranger.user() != "" {
		t.Fatal("a forged cookie is taken")
	}
	if lines := s.log.events(t, "bad_cookie"); len(lines) != 1 || lines[0]["reason"] != nil {
		t.Errorf("a forged cookie: %v", lines)
	}
	s.replace(t, keyring.Generate(), s.key.AsRetiring(time.Now().Add(-time.Minute)))
	if v.user() != "" {
		t.Fatal("a cookie of a retired key is taken")
	}
	if lines := s.log.events(t, "bad_cookie"); len(lines) != 2 || lines[1]["reason"] != "retired key" {
		t.Errorf("a cookie of a retired key: %v", lines)
	}
}

// Keys reach instances one after the other. Whoever has the new key as next
// accepts what others sign with it already, and leaves it as it is: two instances
// that seal each other's sessions anew all the time would write at every request.
func TestPromise10_AcceptBeforeIssue(t *testing.T) {
	s := newSite(t, nil)
	old, next := s.key, keyring.Generate()
	behind := s.ring
	if err := behind.Replace(old, next.AsNext()); err != nil {
		t.Fatal(err)
	}
	ahead := newManager(t, s.spy, newRing(t, next, retiring(old)), &cloakroom.Options{Logger: s.Logger()})

	v := s.signedIn(t, "u1")
	v.m = ahead
	if v.user() != "u1" || v.signedBy() != next.ID() {
		t.Fatal("the instance ahead did not take the session over")
	}
	s.spy.take()
	for range 3 {
		for _, m := range []*cloakroom.Manager{s.Manager, ahead} {
			v.m = m
			if v.user() != "u1" {
				t.Fatal("a cookie of a coming key is refused")
			}
			s.wantCalls(t, "reader", "get")
			if v.signedBy() != next.ID() {
				t.Fatal("the cookie went back to the old key")
			}
		}
	}
	// What has to be written anyway is sealed by whoever writes it.
	v.m = s.Manager
	v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
	v.m = ahead
	v.visit(func(s *cloakroom.Session) {
		if s.UserID() != "u1" || word.GetOr(s, "") != "x" {
			t.Error("what one instance wrote the other cannot read")
		}
	})
}

// Keys are rotated twice while eight visitors read and write; nobody is signed
// out, and no write is lost.
func TestPromise10_ReplaceUnderLoadSignsNobodyOut(t *testing.T) {
	both(t, testPromise10_ReplaceUnderLoadSignsNobodyOut)
}

func testPromise10_ReplaceUnderLoadSignsNobodyOut(t *testing.T, newSite siteMaker) {
	s := newSite(t, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
	const visitors, requests = 8, 150
	var all sync.WaitGroup
	var done atomic.Int64
	for i := range visitors {
		v := s.signedIn(t, fmt.Sprint("u", i))
		all.Go(func() {
			for n := range requests {
				var user string
				var seen int
				w := v.do(func(_ http.ResponseWriter, r *http.Request) {
					s := cloakroom.FromContext(r.Context())
					user, seen = s.UserID(), count.GetOr(s, 0)
					if n%3 == 0 {
						count.Set(s, n)
					}
				})
				if w.Code != http.StatusOK || user != fmt.Sprint("u", i) || seen != max(0, (n-1)/3*3) {
					t.Errorf("visitor %d, request %d: answer %d for %q, count %d", i, n, w.Code, user, seen)
					return
				}
				done.Add(1)
			}
		})
	}
	keys := []keyring.Key{s.key}
	for done.Load() < visitors*requests && len(keys) < 4 && !t.Failed() {
		next := keyring.Generate()
		keys = append([]keyring.Key{next}, keys...)
		for i := range keys[1:] {
			keys[i+1] = retiring(keys[i+1])
		}
		s.replace(t, next, keys[1:]...)
		for target := done.Load() + 200; done.Load() < min(target, visitors*requests) && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	}
	all.Wait()
	if len(keys) < 3 {
		t.Errorf("only %d rotations fitted in", len(keys)-1)
	}
}

// Requests that come in together with the old cookie, while it is re-sealed.
func TestPromise10_ParallelRequestsDuringReSealing(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	s.replace(t, keyring.Generate(), retiring(s.key))
	gate := make(chan struct{})
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			<-gate
			probe := &visitor{tb: t, m: s.Manager, cookie: v.cookie}
			probe.visit(func(s *cloakroom.Session) {
				if s.UserID() != "u1" {
					t.Error("signed out")
				}
				if i%4 == 0 {
					count.Update(s, func(n int) int { return n + 1 })
				}
			})
		})
	}
	close(gate)
	all.Wait()
	v.visit(func(s *cloakroom.Session) {
		if n := count.GetOr(s, 0); n != 4 {
			t.Errorf("of four updates %d are there", n)
		}
	})
}

// A cookie that is signed at the moment of a rotation names the key that signed
// it, and not the one that was active a moment before.
func TestPromise10_CookiesSignedDuringARotation(t *testing.T) {
	s := newSite(t, nil)
	a, b := s.key, keyring.Generate()
	stop := make(chan struct{})
	var rotating sync.WaitGroup
	rotating.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.replace(t, b, retiring(a))
				s.replace(t, a, retiring(b))
			}
		}
	})
	for range 20_000 {
		if c := s.EncodeCookie(cloakroom.NewToken()); !s.DecodeCookie(c) {
			t.Errorf("cookie %q is signed by another key than it names", c)
			break
		}
	}
	close(stop)
	rotating.Wait()
}

// A stream ends with its session's key, however that is taken away.
func TestASVS_7_4_1_AStreamEndsWithItsKey(t *testing.T) {
	both(t, func(t *testing.T, newSite siteMaker) {
		for name, deleted := range map[string]bool{"retired": false, "deleted": true} {
			s := newSite(t, nil)
			v := s.signedIn(t, "ada")
			next := keyring.Generate()
			v.do(func(w http.ResponseWriter, r *http.Request) {
				session := cloakroom.FromContext(r.Context())
				w.WriteHeader(http.StatusOK)
				if !session.Alive(r.Context()) {
					t.Errorf("%s: it is not alive while its key is active", name)
				}
				if deleted {
					s.replace(t, next)
				} else {
					s.replace(t, next, s.key.AsRetiring(time.Now().Add(-5*time.Minute)))
				}
				if session.Alive(r.Context()) {
					t.Errorf("%s: it is alive without its key", name)
				}
			})
		}
	})
}
