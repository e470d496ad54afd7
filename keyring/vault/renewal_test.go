package vault_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring/vault"
)

// TestASVS_13_3_4_RenewalIsSeenToFail: that there will be no other login can be learned
// long before the one in hand ends, and reads go on until then.
func TestASVS_13_3_4_RenewalIsSeenToFail(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	for name, change := range map[string]func(){
		"renewal refused": func() {
			for _, l := range f.tokens {
				l.renewable = false
			}
		},
		"renewed no further": func() { f.maxTTL = 3600 },
	} {
		s := f.open(query["approle"])
		reads(t, s, keys)
		good := f.secretIDs
		f.do(func() { change(); f.secretIDs = map[string]bool{} })
		if err := s.Renewal(); err != nil {
			t.Errorf("%s, before it is tried: %v", name, err)
		}
		end := f.now().Add(time.Hour).Format(time.RFC3339)
		f.pass(31 * time.Minute)
		for range 2 {
			reads(t, s, keys)
			told(t, s.Renewal(), "vault: ", "auth=approle", "refused (400)", "secret-id", end)
		}
		f.pass(30 * time.Minute)
		_, err := s.Read(t.Context())
		told(t, err, "auth=approle", "refused (400)")
		told(t, s.Renewal(), end)
		f.do(func() { f.secretIDs, f.maxTTL = good, 1<<40 })
		reads(t, s, keys)
		if err := s.Renewal(); err != nil {
			t.Errorf("%s, after it has worked: %v", name, err)
		}
	}
}

// A token that is given ends as well, where nobody renews it.
func TestASVS_13_3_4_GivenTokenIsSeenToEnd(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["token"])
	f.do(func() { f.tokens[givenToken] = &lease{f.clock, f.clock.Add(time.Hour), false} })
	reads(t, s, keys)
	end := f.now().Add(time.Hour).Format(time.RFC3339)
	f.pass(29 * time.Minute)
	reads(t, s, keys)
	if err := s.Renewal(); err != nil {
		t.Error(err)
	}
	f.pass(2 * time.Minute)
	reads(t, s, keys)
	told(t, s.Renewal(), "the token cannot be renewed", "token-file", end)
	f.do(func() { f.tokens["hvs.second"] = &lease{f.clock, f.clock.Add(time.Hour), false} })
	_, path, _ := strings.Cut(query["token"], "-file=")
	rewrite(t, path, "hvs.second\n")
	f.pass(15 * time.Minute)
	reads(t, s, keys)
	if err := s.Renewal(); err != nil {
		t.Error(err)
	}
}

// A renewal that works makes up for one that did not; a call that was given up says
// nothing of it.
func TestRenewalWorksAgain(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["kubernetes"])
	reads(t, s, keys)
	f.do(func() {
		f.jwts = map[string]bool{}
		f.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/renew-self") {
				refuse(w, 400, "not now")
				return true
			}
			return false
		}
	})
	f.pass(31 * time.Minute)
	reads(t, s, keys)
	told(t, s.Renewal(), "auth=kubernetes")
	f.do(func() { f.hook = nil })
	f.pass(15 * time.Minute)
	reads(t, s, keys)
	if err := s.Renewal(); err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	f.do(func() {
		f.hook = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.HasSuffix(r.URL.Path, "/renew-self"):
				refuse(w, 400, "not now")
			case strings.HasSuffix(r.URL.Path, "/login"):
				io.Copy(io.Discard, r.Body) // else nobody notices that the connection ends
				cancel()
				<-r.Context().Done()
			default:
				return false
			}
			return true
		}
	})
	f.pass(31 * time.Minute)
	if _, err := s.Read(ctx); err == nil {
		t.Error("read")
	}
	if err := s.Renewal(); err != nil {
		t.Error(err)
	}
}

// A server that cannot write, such as one whose disk is full, reads on: that it neither
// renews nor lets anybody log in is told while there is time. Where it answers nothing
// at all, Read tells that, and at last Renewal does.
func TestASVS_13_3_4_RenewalIsSeenToMeetAFailure(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	fails := func(all bool) {
		f.do(func() {
			f.hook = func(w http.ResponseWriter, r *http.Request) bool {
				if all || strings.HasPrefix(r.URL.Path, "/v1/auth/") {
					refuse(w, 503, "no active node")
					return true
				}
				return false
			}
		})
	}
	works := func(s *vault.Source) {
		t.Helper()
		f.do(func() { f.hook = nil })
		reads(t, s, keys)
		if err := s.Renewal(); err != nil {
			t.Errorf("after it has worked: %v", err)
		}
	}
	s := f.open(query["kubernetes"])
	works(s)
	end := f.now().Add(time.Hour).Format(time.RFC3339)
	fails(false)
	for _, d := range []time.Duration{31 * time.Minute, 28 * time.Minute} {
		f.pass(d)
		reads(t, s, keys)
		told(t, s.Renewal(), "vault: ", "the server fails (503)", end)
	}
	f.pass(time.Minute)
	_, err := s.Read(t.Context())
	told(t, err, "auth=kubernetes", "the server fails (503)")
	told(t, s.Renewal(), end)
	works(s)

	end = f.now().Add(time.Hour).Format(time.RFC3339)
	fails(true)
	f.pass(44 * time.Minute)
	_, err = s.Read(t.Context())
	told(t, err, "the server fails (503)")
	if err := s.Renewal(); err != nil {
		t.Errorf("where Read tells: %v", err)
	}
	f.pass(time.Minute)
	_, err = s.Read(t.Context())
	told(t, err, "the server fails (503)")
	told(t, s.Renewal(), "the server fails (503)", end)
	works(s)
}

// Where the renewal meets a failure of the server, nothing is said of it if the call was
// given up, or a new login has worked.
func TestRenewalThatMeetsAFailureAndDoesNotMatter(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["kubernetes"])
	reads(t, s, keys)
	ctx, cancel := context.WithCancel(t.Context())
	f.do(func() {
		f.hook = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.HasSuffix(r.URL.Path, "/renew-self"):
				refuse(w, 503, "no active node")
			case ctx.Err() == nil:
				cancel()
				<-r.Context().Done()
			default:
				return false
			}
			return true
		}
	})
	f.pass(46 * time.Minute)
	if _, err := s.Read(ctx); err == nil || s.Renewal() != nil {
		t.Errorf("a call that was given up: %v, %v", err, s.Renewal())
	}
	f.do(func() { clear(f.tokens) }) // they are revoked
	reads(t, s, keys)
	if err := s.Renewal(); err != nil {
		t.Errorf("after a login: %v", err)
	}
}
