package cloakroom_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

const (
	seenName    = cookieName + "-seen"
	labelSealed = "cloakroom sealed session v1"
	labelSeen   = "cloakroom sealed session seen v1"
)

// bytesOf decodes a "name=value".
func bytesOf(tb testing.TB, cookie string) []byte {
	tb.Helper()
	_, value, _ := strings.Cut(cookie, "=")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		tb.Fatalf("cookie %q: %v", cookie, err)
	}
	return raw
}

// seal makes a cookie's value as the format says.
func seal(p *keyring.Purpose, plain, ad []byte) string {
	salt := bytes.Repeat([]byte{7}, 16)
	sealed := p.SealFor(salt, plain, append([]byte{1}, ad...))
	return base64.RawURLEncoding.EncodeToString(slices.Concat([]byte{1}, salt, sealed))
}

// keyID returns the bytes of a key's ID.
func keyID(k keyring.Key) []byte { id := k.ID(); return id[:] }

// insideOf returns what is sealed into the cookie of a user's session of an hour, as
// the format has it.
func insideOf(user string) []byte {
	at := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(time.Hour).UnixMilli()))
	return slices.Concat(make([]byte, 32), bytes.Repeat(at, 4), []byte{0, byte(len(user))}, []byte(user), []byte{1}, make([]byte, 9))
}

func TestASVS_9_1_1_EveryFlippedBitOfASealedCookie(t *testing.T) {
	s := refusalOf(t, newSealedSite(t, nil))
	v := s.signedIn(t, "u1")
	raw := bytesOf(t, v.cookie)
	for i := range len(raw) * 8 {
		forged := slices.Clone(raw)
		forged[i/8] ^= 1 << (i % 8)
		s.refuse(t, fmt.Sprintf("bit %d", i), encode(forged))
	}
	if v.user() != "u1" {
		t.Error("the cookie itself is refused")
	}
}

// A45: no shorter cookie, no longer one, no piece of one opens.
func TestAttack_A45_TruncatedSealedCookies(t *testing.T) {
	s := refusalOf(t, newSealedSite(t, nil))
	v := s.signedIn(t, "u1")
	raw := bytesOf(t, v.cookie)
	for n := range raw {
		s.refuse(t, fmt.Sprintf("first %d bytes", n), encode(raw[:n]))
		s.refuse(t, fmt.Sprintf("last %d bytes", n), encode(raw[len(raw)-n:]))
		s.refuse(t, fmt.Sprintf("without byte %d", n), encode(slices.Delete(slices.Clone(raw), n, n+1)))
	}
	for n := len(cookieName) + 1; n < len(v.cookie); n++ {
		s.refuse(t, fmt.Sprintf("first %d characters", n), v.cookie[:n])
	}
	for _, more := range []string{"A", "=", "==", "AA", "AAAA", "\n", "\r\n", " x", "%00", "\x00", strings.Repeat("A", 5000)} {
		s.refuse(t, "with "+more, v.cookie+more)
	}
	// What the keys made, and no browser keeps.
	inside := insideOf("admin")
	s.refuse(t, "a large one", cookieName+"="+s.SealPlain(slices.Concat(inside, []byte("\x04word\xa0\x1f"), bytes.Repeat([]byte{'1'}, 4000))))
	// Halves of two sessions of one key do not make a third.
	other := bytesOf(t, s.signedIn(t, "u1").cookie)
	for _, n := range []int{5, 17, 22, 34, 60, len(raw) - 16} {
		s.refuse(t, fmt.Sprintf("spliced at %d", n), encode(slices.Concat(raw[:n], other[n:])))
	}
}

// There is one spelling: not the other alphabet's, not with padding, line ends or
// loose last bits.
func TestPromise06_OneSpellingOfASealedCookie(t *testing.T) {
	s := refusalOf(t, newSealedSite(t, nil))
	v := s.signedIn(t, "a user whose name makes the cookie a byte longer")
	for !strings.ContainsAny(v.cookie[len(cookieName):], "-_") || len(bytesOf(t, v.cookie))%3 == 0 {
		v = s.signedIn(t, "u"+strings.Repeat("x", rand.IntN(9)))
	}
	raw := bytesOf(t, v.cookie)
	s.refuse(t, "other alphabet", cookieName+"="+base64.RawStdEncoding.EncodeToString(raw))
	s.refuse(t, "padding", cookieName+"="+base64.URLEncoding.EncodeToString(raw))
	s.refuse(t, "a line end", v.cookie[:40]+"\n"+v.cookie[40:])
	s.refuse(t, "line ends for characters", v.cookie+"\r\n\r\n")
	for i := range len(alphabet) {
		if c := v.cookie[:len(v.cookie)-1] + alphabet[i:i+1]; c != v.cookie {
			s.refuse(t, "another last character", c)
		}
	}
}

// A14: what does not open is not read in any other way, however well it is made.
func TestAttack_A14_NoOtherDecoderOfSealedCookies(t *testing.T) {
	s := refusalOf(t, newSealedSite(t, nil))
	v := s.signedIn(t, "admin")
	raw := bytesOf(t, v.cookie)
	stored := newManager(t, s.spy, s.ring, &cloakroom.Options{Logger: s.Logger()})
	plain, _ := json.Marshal(map[string]any{"user_id": "admin", "admin": true})
	b64 := base64.RawURLEncoding.EncodeToString
	// The inside of a session, as the format has it.
	inside := insideOf("admin")
	for what, value := range map[string]string{
		"JSON":               string(plain),
		"base64 of JSON":     base64.StdEncoding.EncodeToString(plain),
		"JWT of alg none":    b64([]byte(`{"alg":"none"}`)) + "." + b64(plain) + ".",
		"signed, not sealed": stored.EncodeCookie([32]byte(inside)),
		"signed inside":      sign(s.ring.Purpose(labelSealed, cookieName, ""), s.key.ID(), inside),
		"bare inside":        b64(inside),
		"header and inside":  b64(slices.Concat(raw[:34], inside)),
		"and empty tag":      b64(slices.Concat(raw[:34], inside, make([]byte, 16))),
		"version 0":          b64(slices.Concat([]byte{0}, raw[1:])),
		"version 2":          b64(slices.Concat([]byte{2}, raw[1:])),
		"inner version 0":    b64(slices.Concat(raw[:17], []byte{0}, raw[18:])),
		"zero key":           b64(slices.Concat(raw[:18], make([]byte, 4), raw[22:])),
		"sealed, too short":  seal(s.ring.Purpose(labelSealed, cookieName, ""), inside[:60], nil),
		"sealed, cut":        seal(s.ring.Purpose(labelSealed, cookieName, ""), inside[:len(inside)-1], nil),
	} {
		s.refuse(t, what, cookieName+"="+value)
	}
	// The same inside, sealed as it should be, is taken for a session: what is
	// refused above is refused for its seal.
	forged := s.visitor(t)
	forged.cookie = cookieName + "=" + seal(s.ring.Purpose(labelSealed, cookieName, ""), inside, nil)
	if forged.user() != "admin" || v.user() != "admin" {
		t.Error("who has the keys makes no session: the cases above prove nothing")
	}
}

// A16, ASVS 9.2.2: everything that the same keys make for one purpose is nothing
// for each other one.
func TestAttack_A16_SealedCookiesOfOtherPurposes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		s := newSealedSite(t, nil)
		stored := newSite(t, nil)
		stored.Manager = newManager(t, stored.spy, s.ring, &cloakroom.Options{Logger: s.Logger()})
		out := stored.signedIn(t, "u1")
		rec := stored.spy.live(t)[0]
		v := s.signedIn(t, "u1")
		time.Sleep(idle / 2)
		early := v.cookie
		v.user() // brings the second cookie
		values := map[string]string{
			"signed cookie": strings.TrimPrefix(out.cookie, cookieName+"="),
			"session":       strings.TrimPrefix(early, cookieName+"="),
			"seen":          strings.TrimPrefix(v.seen, seenName+"="),
			"data":          base64.RawURLEncoding.EncodeToString(rec.Data),
			"info":          base64.RawURLEncoding.EncodeToString(rec.Info),
		}
		if values["seen"] == "" {
			t.Fatal("there is no second cookie")
		}
		for what, value := range values {
			if user := (&visitor{tb: t, m: stored.Manager, cookie: cookieName + "=" + value}).user(); (user != "") != (what == "signed cookie") {
				t.Errorf("%s as a signed cookie is %q's", what, user)
			}
			if user := (&visitor{tb: t, m: s.Manager, cookie: cookieName + "=" + value}).user(); (user != "") != (what == "session") {
				t.Errorf("%s as a sealed session is %q's", what, user)
			}
			probe := &visitor{tb: t, m: s.Manager, cookie: early, seen: seenName + "=" + value}
			w := probe.visit(func(*cloakroom.Session) {})
			if again := setCookie(t, w) != ""; again == (what == "seen") {
				t.Errorf("%s as a second cookie: sent again %v", what, again)
			}
		}
	})
}

// ASVS 9.2.3, 9.2.4: nor for another audience, name or label.
func TestASVS_9_2_3_SealedForAnother(t *testing.T) {
	s := refusalOf(t, newSealedSite(t, &cloakroom.Options{Audience: "prod"}))
	v := s.signedIn(t, "u1")
	_, value, _ := strings.Cut(v.cookie, "=")
	for what, opts := range map[string]cloakroom.Options{
		"staging":     {Audience: "staging"},
		"no audience": {},
		"other name":  {Audience: "prod", CookieName: "__Host-sid"},
		"as one":      {Audience: "-sessionprod", CookieName: "__Host"},
	} {
		opts.Logger = s.Logger()
		m, err := newSealed(s.spy, s.ring, &opts)
		if err != nil {
			t.Fatal(err)
		}
		name := opts.CookieName
		if name == "" {
			name = cookieName
		}
		if user := (&visitor{tb: t, m: m, cookie: name + "=" + value}).user(); user != "" {
			t.Errorf("%s: the cookie is %q's there", what, user)
		}
		s.wantCalls(t, what)
	}
	plain, id := make([]byte, 76), v.id()
	s.spy.take()
	for _, p := range []*keyring.Purpose{
		s.ring.Purpose(labelSealed), s.ring.Purpose(labelSealed, cookieName), s.ring.Purpose(labelSealed, "prod", cookieName),
		s.ring.Purpose(labelSealed, cookieName, ""), s.ring.Purpose(labelSeen, cookieName, "prod"), s.ring.Purpose("cloakroom sealed session v2", cookieName, "prod"),
	} {
		s.refuse(t, "another purpose", cookieName+"="+seal(p, plain, nil))
	}
	s.refuse(t, "bound to something", cookieName+"="+seal(s.ring.Purpose(labelSealed, cookieName, "prod"), plain, id[:]))
}

// ASVS 11.3.4: each message has a salt, and so a key, and a nonce of its own, from
// many goroutines at once; and the same session never looks the same.
func TestASVS_11_3_4_SaltsAndNoncesOfSealedCookies(t *testing.T) {
	const goroutines, each = 8, 12_500
	s := newSealedSite(t, nil)
	plain := make([]byte, 100)
	var mu sync.Mutex
	salts, nonces := map[[16]byte]bool{}, map[[12]byte]bool{}
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range each {
				raw, err := base64.RawURLEncoding.DecodeString(s.SealPlain(plain))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				salts[[16]byte(raw[1:])] = true
				nonces[[12]byte(raw[22:])] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(salts) != goroutines*each || len(nonces) != goroutines*each {
		t.Errorf("%d messages have %d salts and %d nonces", goroutines*each, len(salts), len(nonces))
	}
}

// FuzzSealedCookie offers any value in both cookies, and any inside under a valid
// seal. Nothing but our own value is a session: what has no valid tag is not read.
// And what has one, whatever it says, is served or refused, never a panic.
func FuzzSealedCookie(f *testing.F) {
	s := newSealedSite(f, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
	v := s.signedIn(f, "u1")
	_, value, _ := strings.Cut(v.cookie, "=")
	seen := s.SealSeen(v.id(), time.Now(), time.Now().Add(time.Hour))
	// VALUE and SEEN stand for our values: a corpus outlives keys.
	insert := strings.NewReplacer("VALUE", value, "SEEN", seen)
	inside := insideOf("u1")
	for _, seed := range []struct {
		session, seen string
		plain         []byte
	}{
		{"VALUE", "SEEN", inside}, {"VALUE", "", nil}, {"SEEN", "VALUE", inside[:75]}, {"VALUEA", "SEENA", inside[:76]},
		{"", "SEEN", slices.Concat(inside, []byte("\x04word\x03\"x\""))}, {"AQ", "AQ", slices.Concat(inside, []byte("\x04word\xff"))},
		{"VALUE=", "SEEN=", make([]byte, 76)}, {strings.Repeat("A", 200), strings.Repeat("A", 88), bytes.Repeat([]byte{0xff}, 90)},
		{"VALUE\n", "\nSEEN", slices.Concat(inside[:65], []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), inside[65:])},
		{"VALUE", "SEEN", slices.Concat(inside[:64], []byte{1}, keyID(s.key), inside[65:])}, {"VALUE", "SEEN", slices.Concat(inside[:64], []byte{255}, inside[65:])},
	} {
		f.Add(seed.session, seed.seen, seed.plain)
	}
	f.Fuzz(func(t *testing.T, session, second string, plain []byte) {
		session, second = insert.Replace(session), insert.Replace(second)
		rec, content, ok := s.OpenSealed(session)
		if ok != (session == value) || !ok && (rec.Data != nil || content.Values != nil) {
			t.Fatalf("%q opens: %v", session, ok)
		}
		for _, main := range []string{session, value, s.SealPlain(plain)} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header["Cookie"] = []string{cookieName + "=" + main, seenName + "=" + second}
			w := httptest.NewRecorder()
			s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				at := cloakroom.FromContext(r.Context())
				if main == value && second == seen && at.UserID() != "u1" {
					t.Fatalf("our own cookie is %q's", at.UserID())
				}
				at.Names()
				at.Identity()
				word.Get(at)
			})).ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Fatalf("answer is %d", w.Code)
			}
		}
	})
}

// sealedGolden is a sealed session as version 1 of the formats has it.
type sealedGolden struct {
	Options cloakroomOptions
	Cookies []string // Cookie lines
	Record  store.Record
	Content cloakroom.Content
	Expires time.Time // with the second cookie
}

type sealedGoldenFile struct {
	Comment string
	Key     string
	Before  string // the key before, under which the last one began
	Goldens []sealedGolden
}

// Sealed sessions of version 1 open, and say what they said.
func TestGoldenSealedVersion1(t *testing.T) {
	const file = "testdata/sealed-v1.json"
	if *writeGolden {
		writeSealed(t, file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var g sealedGoldenFile
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	key, err := keyring.ParseKey(g.Key)
	if err != nil {
		t.Fatal(err)
	}
	before, err := keyring.ParseKey(g.Before)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Goldens) != 4 {
		t.Fatalf("%d sessions, want 4", len(g.Goldens))
	}
	for i, old := range g.Goldens {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(idle / 2)
			s := newSealedSite(t, nil)
			ring := newRing(t, keyring.Generate(), retiring(key))
			m, err := newSealed(s.spy, ring, old.Options.options(s))
			if err != nil {
				t.Fatal(err)
			}
			_, value, _ := strings.Cut(old.Cookies[0], "=")
			if _, _, ok := m.OpenSealed(value); ok == (i == 3) {
				t.Errorf("without the key before it opens: %v", ok)
			}
			if err := ring.Replace(keyring.Generate(), retiring(key), retiring(before)); err != nil {
				t.Fatal(err)
			}
			rec, content, ok := m.OpenSealed(value)
			if rec.Data = nil; !ok || !reflect.DeepEqual(rec, old.Record) || !reflect.DeepEqual(content, old.Content) {
				t.Errorf("opened\n%+v\n%+v, want\n%+v\n%+v", rec, content, old.Record, old.Content)
			}
			v := &visitor{tb: t, m: m, cookie: old.Cookies[0], seen: old.Cookies[1]}
			v.visit(func(s *cloakroom.Session) {
				if s.UserID() != old.Record.UserID || s.ID() != old.Record.ID || !s.Expires().Equal(old.Expires) || !s.Deadline().Equal(old.Record.Deadline) {
					t.Errorf("the session is %q's until %v", s.UserID(), s.Expires())
				}
			})
		})
	}
}

func writeSealed(t *testing.T, file string) {
	key, before := keyring.Generate(), keyring.Generate()
	g := sealedGoldenFile{Comment: "Sealed sessions of version 1 of the formats. They never change. The keys are public: never use them.", Key: key.Text(), Before: before.Text()}
	for i, step := range []struct {
		o cloakroomOptions
		f func(*cloakroom.Session)
	}{
		{cloakroomOptions{cookieName, ""}, func(s *cloakroom.Session) { word.Set(s, "anonymous") }},
		{cloakroomOptions{cookieName, ""}, func(s *cloakroom.Session) {
			s.Login(cloakroom.Identity{UserID: "u1", Epoch: 300, Method: "password", Roles: []string{"admin", "clerk"}})
			word.Set(s, "Mäntel 🧥 <&>")
			s.Flash("one")
		}},
		{cloakroomOptions{"session", "prod.example.com"}, func(s *cloakroom.Session) {
			s.Login(cloakroom.Identity{UserID: "a user of another audience, who has no values"})
		}},
		{cloakroomOptions{cookieName, ""}, func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u2"}) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(1234 * time.Millisecond)
			s := newSealedSite(t, nil)
			ring := newRing(t, key)
			m, err := newSealed(s.spy, ring, step.o.options(s))
			if err != nil {
				t.Fatal(err)
			}
			v := &visitor{tb: t, m: m}
			if i == 3 {
				s.ring = ring
				s.replace(t, before)
				v.visit(step.f)
				s.replace(t, key, retiring(before))
				v.user()
			} else {
				v.visit(step.f)
			}
			time.Sleep(idle / 3)
			old := sealedGolden{Options: step.o}
			v.user()
			v.visit(func(s *cloakroom.Session) { old.Expires = s.Expires() })
			old.Cookies = []string{v.cookie, v.seen}
			_, value, _ := strings.Cut(v.cookie, "=")
			old.Record, old.Content, _ = m.OpenSealed(value)
			old.Record.Data = nil
			g.Goldens = append(g.Goldens, old)
		})
	}
	b, err := json.MarshalIndent(g, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}
