package cloakroom_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

const cookieName = cloakroom.DefaultCookieName

// alphabet is that of base64url.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// answer is all that a client sees of a response.
func answer(w *httptest.ResponseRecorder) string {
	resp := w.Result()
	var b strings.Builder
	fmt.Fprintln(&b, resp.StatusCode)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		fmt.Fprintln(&b, name, resp.Header[name])
	}
	b.WriteString(w.Body.String())
	return b.String()
}

// who answers with all that a session says.
func who(w http.ResponseWriter, r *http.Request) {
	s := cloakroom.FromContext(r.Context())
	fmt.Fprintln(w, s.UserID(), s.ID(), s.New(), s.Late(), s.Names(), s.Created(), s.AuthTime())
}

// refusal checks that Cookie headers are refused: the visitor is a stranger, the
// store was not asked, nothing is set, and the answer is that of every other
// refusal.
type refusal struct {
	*site
	want string // the answer to garbage
}

func newRefusal(tb testing.TB, opts *cloakroom.Options) *refusal {
	tb.Helper()
	return refusalOf(tb, newSite(tb, opts))
}

func refusalOf(tb testing.TB, s *site) *refusal {
	tb.Helper()
	r := &refusal{site: s}
	v := &visitor{tb: tb, m: r.Manager, cookie: cookieName + "=garbage"}
	r.want = answer(v.do(who))
	if !strings.HasPrefix(r.want, "200\n") || strings.Contains(r.want, "Set-Cookie") {
		tb.Fatalf("garbage is answered %s", r.want)
	}
	return r
}

func (s *refusal) refuse(tb testing.TB, what string, lines ...string) {
	tb.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header["Cookie"] = lines
	v := &visitor{tb: tb, m: s.Manager}
	if got := answer(v.send(r, who)); got != s.want {
		tb.Errorf("%s: cookie %.200q is answered\n%s\nwant\n%s", what, lines, got, s.want)
	}
	s.wantCalls(tb, what)
}

// encode returns the cookie of the default name with these bytes.
func encode(raw []byte) string { return cookieName + "=" + base64.RawURLEncoding.EncodeToString(raw) }

func TestASVS_9_1_1_EveryFlippedBitIsRefused(t *testing.T) {
	s := newRefusal(t, nil)
	v := s.signedIn(t, "u1")
	raw, _ := v.token()
	for i := range len(raw) * 8 {
		forged := slices.Clone(raw)
		forged[i/8] ^= 1 << (i % 8)
		s.refuse(t, fmt.Sprintf("bit %d", i), encode(forged))
	}
	if v.user() != "u1" {
		t.Error("the cookie itself is refused")
	}
}

func TestASVS_9_1_1_EveryTruncationIsRefused(t *testing.T) {
	s := newRefusal(t, nil)
	v := s.signedIn(t, "u1")
	raw, _ := v.token()
	for n := range raw {
		s.refuse(t, fmt.Sprintf("first %d bytes", n), encode(raw[:n]))
		s.refuse(t, fmt.Sprintf("last %d bytes", n), encode(raw[len(raw)-n:]))
		// A shorter tag must not be a weaker one.
		if zeros := append(slices.Clone(raw[:n]), make([]byte, len(raw)-n)...); !slices.Equal(zeros, raw) {
			s.refuse(t, fmt.Sprintf("%d bytes and zeros", n), encode(zeros))
		}
	}
	for n := len(cookieName) + 1; n < len(v.cookie); n++ {
		s.refuse(t, fmt.Sprintf("first %d characters", n), v.cookie[:n])
	}
	for _, more := range []string{"A", "=", "==", "AA", "AAAA", "\n", "\r\n", " x", "%00", "\x00"} {
		s.refuse(t, "with "+more, v.cookie+more)
	}
}

// 53 bytes are 424 bits in 71 characters of six bits: two bits of the last one
// say nothing, and only one of the four spellings is ours.
func TestPromise06_OneSpelling(t *testing.T) {
	s := newRefusal(t, nil)
	v := s.signedIn(t, "u1")
	for !strings.ContainsAny(v.cookie[len(cookieName):], "-_") { // where the alphabets differ
		v = s.signedIn(t, "u1")
	}
	raw, _ := v.token()
	last := strings.IndexByte(alphabet, v.cookie[len(v.cookie)-1])
	spellings := 0
	for i := range alphabet {
		c := v.cookie[:len(v.cookie)-1] + alphabet[i:i+1]
		loose, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(c, cookieName+"="))
		if err == nil && slices.Equal(loose, raw) {
			spellings++
		}
		if i != last {
			s.refuse(t, "other last character", c)
		}
	}
	if spellings != 4 {
		t.Errorf("the test met %d spellings of one value, want 4", spellings)
	}
	value := strings.TrimPrefix(v.cookie, cookieName+"=")
	for what, spelled := range map[string]string{
		"padding":           value + "=",
		"standard alphabet": base64.StdEncoding.EncodeToString(raw),
		"plus and slash":    strings.NewReplacer("-", "+", "_", "/").Replace(value),
		"line end inside":   value[:30] + "\n" + value[30:],
		"line end for last": value[:70] + "\n",
		"quotes":            `"` + value + `"`,
		"percent":           "%" + fmt.Sprintf("%02X", value[0]) + value[1:],
		"hex":               fmt.Sprintf("%x", raw),
		"raw bytes":         string(raw),
		"space before":      " " + value,
		"other case":        strings.ToLower(value),
	} {
		s.refuse(t, what, cookieName+"="+spelled)
	}
	if v.user() != "u1" {
		t.Error("the cookie itself is refused")
	}
}

// TestAttack_A38_NamesThatLookLikeOurs: a browser holds other names to other
// rules, so a prefix that is spelled differently, encoded or dressed up is another
// cookie (RFC 6265bis §4.1.3.2, and §5.7 for nameless ones).
func TestAttack_A38_NamesThatLookLikeOurs(t *testing.T) {
	s := newRefusal(t, nil)
	v := s.signedIn(t, "u1")
	value := strings.TrimPrefix(v.cookie, cookieName+"=")
	r := httptest.NewRequest("GET", "/", nil)
	stranger := answer((&visitor{tb: t, m: s.Manager}).send(r, who))
	for _, name := range []string{
		"__host-session", "__HOST-SESSION", "__Host-Session", "__Host-SESSION",
		"__%48ost-session", "%5F%5FHost-session", "__Host%2Dsession",
		"\u00a0__Host-session", "\u00a0 __Host-session", "__Host-session\u00a0", "\x85__Host-session", "\x0b__Host-session",
		"\x00__Host-session", "__Host-session\x00", "__Host-session ", "__Host-session\t",
		"=__Host-session", `"__Host-session"`, "$__Host-session", "__Host-session[0]", "__Host-session.0", "__Host_session",
		"session", "__Secure-session", "__Host-sessio", "__Host-sessions", "__Host-", "Host-session",
		"\u2028__Host-session", "\ufeff__Host-session", "__Host-\u017fession", "__Ho\u017ft-session",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = []string{name + "=" + value}
		if got := answer((&visitor{tb: t, m: s.Manager}).send(r, who)); got != stranger {
			t.Errorf("name %q is answered\n%s", name, got)
		}
		s.wantCalls(t, name)
	}
	if v.user() != "u1" {
		t.Error("the cookie itself is refused")
	}
}

// TestAttack_A38_TwoCookies: a sibling host plants one. Beside garbage ours is
// taken; of two that are both ours nobody can say who set which.
func TestAttack_A38_TwoCookies(t *testing.T) {
	s := newRefusal(t, nil)
	alice, mallory := s.signedIn(t, "alice"), s.signedIn(t, "mallory")
	got := func(lines ...string) string {
		t.Helper()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = lines
		var user string
		v := &visitor{tb: t, m: s.Manager}
		v.send(r, func(_ http.ResponseWriter, r *http.Request) { user = cloakroom.FromContext(r.Context()).UserID() })
		return user
	}
	for _, lines := range [][]string{
		{alice.cookie + "; " + mallory.cookie},
		{mallory.cookie + "; " + alice.cookie},
		{alice.cookie, mallory.cookie},
		{mallory.cookie, alice.cookie},
		{"a=b; " + alice.cookie, "c=d; " + mallory.cookie + "; e=f"},
		{alice.cookie + "; " + mallory.cookie + "; " + alice.cookie},
	} {
		s.refuse(t, "two valid cookies", lines...)
	}
	if n := len(s.log.events(t, "two_cookies")); n != 6 {
		t.Errorf("%d log lines about two cookies, want 6", n)
	}
	for _, lines := range [][]string{
		{alice.cookie + "; " + alice.cookie},
		{alice.cookie, alice.cookie},
		{cookieName + "=planted; " + alice.cookie},
		{alice.cookie + "; " + cookieName + "=planted"},
		{cookieName + "=", cookieName + "=" + strings.Repeat("A", 71), alice.cookie},
		{strings.Replace(mallory.cookie, "__Host-", "__host-", 1) + "; " + alice.cookie},
		{"a=b;" + alice.cookie + ";c=d"}, // no space behind the semicolon
		{";;" + alice.cookie + ";"},
	} {
		if user := got(lines...); user != "alice" {
			t.Errorf("with %q the user is %q", lines, user)
		}
	}
}

func TestAttack_A06_EmptyAndBlankCookies(t *testing.T) {
	s := newRefusal(t, nil)
	key := s.key.ID()
	for what, value := range map[string]string{
		"empty": "", "quotes": `""`, "space": " ", "spaces": strings.Repeat(" ", 71), "zeros": strings.Repeat("A", 71),
		"null": "null", "undefined": "undefined", "zero": "0", "false": "false", "nil": "<nil>",
		"version and zeros": base64.RawURLEncoding.EncodeToString(append([]byte{1}, make([]byte, 52)...)),
		"key and zeros":     base64.RawURLEncoding.EncodeToString(slices.Concat([]byte{1}, key[:], make([]byte, 48))),
		"zero version":      base64.RawURLEncoding.EncodeToString(slices.Concat([]byte{0}, key[:], make([]byte, 48))),
	} {
		s.refuse(t, what, cookieName+"="+value)
	}
	stranger := answer((&visitor{tb: t, m: s.Manager}).do(who))
	for _, line := range []string{"", "=", ";", "; ; ;", cookieName, "=" + cookieName, cookieName + ";", " "} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = []string{line}
		if got := answer((&visitor{tb: t, m: s.Manager}).send(r, who)); got != stranger {
			t.Errorf("Cookie: %q is answered\n%s", line, got)
		}
		s.wantCalls(t, line)
	}
}

func TestAttack_A08_CookiesThatAreNoIDs(t *testing.T) {
	s := newRefusal(t, nil)
	for _, value := range []string{
		"../../../../etc/passwd", "..%2f..%2fx", `..\..\x`, "/etc/passwd", "file:///etc/passwd", "a b", "user:1", "session:1", "*", "?",
		"a\r\nSet-Cookie: x=y", "a\rb", "a\nb", "\x00", "a\x00b", "\r\n\r\nflush_all\r\n", "get x\r\n",
		"' OR '1'='1", `"; DROP TABLE sessions; --`, "${jndi:ldap://x}", "{{7*7}}", "<script>",
		strings.Repeat("A", 300), strings.Repeat("A", 70), strings.Repeat("A", 72), strings.Repeat("../", 24),
		strings.Repeat("é", 36), strings.Repeat("\xff", 71), strings.Repeat("%", 71), strings.Repeat("\n", 71),
	} {
		s.refuse(t, value, cookieName+"="+strings.ReplaceAll(value, ";", ""))
	}
}

// TestAttack_A14_NoOtherDecoder: what other systems have put into session cookies
// is garbage here, however well it is made.
func TestAttack_A14_NoOtherDecoder(t *testing.T) {
	s := newRefusal(t, nil)
	v := s.signedIn(t, "admin")
	raw, token := v.token()
	plain, _ := json.Marshal(map[string]any{"user_id": "admin", "admin": true, "exp": 9999999999})
	b64 := base64.RawURLEncoding.EncodeToString
	key := s.key.ID()
	byEmptyKey := hmac.New(sha256.New, nil)
	byEmptyKey.Write(raw[:37])
	byKeyID := hmac.New(sha256.New, key[:])
	byKeyID.Write(raw[:37])
	unkeyed := sha256.Sum256(raw[:37])
	for what, value := range map[string]string{
		"JSON":                string(plain),
		"base64 of JSON":      base64.StdEncoding.EncodeToString(plain),
		"JSON and signature":  b64(plain) + "." + b64(raw[37:]),
		"JWT of alg none":     b64([]byte(`{"alg":"none"}`)) + "." + b64(plain) + ".",
		"gob":                 b64([]byte{0x0e, 0xff, 0x81, 0x04, 0x01, 0x02, 0xff, 0x82}),
		"pickle":              b64([]byte("\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}.")),
		"token alone":         b64(token),
		"token and key":       b64(raw[1:37]),
		"no tag":              b64(raw[:37]),
		"version 0":           b64(slices.Concat([]byte{0}, raw[1:])),
		"version 2":           b64(slices.Concat([]byte{2}, raw[1:])),
		"zero key":            b64(slices.Concat(raw[:1], make([]byte, 4), raw[5:])),
		"empty tag":           b64(slices.Concat(raw[:37], make([]byte, 16))),
		"tag by an empty key": b64(slices.Concat(raw[:37], byEmptyKey.Sum(nil)[:16])),
		"tag by the key's ID": b64(slices.Concat(raw[:37], byKeyID.Sum(nil)[:16])),
		"hash for a tag":      b64(slices.Concat(raw[:37], unkeyed[:16])),
		"eight bytes of tag":  b64(raw[:45]),
		"long tag":            b64(append(slices.Clone(raw), make([]byte, 16)...)),
		"sealed by the store": b64(append(s.spy.live(t)[0].Data, make([]byte, 53)...)[:53]),
	} {
		s.refuse(t, what, cookieName+"="+value)
	}
	if v.user() != "admin" {
		t.Error("the cookie itself is refused")
	}
}

// sign returns a cookie of the token, signed by a purpose of the ring as a
// session's cookie would be.
func sign(p *keyring.Purpose, key keyring.KeyID, token []byte) string {
	signed := slices.Concat([]byte{1}, key[:], token)
	_, tag := p.Sign(signed)
	return base64.RawURLEncoding.EncodeToString(append(signed, tag[:16]...))
}

// TestASVS_9_2_2_TokensOfOtherPurposes: everything that the same keys sign or
// seal for another purpose is no session cookie.
func TestASVS_9_2_2_TokensOfOtherPurposes(t *testing.T) {
	s := newRefusal(t, nil)
	v := s.signedIn(t, "u1")
	_, token := v.token()
	const label = "cloakroom session cookie v1"
	if got, want := cookieName+"="+sign(s.ring.Purpose(label, cookieName, ""), s.key.ID(), token), v.cookie; got != want {
		t.Fatalf("the test signs %q, the Manager %q", got, want)
	}
	for what, p := range map[string]*keyring.Purpose{
		"data":                s.ring.Purpose("cloakroom session data v1", ""),
		"info":                s.ring.Purpose("cloakroom session info v1", ""),
		"csrf":                s.ring.Purpose("cloakroom csrf v1", cookieName, ""),
		"later version":       s.ring.Purpose("cloakroom session cookie v2", cookieName, ""),
		"no name":             s.ring.Purpose(label, "", ""),
		"no context":          s.ring.Purpose(label),
		"name alone":          s.ring.Purpose(label, cookieName),
		"one more":            s.ring.Purpose(label, cookieName, "", ""),
		"other name":          s.ring.Purpose(label, "session", ""),
		"name in other case":  s.ring.Purpose(label, strings.ToLower(cookieName), ""),
		"other audience":      s.ring.Purpose(label, cookieName, "staging"),
		"swapped":             s.ring.Purpose(label, "", cookieName),
		"run together":        s.ring.Purpose(label + cookieName),
		"label of another":    s.ring.Purpose("session cookie", cookieName, ""),
		"with a longer label": s.ring.Purpose(label+"\x00", cookieName, ""),
	} {
		s.refuse(t, what, cookieName+"="+sign(p, s.key.ID(), token))
		sealed := p.Seal(token, nil) // 65 bytes, and of all lengths around
		for n := 40; n <= len(sealed); n++ {
			s.refuse(t, what+" sealed", encode(sealed[:n]))
		}
	}
}

// deployments share keys, and some also a store, but not their audience, or not
// the name of their cookie.
func TestASVS_9_2_3_OtherAudiencesAndNames(t *testing.T) {
	base := newSite(t, &cloakroom.Options{Audience: "prod.example.com"})
	v := base.signedIn(t, "u1")
	value := strings.TrimPrefix(v.cookie, cookieName+"=")
	for what, opts := range map[string]cloakroom.Options{
		"staging":                  {Audience: "staging.example.com"},
		"no audience":              {},
		"audience in other case":   {Audience: "PROD.example.com"},
		"audience cut":             {Audience: "prod.example.co"},
		"other name":               {Audience: "prod.example.com", CookieName: "__Host-sid"},
		"other prefix":             {Audience: "prod.example.com", CookieName: "__Secure-session"},
		"name and audience as one": {Audience: "-sessionprod.example.com", CookieName: "__Host"},
	} {
		opts.Logger = base.Logger()
		other := newManager(t, base.spy, base.ring, &opts)
		name := opts.CookieName
		if name == "" {
			name = cookieName
		}
		probe := &visitor{tb: t, m: other, cookie: name + "=" + value}
		if probe.user() != "" {
			t.Errorf("%s: the cookie is a session there", what)
		}
		base.wantCalls(t, what)
	}
	if v.user() != "u1" {
		t.Error("at home the cookie is refused")
	}
}

// TestAttack_A16_OtherDeployments: other keys, or the same ones for something else.
func TestAttack_A16_OtherDeployments(t *testing.T) {
	s := newRefusal(t, nil)
	for range 50 {
		other := newSite(t, nil)
		s.refuse(t, "other keys", other.signedIn(t, "admin").cookie)
	}
	// Their key's ID in our cookie, and ours in theirs.
	v, other := s.signedIn(t, "u1"), newSite(t, nil)
	raw, token := v.token()
	theirs := other.key.ID()
	s.refuse(t, "unknown key", encode(slices.Concat(raw[:1], theirs[:], raw[5:])))
	ours := s.key.ID()
	s.refuse(t, "signed by other keys under our key's ID", cookieName+"="+
		sign(other.ring.Purpose("cloakroom session cookie v1", cookieName, ""), ours, token))
}

// TestPromise06_AllRefusalsLookTheSame: neither the answer nor the log says by
// how much a forgery has missed.
func TestPromise06_AllRefusalsLookTheSame(t *testing.T) {
	s := newRefusal(t, nil)
	v := s.signedIn(t, "u1")
	raw, _ := v.token()
	forged := slices.Clone(raw)
	forged[52] ^= 1
	lines := func() []map[string]any { return s.log.events(t, "bad_cookie") }
	before := len(lines())
	for _, c := range []string{cookieName + "=x", encode(forged), encode(raw[:52]), cookieName + "="} {
		s.refuse(t, "forgery", c)
	}
	all := lines()[before:]
	for _, line := range all {
		delete(line, "time")
		if fmt.Sprint(line) != fmt.Sprint(all[0]) {
			t.Errorf("log lines differ: %v and %v", all[0], line)
		}
	}
	if len(all) != 4 || all[0]["addr"] != "192.0.2.1" || all[0]["level"] != "INFO" {
		t.Errorf("log lines are %v", all)
	}
}

// TestAttack_A39_TooManyAndTooLarge: more than a browser sends is refused within
// bounds, never an error.
func TestAttack_A39_TooManyAndTooLarge(t *testing.T) {
	s := newRefusal(t, nil)
	v := s.signedIn(t, "u1")
	for _, size := range []int{1, 70, 71, 72, 300, 4096, 8192, 1 << 16, 2 << 20} {
		s.refuse(t, fmt.Sprint(size, " bytes"), cookieName+"="+strings.Repeat("A", size))
	}
	for _, n := range []int{9, 100, 3001, 10_000} {
		many := strings.Repeat(cookieName+"=x; ", n)
		s.refuse(t, fmt.Sprint(n, " cookies of our name"), many)
		// Behind eight of our name nobody looks any further.
		s.refuse(t, fmt.Sprint("ours behind ", n), many+v.cookie)
		// Others do not count: net/http would read none of more than 3,000.
		probe := &visitor{tb: t, m: s.Manager, cookie: strings.Repeat("a=b; ", n) + v.cookie}
		if probe.user() != "u1" {
			t.Errorf("behind %d cookies of other names ours is not found", n)
		}
		s.spy.take()
	}
}

// TestAttack_A40_MalformedNeighbours: what stands beside our cookie neither hides
// it nor makes an error.
func TestAttack_A40_MalformedNeighbours(t *testing.T) {
	s := newRefusal(t, nil)
	v := s.signedIn(t, "u1")
	for _, junk := range []string{
		"a=\x00", "a=\x01\x1f\x7f", "a=\tb", `a=b\c`, "a=\xff\xfe", `a="b`, `a="b"c`, `a=b"`, "a=b,c", "a b=c", "=x", "x", "a=b=c",
		"\x00=a", "(a)=b", "a=é", "é=a", `a="x; y"`, "a={\"b\":\"c\"}", "a=%", strings.Repeat("x", 100_000),
	} {
		for _, line := range []string{junk + "; " + v.cookie, v.cookie + "; " + junk, junk + ";" + v.cookie + ";" + junk} {
			probe := &visitor{tb: t, m: s.Manager, cookie: line}
			if probe.user() != "u1" {
				t.Errorf("beside %.50q our cookie is not found", junk)
			}
		}
		s.spy.take()
		s.refuse(t, "as a value", cookieName+"=x"+strings.ReplaceAll(junk, ";", ""))
	}
	// The same bytes inside our own cookie.
	for i, c := range []string{"\x00", "\t", `\`, "\xff", `"`, ",", " "} {
		at := len(cookieName) + 1 + i*9
		s.refuse(t, "inside", v.cookie[:at]+c+v.cookie[at:])
		s.refuse(t, "instead", v.cookie[:at]+c+v.cookie[at+1:])
	}
}

// TestASVS_7_2_1_NothingButTheCookieSpeaksForAVisitor: nothing that a client says beside
// the cookie counts.
func TestASVS_7_2_1_NothingButTheCookieSpeaksForAVisitor(t *testing.T) {
	both(t, testASVS_7_2_1_NothingButTheCookieSpeaksForAVisitor)
}

func testASVS_7_2_1_NothingButTheCookieSpeaksForAVisitor(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	r := httptest.NewRequest("GET", "/?user=u1&authenticated=true&__Host-session=x", nil)
	for name, value := range map[string]string{
		"X-Forwarded-User": "u1", "Remote-User": "u1", "Authorization": "Bearer u1", "X-Session-Id": "u1",
		"Cookie": "logged_in=1; user=u1; admin=true",
	} {
		r.Header.Set(name, value)
	}
	v := s.visitor(t)
	v.send(r, func(w http.ResponseWriter, r *http.Request) {
		if s := cloakroom.FromContext(r.Context()); s.UserID() != "" || !s.New() {
			t.Error("a client has made itself somebody")
		}
	})
	s.wantCalls(t, "claims without a session")
}
