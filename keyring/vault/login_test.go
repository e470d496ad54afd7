package vault_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring/vault"
)

// A token is renewed at the first look after half of its time, and only then.
func TestASVS_13_3_4_TokenIsRenewed(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	for _, method := range []string{"token", "approle", "kubernetes"} {
		s := f.open(query[method])
		reads(t, s, keys)
		f.pass(29 * time.Minute)
		f.requests()
		reads(t, s, keys)
		f.asked(get)
		f.pass(2 * time.Minute)
		reads(t, s, keys)
		f.asked(renew, get)
		// An hour has begun with that, and it goes on for ever.
		for range 5 {
			f.pass(31 * time.Minute)
			reads(t, s, keys)
			f.asked(renew, get)
		}
	}
}

// A token that lives no longer is exchanged for a new one in time; one that nobody
// looked after meanwhile is not shown any more.
func TestASVS_13_3_4_TokenEnds(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["approle"])
	reads(t, s, keys)
	f.pass(time.Hour)
	f.requests()
	reads(t, s, keys)
	f.asked(approle, get)

	// The server renews it no further than to its end.
	f.do(func() { f.maxTTL = 4000 })
	f.pass(31 * time.Minute)
	reads(t, s, keys)
	f.asked(renew, get)
	// 2140 s are left of it, and no more can be had: the next login is made while this
	// one still serves.
	f.pass(20 * time.Minute)
	reads(t, s, keys)
	f.asked(renew, approle, get)
	f.pass(20 * time.Minute)
	reads(t, s, keys)
	f.asked(get)

	// Not renewable at all.
	f.do(func() { f.renewable = false })
	s = f.open(query["kubernetes"])
	reads(t, s, keys)
	f.pass(31 * time.Minute)
	f.requests()
	reads(t, s, keys)
	f.asked(kubernetes, get)

	// Without an end: nothing to do, ever.
	f.do(func() { f.tokens[givenToken] = &lease{} })
	s = f.open(query["token"])
	reads(t, s, keys)
	f.pass(10000 * time.Hour)
	f.requests()
	reads(t, s, keys)
	f.asked(get)
}

// A renewal that fails takes nothing from a token that is still good; neither does a
// new login that does.
func TestRenewalFails(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["approle"])
	reads(t, s, keys)
	f.pass(31 * time.Minute)
	f.do(func() {
		f.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/renew-self") {
				refuse(w, 500, "internal error")
				return true
			}
			return false
		}
	})
	f.requests()
	reads(t, s, keys)
	f.asked(renew, get)
	f.do(func() {
		f.hook = nil
		f.secretIDs = map[string]bool{}
		for _, l := range f.tokens {
			l.renewable = false
		}
	})
	reads(t, s, keys)
	f.asked(renew, approle, get)
	reads(t, s, keys)
	f.asked(get) // the next attempt is at half of what is left
	f.pass(15 * time.Minute)
	reads(t, s, keys)
	f.asked(renew, approle, get)
	f.pass(15 * time.Minute)
	_, err := s.Read(t.Context())
	told(t, err, "auth=approle", "refused (400)", "secret-id")
}

// A token that the server denies is exchanged once. Where that does not help, it is
// the policy, and no login a look is made for it.
func TestTokenIsRevoked(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	for _, method := range []string{"approle", "kubernetes"} {
		s := f.open(query[method])
		reads(t, s, keys)
		f.do(func() { f.tokens = map[string]*lease{} })
		f.requests()
		reads(t, s, keys)
		f.asked(get, "PUT /v1/auth/"+method+"/login", get)

		f.do(func() { f.denied = true })
		for range 5 {
			_, err := s.Read(t.Context())
			told(t, err, "permission denied (403)", `path "secret/data/cloakroom" { capabilities = ["read"] }`)
		}
		if n := f.count("PUT /v1/auth/" + method + "/login"); n != 1 {
			t.Errorf("%s: %d logins for five looks that are denied", method, n)
		}
		f.pass(time.Minute)
		f.do(func() { f.denied = false; f.tokens = map[string]*lease{} })
		reads(t, s, keys)
	}
}

// Files rotate: a login reads them anew.
func TestASVS_13_3_4_FilesRotate(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	for _, method := range []string{"token", "approle", "kubernetes"} {
		s := f.open(query[method])
		reads(t, s, keys)
		_, path, _ := strings.Cut(query[method], "-file=")
		f.do(func() {
			f.tokens = map[string]*lease{"hvs.second": {}}
			switch method {
			case "approle":
				f.secretIDs = map[string]bool{"second-id": true}
			case "kubernetes":
				f.jwts = map[string]bool{"second.jwt.x": true}
			}
		})
		_, err := s.Read(t.Context())
		told(t, err)
		rewrite(t, path, map[string]string{"token": "hvs.second", "approle": "second-id", "kubernetes": "second.jwt.x"}[method]+"\n")
		f.pass(time.Second)
		reads(t, s, keys)
	}
	// A token that is given and has not changed is not asked about again and again.
	f.do(func() { f.tokens["hvs.second"] = &lease{} })
	s := f.open(query["token"])
	reads(t, s, keys)
	f.do(func() { f.denied = true })
	f.requests()
	_, err := s.Read(t.Context())
	told(t, err, "permission denied", "or the token has expired")
	f.asked(get)
}

// What others than the owner may read is refused, be it a token, a secret id, a JWT
// or the key of a certificate.
func TestASVS_13_3_1_FilesOpenToOthersAreRefused(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	for method, q := range query {
		s := f.open(q)
		_, path, _ := strings.Cut(q, "-file=")
		for _, mode := range []os.FileMode{0o602, 0o620, 0o666} { // wherever the file lies
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			_, err := s.Read(t.Context())
			told(t, err, "-file: ", "chmod 600")
			if strings.Contains(err.Error(), path) {
				t.Errorf("%s: the value of a place in %v", method, err)
			}
		}
		if err := os.Chmod(path, 0o400); err != nil {
			t.Fatal(err)
		}
		f.requests()
		reads(t, s, keys)
	}
	key := file(t, "no key")
	if err := os.Chmod(key, 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := vault.Open("https://127.0.0.1/secret/x?token-file=/t&cert="+other.file+"&key="+key, env(nil))
	told(t, err, "key, of the client certificate", "chmod 600")
}

// Mistakes in the files of a login, each with its words.
func TestFilesOfALogin(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	for _, method := range []string{"token", "approle", "kubernetes"} {
		_, path, _ := strings.Cut(query[method], "-file=")
		s := f.open(query[method])
		for text, want := range map[string]string{
			"": "there is no ", "\n \n": "there is no ", givenToken + "\n" + secretID: "in one line", `{"token": "` + givenToken + `"} `: "there is no ",
			"a\x00b": "there is no ", "ä": "there is no ", strings.Repeat("x", 40000): "more than 32 KiB",
		} {
			rewrite(t, path, text)
			_, err := s.Read(t.Context())
			told(t, err, "-file: ", want)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		_, err := s.Read(t.Context())
		told(t, err, "-file: there is no such file")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		_, err = s.Read(t.Context())
		told(t, err, "-file: ", "regular")
	}
	f.asked()
}
