package cloakroom_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// value stands for the value in an expected Set-Cookie line.
const value = "VALUE"

var cookieValue = regexp.MustCompile(`=[A-Za-z0-9_-]{71}(;|$)`)

// shown is a Set-Cookie line with the value taken out.
func shown(line string) string { return cookieValue.ReplaceAllString(line, "="+value+"$1") }

func login(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1"}) }

// variants are all that options can make of the cookie, and the lines that set
// it and take it back.
var variants = map[string]struct {
	opts     cloakroom.Options
	set, end string
}{
	"default": {
		cloakroom.Options{},
		"__Host-session=VALUE; Path=/; HttpOnly; Secure; SameSite=Lax",
		"__Host-session=; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=0",
	},
	"strict": {
		cloakroom.Options{SameSite: http.SameSiteStrictMode},
		"__Host-session=VALUE; Path=/; HttpOnly; Secure; SameSite=Strict",
		"__Host-session=; Path=/; HttpOnly; Secure; SameSite=Strict; Max-Age=0",
	},
	"none": {
		cloakroom.Options{SameSite: http.SameSiteNoneMode},
		"__Host-session=VALUE; Path=/; HttpOnly; Secure; SameSite=None",
		"__Host-session=; Path=/; HttpOnly; Secure; SameSite=None; Max-Age=0",
	},
	"default mode": {
		cloakroom.Options{SameSite: http.SameSiteDefaultMode},
		"__Host-session=VALUE; Path=/; HttpOnly; Secure; SameSite=Lax",
		"__Host-session=; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=0",
	},
	"partitioned": {
		cloakroom.Options{SameSite: http.SameSiteNoneMode, Partitioned: true},
		"__Host-session=VALUE; Path=/; HttpOnly; Secure; SameSite=None; Partitioned",
		"__Host-session=; Path=/; HttpOnly; Secure; SameSite=None; Partitioned; Max-Age=0",
	},
	"persistent": {
		cloakroom.Options{Persistent: true},
		"__Host-session=VALUE; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=86400",
		"__Host-session=; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=0",
	},
	"longest": {
		cloakroom.Options{Persistent: true, Lifetime: 400 * 24 * time.Hour},
		"__Host-session=VALUE; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=34560000",
		"__Host-session=; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=0",
	},
	"domain": {
		cloakroom.Options{CookieName: "__Secure-session", Domain: "example.com"},
		"__Secure-session=VALUE; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax",
		"__Secure-session=; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax; Max-Age=0",
	},
	"path": {
		cloakroom.Options{CookieName: "__Secure-session", Path: "/shop"},
		"__Secure-session=VALUE; Path=/shop; HttpOnly; Secure; SameSite=Lax",
		"__Secure-session=; Path=/shop; HttpOnly; Secure; SameSite=Lax; Max-Age=0",
	},
	"insecure": {
		cloakroom.Options{CookieName: "session", Insecure: true},
		"session=VALUE; Path=/; HttpOnly; SameSite=Lax",
		"session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0",
	},
	"plain name": {
		cloakroom.Options{CookieName: "session"},
		"session=VALUE; Path=/; HttpOnly; Secure; SameSite=Lax",
		"session=; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=0",
	},
}

// A cookie is taken back with the attributes with which it was set, or a browser
// keeps it (RFC 6265bis §5.7).
func TestSetCookieLinesOfAllOptions(t *testing.T) {
	for name, test := range variants {
		synctest.Test(t, func(t *testing.T) {
			v := newSite(t, &test.opts).visitor(t)
			if got := shown(setCookie(t, v.visit(login))); got != test.set {
				t.Errorf("%s: login sets\n%q, want\n%q", name, got, test.set)
			}
			if got := setCookie(t, v.visit(func(s *cloakroom.Session) {})); got != "" {
				t.Errorf("%s: a request that changes nothing sets %q", name, got)
			}
			if got := shown(setCookie(t, v.visit(func(s *cloakroom.Session) { s.Renew() }))); got != test.set {
				t.Errorf("%s: renewal sets\n%q, want\n%q", name, got, test.set)
			}
			w := v.do(func(w http.ResponseWriter, r *http.Request) {
				if err := cloakroom.FromContext(r.Context()).End(r.Context()); err != nil {
					t.Error(err)
				}
			})
			if got := setCookie(t, w); got != test.end {
				t.Errorf("%s: logout sets\n%q, want\n%q", name, got, test.end)
			}
			// What we write has to be what net/http reads.
			c, err := http.ParseSetCookie(test.end)
			if err != nil || c.MaxAge >= 0 || c.Value != "" {
				t.Errorf("%s: net/http reads %+v, %v", name, c, err)
			}
		})
	}
}

// lines returns the lines that a site with these options sets in its life.
func lines(t *testing.T, opts cloakroom.Options) []string {
	t.Helper()
	v := newSite(t, &opts).visitor(t)
	all := []string{
		setCookie(t, v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })),
		setCookie(t, v.visit(login)),
		setCookie(t, v.visit(func(s *cloakroom.Session) { s.Renew() })),
	}
	all = append(all, setCookie(t, v.do(func(w http.ResponseWriter, r *http.Request) {
		_ = cloakroom.FromContext(r.Context()).End(r.Context())
	})))
	for i, line := range all {
		if line == "" {
			t.Errorf("step %d sets no cookie", i)
		}
	}
	return all
}

func TestASVS_3_3_1_Secure(t *testing.T) {
	for name, test := range variants {
		for _, line := range lines(t, test.opts) {
			c, err := http.ParseSetCookie(line)
			if err != nil || c.Secure == test.opts.Insecure {
				t.Errorf("%s: %q: %v", name, line, err)
			}
		}
	}
	for _, cookie := range []string{"", "__Host-x", "__Secure-x"} {
		if _, err := cloakroom.New(memstore.New(nil), newRing(t, keyring.Generate()), &cloakroom.Options{CookieName: cookie, Insecure: true}); err == nil {
			t.Errorf("%q goes without Secure", cookie)
		}
	}
}

func TestASVS_3_3_2_SameSite(t *testing.T) {
	for name, test := range variants {
		want := test.opts.SameSite
		if want <= http.SameSiteDefaultMode {
			want = http.SameSiteLaxMode
		}
		for _, line := range lines(t, test.opts) {
			if c, err := http.ParseSetCookie(line); err != nil || c.SameSite != want {
				t.Errorf("%s: %q: %v", name, line, err)
			}
		}
	}
}

// A __Host- cookie belongs to one host, and net/http does not see to that.
func TestASVS_3_3_3_HostPrefix(t *testing.T) {
	for _, line := range lines(t, cloakroom.Options{}) {
		if c, err := http.ParseSetCookie(line); err != nil || !strings.HasPrefix(c.Name, "__Host-") || c.Path != "/" || c.Domain != "" || !c.Secure {
			t.Errorf("default cookie is %q: %v", line, err)
		}
	}
	for what, o := range map[string]cloakroom.Options{
		"domain": {Domain: "example.com"}, "path": {Path: "/x"}, "named domain": {CookieName: "__Host-x", Domain: "example.com"},
		"other case": {CookieName: "__host-x"},
	} {
		if _, err := cloakroom.New(memstore.New(nil), newRing(t, keyring.Generate()), &o); err == nil {
			t.Errorf("%s: a __Host- cookie that browsers refuse is accepted", what)
		}
	}
}

// HttpOnly is always there, and the value is in Set-Cookie and nowhere else.
func TestASVS_3_3_4_HttpOnly(t *testing.T) {
	for name, test := range variants {
		for _, line := range lines(t, test.opts) {
			if c, err := http.ParseSetCookie(line); err != nil || !c.HttpOnly {
				t.Errorf("%s: %q: %v", name, line, err)
			}
		}
	}
	s := newSite(t, nil)
	v := s.visitor(t)
	w := v.do(func(w http.ResponseWriter, r *http.Request) {
		login(cloakroom.FromContext(r.Context()))
		who(w, r)
	})
	_, token := v.token()
	everything := strings.ReplaceAll(answer(w), setCookie(t, w), "") + s.log.String()
	for _, form := range spellings(token) {
		if strings.Contains(everything, string(form)) {
			t.Errorf("outside Set-Cookie stands the token %q", form)
		}
	}
	if strings.Contains(everything, strings.TrimPrefix(v.cookie, cookieName+"=")) {
		t.Error("outside Set-Cookie stands the cookie's value")
	}
}

// However much a session holds, its cookie is the same few bytes.
func TestASVS_3_3_5_CookieStaysSmall(t *testing.T) {
	for _, size := range []int{1, 5_000, 60_000} {
		v := newSite(t, nil).visitor(t)
		w := v.visit(func(s *cloakroom.Session) {
			s.Login(cloakroom.Identity{UserID: strings.Repeat("u", store.MaxUserID), Roles: []string{strings.Repeat("r", size)}})
			word.Set(s, strings.Repeat("w", size))
		})
		line := setCookie(t, w)
		if len(line) >= 130 || len(v.cookie) > 4096 {
			t.Errorf("with values of %d bytes the line has %d, the cookie %d", size, len(line), len(v.cookie))
		}
	}
	for name, test := range variants {
		for _, line := range lines(t, test.opts) {
			if pair, _, _ := strings.Cut(line, ";"); len(pair) > 4096 || len(line) > 200 {
				t.Errorf("%s: line has %d bytes", name, len(line))
			}
		}
	}
}

// TestASVS_7_2_2_NewTokenPerLogin: the same user, in the same millisecond.
func TestASVS_7_2_2_NewTokenPerLogin(t *testing.T) { both(t, testASVS_7_2_2_NewTokenPerLogin) }

func testASVS_7_2_2_NewTokenPerLogin(t *testing.T, newSite siteMaker) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		seen := map[string]bool{}
		v := s.visitor(t)
		for range 50 {
			v.login("u1")
			other := s.visitor(t)
			other.login("u1")
			if seen[v.cookie] || seen[other.cookie] || v.cookie == other.cookie {
				t.Fatal("two logins got the same token")
			}
			seen[v.cookie], seen[other.cookie] = true, true
		}
	})
}

// TestASVS_7_2_3_TokensComeFromCryptoRand: the token is what crypto/rand gives
// next, 32 bytes as they are.
func TestASVS_7_2_3_TokensComeFromCryptoRand(t *testing.T) {
	v := newSite(t, nil).visitor(t)
	const seed = 3
	cryptotest.SetGlobalRandom(t, seed)
	var want [32]byte
	rand.Read(want[:])
	cryptotest.SetGlobalRandom(t, seed)
	v.visit(login)
	if _, token := v.token(); !bytes.Equal(token, want[:]) {
		t.Errorf("token is %x, crypto/rand gave %x", token, want)
	}
}

func TestASVS_7_2_3_TokensAreUniqueAndEven(t *testing.T) {
	const n = 100_000
	seen := make(map[[32]byte]bool, n)
	var ones [256]int
	for range n {
		token := cloakroom.NewToken()
		if seen[token] {
			t.Fatal("a token came twice")
		}
		seen[token] = true
		for i := range ones {
			ones[i] += int(token[i/8] >> (i % 8) & 1)
		}
	}
	// A count deviates by sqrt(n)/2 = 158; six times that is one chance in 500
	// million for a bit.
	for i, count := range ones {
		if count < n/2-950 || count > n/2+950 {
			t.Errorf("bit %d is set in %d of %d tokens", i, count, n)
		}
	}
}

// broken is a source of randomness that has none.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

// TestAttack_A12_WithoutRandomnessNobodyGetsACookie: the program ends rather than
// go on with a token that somebody could guess.
func TestAttack_A12_WithoutRandomnessNobodyGetsACookie(t *testing.T) {
	both(t, testAttack_A12_WithoutRandomnessNobodyGetsACookie)
}

func testAttack_A12_WithoutRandomnessNobodyGetsACookie(t *testing.T, newSite siteMaker) {
	const child = "CLOAKROOM_TEST_WITHOUT_RANDOMNESS"
	if os.Getenv(child) != "" {
		m := newSite(t, nil)
		rand.Reader = broken{}
		w := httptest.NewRecorder()
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			login(cloakroom.FromContext(r.Context()))
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		fmt.Println("answered", w.Code, w.Header())
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("fatal error: crypto/rand: failed to read random data")) {
		t.Errorf("without randomness the program ended with %v:\n%s", err, out)
	}
	if bytes.Contains(out, []byte("answered")) || bytes.Contains(out, []byte("Set-Cookie")) {
		t.Errorf("without randomness there was an answer:\n%s", out)
	}
}

// Siblings of the session's cookie carry its attributes and its prefix.
func TestCookieOfAnotherPackage(t *testing.T) {
	for name, want := range map[string]string{
		"default":     "__Host-pre=x; Path=/; HttpOnly; Secure; SameSite=Lax",
		"domain":      "__Secure-pre=x; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax",
		"insecure":    "pre=x; Path=/; HttpOnly; SameSite=Lax",
		"plain name":  "pre=x; Path=/; HttpOnly; Secure; SameSite=Lax",
		"partitioned": "__Host-pre=x; Path=/; HttpOnly; Secure; SameSite=None; Partitioned",
	} {
		opts := variants[name].opts
		if got := newSite(t, &opts).Cookie("pre", "x").String(); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
