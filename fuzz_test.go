package cloakroom_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
)

// FuzzCookie sends any two Cookie lines. Nothing but exactly our value under
// exactly our name is ever a session, and whatever net/http reads as that, once
// and without quotes, is one.
func FuzzCookie(f *testing.F) {
	s := newSite(f, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
	v := s.signedIn(f, "u1")
	value := strings.TrimPrefix(v.cookie, cookieName+"=")
	// OURS stands for the valid cookie, VALUE for its value: a corpus outlives keys.
	insert := strings.NewReplacer("OURS", v.cookie, "VALUE", value)
	for _, seed := range [][2]string{
		{"OURS", ""}, {"a=b; OURS; c=d", "e=f"}, {"a=b", "OURS"}, {"OURS", "OURS"}, {"OURS;OURS", ""},
		{"__Host-session=x; OURS", ""}, {"__host-session=VALUE", ""}, {`__Host-session="VALUE"`, ""},
		{"__Host-session =VALUE", ""}, {"__Host-session= VALUE", ""}, {"=OURS", ""}, {"\xa0OURS", ""},
		{"__Host-session=VALUE=", ""}, {"__Host-session=VALUEA", "__Host-session"}, {"OURS,OURS", ""},
		{"OURS\x00", "\x00OURS"}, {"\tOURS\t", ";;;"}, {`a="; OURS`, ""}, {"a=\x00; OURS", "="},
		{strings.Repeat("__Host-session=x;", 8) + "OURS", ""}, {strings.Repeat("__Host-session=x;", 7) + "OURS", ""},
		{"$Version=1; OURS; $Path=/", "Max-Age=9"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		lines := []string{insert.Replace(first), insert.Replace(second)}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = lines
		s.spy.take()
		var user string
		w := (&visitor{tb: t, m: s.Manager}).send(r, func(_ http.ResponseWriter, r *http.Request) {
			user = cloakroom.FromContext(r.Context()).UserID()
		})
		if w.Code != http.StatusOK || w.Header().Get("Set-Cookie") != "" {
			t.Fatalf("answer is %d %v", w.Code, w.Header())
		}
		calls := 0
		for _, op := range s.spy.take() {
			if op != "touch" { // which comes once in three minutes of fuzzing
				calls++
			}
		}
		if (user == "u1") != (calls == 1) || calls > 1 || user != "" && user != "u1" {
			t.Fatalf("user %q with %d calls of the store", user, calls)
		}
		if whole := pairs(lines); user == "u1" && !slices.Contains(whole, v.cookie) {
			t.Fatalf("a session from %q", whole)
		}
		// The other way around, net/http judges.
		read := r.CookiesNamed(cookieName)
		exact := len(read) > 0 && len(read) <= 8
		for _, c := range read {
			exact = exact && c.Value == value && !c.Quoted
		}
		// It trims line ends, which no header has, and the space behind a name.
		all := strings.Join(lines, "")
		loose := strings.ContainsAny(all, "\r\n") || strings.Contains(all, cookieName+" ") || strings.Contains(all, cookieName+"\t")
		if exact && !loose && len(candidates(lines)) <= 8 && user != "u1" {
			t.Fatalf("net/http reads %v, and the visitor is a stranger", read)
		}
	})
}

// pairs cuts Cookie lines as RFC 6265 §5.4 joins them.
func pairs(lines []string) []string {
	var out []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			out = append(out, strings.Trim(pair, " \t"))
		}
	}
	return out
}

// candidates are the pairs of our name.
func candidates(lines []string) []string {
	return slices.DeleteFunc(pairs(lines), func(p string) bool { return !strings.HasPrefix(p, cookieName+"=") })
}

// FuzzRecord parses anything as the opened Data of a record, and serves it: what
// it is not able to read is a stranger's, never a panic.
func FuzzRecord(f *testing.F) {
	s := newSite(f, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
	v := s.signedIn(f, "u1")
	_, raw := v.token()
	token := [32]byte(raw)
	rec := s.spy.live(f)[0]
	head := "\x01\x00\x00\x00\x00\x00\x00\x03\xe8"
	for _, seed := range []string{
		"", "\x01", head, head + "\x00", "\x02" + head[1:] + "\x00",
		head + "\x03\x07\x01p", head + "\x06\x07\x01p\x02ab" + "\x04word\x03\"x\"", head + "\x03\x07\x05p",
		head + "\x00\x04word\x03\"x\"\x05count\x0242", head + "\x00\x04word", head + "\x00\x04word\xff",
		head + "\x00\x00\x00", head + "\x01\x80", head + "\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", head + "\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		head + "\x00\x0fcloakroom.flash\x05[\"m\"]", head + "\x00\x04word\x04null", head + "\x00\x05count\x03\"x\"",
		"\x01\xff\xff\xff\xff\xff\xff\xff\xff\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		content, err := cloakroom.ParseContent("u1", plain)
		sealed, info := s.SealRecord(token, rec, plain), s.SealInfo(rec, plain)
		s.spy.lie(func(r store.Record) store.Record {
			r.Data, r.Info = sealed, info
			return r
		})
		defer s.spy.lie(nil)
		defer s.spy.forget()
		probe := &visitor{tb: t, m: s.Manager, cookie: v.cookie}
		probe.visit(func(sess *cloakroom.Session) {
			if (err == nil) != (sess.UserID() == "u1") {
				t.Errorf("parsing says %v, the user is %q", err, sess.UserID())
			}
			if err == nil && !sess.AuthTime().Equal(content.AuthTime) {
				t.Errorf("proven at %v, want %v", sess.AuthTime(), content.AuthTime)
			}
			for _, name := range sess.Names() {
				if _, ok := content.Values[name]; !ok || !sess.Has(name) {
					t.Errorf("value %q came from nowhere", name)
				}
			}
			word.Get(sess)
			count.Get(sess)
			sess.Identity()
			sess.Flashes()
		})
		if _, err := s.List(context.Background(), "u1"); err != nil {
			t.Error(err)
		}
	})
}

// FuzzSet writes values of any name and content and reads them back.
func FuzzSet(f *testing.F) {
	f.Add("a", "x", "b", "y")
	f.Add("a", "x", "a", "")
	f.Add("\x00", "\xff", "é", "\u2028")
	f.Add(strings.Repeat("n", 128), strings.Repeat("v", 70_000), "b", "<>&")
	f.Add("cloakroom.x", "1", "word", "2")
	f.Fuzz(func(t *testing.T, name1, val1, name2, val2 string) {
		if name1 == "" || name2 == "" || len(name1) > 128 || len(name2) > 128 {
			return
		}
		k1, k2 := cloakroom.NewKey[[]byte](name1), cloakroom.NewKey[[]byte](name2)
		v := newSite(t, nil).visitor(t)
		w := v.do(func(_ http.ResponseWriter, r *http.Request) {
			s := cloakroom.FromContext(r.Context())
			k1.Set(s, []byte(val1))
			k2.Set(s, []byte(val2))
		})
		// Base64 makes four bytes of three.
		if large := (len(val1)+len(val2))*4/3+400 > cloakroom.DefaultMaxBytes; w.Code != http.StatusOK && !large {
			t.Fatalf("answer is %d", w.Code)
		}
		if w.Code != http.StatusOK {
			return
		}
		v.visit(func(s *cloakroom.Session) {
			got1, ok1 := k1.Get(s)
			got2, ok2 := k2.Get(s)
			if name1 == name2 {
				val1 = val2
			}
			if !ok1 || !ok2 || string(got1) != val1 || string(got2) != val2 {
				t.Errorf("values came back as %q %v and %q %v", got1, ok1, got2, ok2)
			}
			k1.Delete(s)
			if k1.GetOr(s, nil) != nil {
				t.Error("a deleted value is still there")
			}
		})
	})
}
