package promises_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
)

// stealable are the places that somebody can take a copy of, each with a server
// of its own, so that whatever is kept there is the test's.
var stealable = map[string]func(testing.TB) *place{
	"sqlite":   sqlitePlace,
	"postgres": places["postgres"],
	"mariadb":  places["mariadb"],
	"redis": func(tb testing.TB) *place {
		return redisPlace(services.Start(tb, services.RedisKind).URL(), "")
	},
	"memcached": func(tb testing.TB) *place {
		return memcachedPlace(services.Start(tb, services.MemcachedKind).URL(), "")
	},
}

// What no store is to know.
const (
	secretValue   = "canary-value-6f1d"
	secretDevice  = "canary-device-77a0"
	secretAddress = "canary-address-09bc"
	secretMethod  = "password" // the way of the login
)

// spellings are the ways in which bytes may stand in a dump.
func spellings(b []byte) map[string][]byte {
	return map[string][]byte{
		"as it is":      b,
		"in hex":        []byte(hex.EncodeToString(b)),
		"in HEX":        bytes.ToUpper([]byte(hex.EncodeToString(b))),
		"in base64":     []byte(base64.RawStdEncoding.EncodeToString(b)),
		"in base64url":  []byte(base64.RawURLEncoding.EncodeToString(b)),
		"from behind":   reversed(b),
		"without 1 end": b[:len(b)-1],
	}
}

func reversed(b []byte) []byte {
	r := bytes.Clone(b)
	for i := range r {
		r[i] = b[len(b)-1-i]
	}
	return r
}

// visits leaves all that a store keeps: sessions that live, were renewed, ended,
// of strangers and of users. It returns every cookie that was issued.
func (w *world) visits(t *testing.T) (cookies []string) {
	t.Helper()
	about := http.Header{"User-Agent": {secretDevice}, "X-Addr": {secretAddress}}
	send := func(q request) string {
		q.header = about
		a := w.must(t, q)
		if a.cookie != "" {
			cookies = append(cookies, a.cookie)
		}
		return a.cookie
	}
	stranger := send(post("/set", "open", "", "name", secretValue, "value", secretValue))
	for _, user := range []string{"u", "u", "u", "v"} {
		c := send(post("/login", "user", user, "name", secretValue, "value", secretValue))
		send(request{method: "POST", path: "/update", cookie: c})
		switch renewed := send(request{method: "POST", path: "/renew", cookie: c}); len(cookies) % 3 {
		case 0:
			send(request{method: "POST", path: "/logout", cookie: renewed})
		case 1:
			send(request{method: "POST", path: "/roles", form: url.Values{"role": {secretValue}}, cookie: renewed})
		}
	}
	send(request{method: "POST", path: "/login", form: url.Values{"user": {"w"}}, cookie: stranger})
	send(post("/admin/enduser", "user", "v"))
	return cookies
}

// A copy of everything that a store keeps has no token in it, nothing that a
// visitor has stored, not where they came from, and nothing that is taken for a
// cookie. What it has are hashes of the tokens.
func TestPromise05_ADumpOfEveryStore(t *testing.T) {
	t.Parallel()
	for name, at := range stealable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here := at(t)
			st, _ := here.open(t)
			w := newWorld(t, st, &cloakroom.Options{StoreTimeout: slowStore, MaxSessions: 3,
				ClientAddr: func(r *http.Request) string { return r.Header.Get("X-Addr") }})
			cookies := w.visits(t)
			dump := here.dump(t)
			hashes := 0
			for _, c := range cookies {
				id := idOf(c)
				if bytes.Contains(dump, id[:]) || bytes.Contains(dump, []byte(id.String())) {
					hashes++
				}
			}
			if hashes != len(cookies) {
				t.Fatalf("the dump of %d bytes knows %d of %d sessions", len(dump), hashes, len(cookies))
			}
			secrets := map[string][]byte{"value": []byte(secretValue), "device": []byte(secretDevice), "address": []byte(secretAddress), "way of the login": []byte(secretMethod)}
			for _, c := range cookies {
				raw, err := base64.RawURLEncoding.DecodeString(c)
				if err != nil {
					t.Fatal(err)
				}
				secrets["cookie "+c], secrets["token of "+c], secrets["tag of "+c] = raw, raw[5:5+32], raw[5+32:]
			}
			for what, secret := range secrets {
				for how, spelling := range spellings(secret) {
					if bytes.Contains(dump, spelling) {
						t.Errorf("%s, %s, is in the dump", what, how)
					}
				}
			}
			w.signsNobodyIn(t, dump)
		})
	}
}

var tokenLike = regexp.MustCompile(`[A-Za-z0-9_-]{43,}`)

// signsNobodyIn tries what is in a dump as a cookie: every word that may be one,
// and pieces of every place as a token, with a tag made from what is beside it.
func (w *world) signsNobodyIn(t *testing.T, dump []byte) {
	t.Helper()
	try := func(value string) {
		a := w.do(request{method: "GET", path: "/read", cookie: value, direct: true})
		if c, err := a.contents(); err != nil || c.User != "" || len(c.Values) > 0 {
			t.Fatalf("%q of the dump is %v", value, a)
		}
	}
	for _, word := range tokenLike.FindAll(dump, -1) {
		try(string(word))
		try(string(word[:43]))
	}
	key := w.ring.Active()
	step := max(1, len(dump)/1500)
	if *prove {
		step = max(1, len(dump)/40_000)
	}
	for at := rand.IntN(step); at+53 <= len(dump); at += step {
		piece := dump[at : at+53]
		if bytes.Count(piece, []byte{0}) > 20 {
			continue // an empty page of a file
		}
		try(base64.RawURLEncoding.EncodeToString(piece))
		made := append([]byte{1}, key[:]...)
		try(base64.RawURLEncoding.EncodeToString(append(made, piece[:48]...)))
	}
}

// Whoever reads the store has the name under which a session is kept. It is the
// hash of its token, so it does not lead to the token, and is none itself.
func TestAttack_A09_TheNameOfASessionIsNoToken(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		cookie := w.login(t, "u", "")
		id := idOf(cookie)
		if rec, live := w.live(id); !live || rec.ID != id {
			t.Fatal("the session is not kept under the hash of its token")
		}
		raw, _ := base64.RawURLEncoding.DecodeString(cookie)
		if _, live := w.live(store.ID(raw[5 : 5+32])); live {
			t.Error("the session is kept under its token")
		}
		made := append(bytes.Clone(raw[:5]), id[:]...)
		for _, forged := range []string{
			id.String(), hex.EncodeToString(id[:]), id.Handle(),
			base64.RawURLEncoding.EncodeToString(append(made, raw[5+32:]...)), // with the tag of the token
		} {
			tr := w.trace()
			if a := w.do(request{method: "GET", path: "/me", cookie: forged, trace: tr}); a.status != http.StatusUnauthorized || tr.count() > 0 {
				t.Errorf("%q: %v, %d calls", forged, a, tr.count())
			}
		}
	})
}
