package cloakroom_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// writeGolden makes the golden file of the present version. One that has been
// released is never written again: what it holds has to open for ever.
var writeGolden = flag.Bool("write-golden", false, "write testdata/v1.json")

// golden is a session as version 1 of the formats keeps it: the cookie, and Data
// and Info of the record.
type golden struct {
	Options cloakroomOptions
	Token   []byte
	Cookie  string // the Cookie header
	Record  store.Record
	Content cloakroom.Content
	Info    cloakroom.Info
	Flashes []string
}

// cloakroomOptions are the options that formats depend on.
type cloakroomOptions struct{ CookieName, Audience string }

type goldenFile struct {
	Comment string
	Key     string // a key that everybody knows: it is for these sessions alone
	Goldens []golden
}

func (o cloakroomOptions) options(s *site) *cloakroom.Options {
	return &cloakroom.Options{CookieName: o.CookieName, Audience: o.Audience, Logger: s.Logger()}
}

// Records and cookies of version 1 open, and say what they said.
func TestGoldenVersion1(t *testing.T) {
	const file = "testdata/v1.json"
	if *writeGolden {
		write(t, file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var g goldenFile
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	key, err := keyring.ParseKey(g.Key)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Goldens) != 3 {
		t.Fatalf("%d sessions, want 3", len(g.Goldens))
	}
	for _, old := range g.Goldens {
		// The bubble's clock stands where the sessions were made: in 2000.
		synctest.Test(t, func(t *testing.T) { opens(t, key, old) })
	}
	// A retired key opens what it has sealed, under another active one.
	for _, old := range g.Goldens {
		synctest.Test(t, func(t *testing.T) { opens(t, keyring.Generate(), old, retiring(key)) })
	}
}

// opens checks one golden session.
func opens(t *testing.T, active keyring.Key, old golden, others ...keyring.Key) {
	s := newSite(t, nil)
	s.ring = newRing(t, active, others...)
	m := newManager(t, s.spy, s.ring, old.Options.options(s))
	token := [32]byte(old.Token)

	content, info, err := m.OpenRecord(token, old.Record)
	if err != nil {
		t.Fatal(err)
	}
	old.Info.Deadline = old.Record.Deadline // it is the record's, and not in the seal
	if !reflect.DeepEqual(content, old.Content) || !reflect.DeepEqual(info, old.Info) {
		t.Errorf("opened\n%+v\n%+v, want\n%+v\n%+v", content, info, old.Content, old.Info)
	}
	if got := old.Options.CookieName + "=" + m.EncodeCookie(token); len(others) == 0 && got != old.Cookie {
		t.Errorf("the token is now encoded\n%s, was\n%s", got, old.Cookie)
	}
	// And the whole way of a request.
	rec := old.Record
	rec.Version = 0
	if err := s.spy.Put(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	v := &visitor{tb: t, m: m, cookie: old.Cookie}
	v.visit(func(s *cloakroom.Session) {
		if !reflect.DeepEqual(s.Identity(), old.Content.Identity) || !s.AuthTime().Equal(old.Content.AuthTime) || s.ID() != old.Record.ID {
			t.Errorf("the session is %+v's of %v", s.Identity(), s.AuthTime())
		}
		for _, name := range s.Names() {
			if raw, ok := cloakroom.NewKey[json.RawMessage](name).Get(s); !ok || string(raw) != old.Content.Values[name] {
				t.Errorf("%s is %s, want %s", name, raw, old.Content.Values[name])
			}
		}
		if got := s.Flashes(); !slices.Equal(got, old.Flashes) {
			t.Errorf("flashes are %q, want %q", got, old.Flashes)
		}
	})
}

// write makes the sessions of the golden file.
func write(t *testing.T, file string) {
	key := keyring.Generate()
	g := goldenFile{Comment: "Sessions of version 1 of the formats. They never change. The key is public: never use it.", Key: key.Text()}
	for _, step := range []struct {
		o cloakroomOptions
		f func(*cloakroom.Session)
	}{
		{cloakroomOptions{cookieName, ""}, func(s *cloakroom.Session) { word.Set(s, "anonymous") }},
		{cloakroomOptions{cookieName, ""}, func(s *cloakroom.Session) {
			s.Login(cloakroom.Identity{UserID: "u1", Epoch: 300, Method: "password", Roles: []string{"admin", "clerk"}})
			word.Set(s, "Mäntel 🧥 <&>")
			count.Set(s, -7)
			cloakroom.NewKey[map[string][]string]("map").Set(s, map[string][]string{"a": {"b", ""}, "c": nil})
			s.Flash("one")
			s.Flash("two")
		}},
		{cloakroomOptions{"session", "prod.example.com"}, func(s *cloakroom.Session) {
			s.Login(cloakroom.Identity{UserID: "a user of another audience, who has no values"})
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(1234 * time.Millisecond)
			s := newSite(t, nil)
			m := newManager(t, s.spy, newRing(t, key), step.o.options(s))
			v := &visitor{tb: t, m: m, header: http.Header{"User-Agent": {"Golden/1.0"}}}
			v.visit(step.f)
			_, token := v.token()
			rec := s.spy.live(t)[0]
			content, info, err := m.OpenRecord([32]byte(token), rec)
			if err != nil {
				t.Fatal(err)
			}
			old := golden{Options: step.o, Token: token, Cookie: v.cookie, Record: rec, Content: content, Info: info}
			v.visit(func(s *cloakroom.Session) { old.Flashes = s.Flashes() })
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
