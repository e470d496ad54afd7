package cloakroom_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// dump is everything that a store has ever been given, in the form in which a
// backup or a replica would show it.
func dump(recs []store.Record) []byte {
	var b bytes.Buffer
	for _, r := range recs {
		b.Write(r.ID[:])
		fmt.Fprintln(&b, r.ID, r.ID.Handle(), r.Version, r.UserID, r.Created, r.Seen, r.Expires, r.Deadline, r.Ended)
		b.Write(r.Info)
		b.Write(r.Data)
	}
	return b.Bytes()
}

// spellings are the forms in which a secret could lie in a dump.
func spellings(secret []byte) [][]byte {
	return [][]byte{
		secret,
		[]byte(base64.RawURLEncoding.EncodeToString(secret)),
		[]byte(base64.StdEncoding.EncodeToString(secret)),
		[]byte(hex.EncodeToString(secret)),
		[]byte(strings.ToUpper(hex.EncodeToString(secret))),
	}
}

func TestPromise05_TheStoreSeesNeitherTokenNorPlaintext(t *testing.T) {
	s := newSite(t, nil)
	v := s.visitor(t)
	v.header = http.Header{"User-Agent": {"Canary-Agent/1.0"}}
	secrets := [][]byte{
		[]byte("canary-word"), []byte("canary-flash"), []byte("canary-method"), []byte("canary-role"),
		[]byte("Canary-Agent"), []byte("192.0.2.1"), // where httptest's requests come from
	}
	steps := []func(*cloakroom.Session){
		func(s *cloakroom.Session) { word.Set(s, "canary-word") },
		func(s *cloakroom.Session) {
			s.Login(cloakroom.Identity{UserID: "u1", Epoch: 7, Method: "canary-method", Roles: []string{"canary-role"}})
		},
		func(s *cloakroom.Session) { s.Flash("canary-flash") },
		func(s *cloakroom.Session) { s.Renew() },
		func(s *cloakroom.Session) { word.Set(s, "canary-word again") },
	}
	for _, step := range steps {
		v.visit(step)
		raw, token := v.token()
		secrets = append(secrets, token, raw[:37], raw[37:])
	}
	if len(s.spy.puts) < len(steps) {
		t.Fatalf("spy saw %d puts", len(s.spy.puts))
	}
	all := dump(slices.Concat(s.spy.puts, s.spy.live(t)))
	for _, secret := range secrets {
		for _, form := range spellings(secret) {
			if bytes.Contains(all, form) {
				t.Errorf("the store was given %q", form)
			}
		}
	}
}

// TestAttack_A09_TheIndexIsAHashOfTheToken: a search through the index by timing
// finds hashes, and whoever has read the whole store has no cookie.
func TestAttack_A09_TheIndexIsAHashOfTheToken(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	raw, _ := v.token()
	rec := s.spy.live(t)[0]
	s.spy.take()
	// What can be made of the record alone: its ID in the place of the token, with
	// tags that do not need a key.
	key := s.key.ID()
	for _, tag := range [][]byte{make([]byte, 16), raw[37:], rec.ID[:16], rec.Data[len(rec.Data)-16:], rec.Info[len(rec.Info)-16:]} {
		forged := slices.Concat([]byte{1}, key[:], rec.ID[:], tag)
		thief := &visitor{tb: t, m: s.Manager, cookie: "__Host-session=" + base64.RawURLEncoding.EncodeToString(forged)}
		if thief.user() != "" {
			t.Error("a stolen ID is a session")
		}
	}
	for _, text := range []string{rec.ID.String(), rec.ID.Handle(), hex.EncodeToString(rec.ID[:])} {
		thief := &visitor{tb: t, m: s.Manager, cookie: "__Host-session=" + text}
		if thief.user() != "" {
			t.Errorf("%q is a session", text)
		}
	}
	s.wantCalls(t, "forgeries from a stolen store")
	if v.user() != "u1" {
		t.Error("the session itself is gone")
	}
}

// Whoever can write to the store moves records about. Each row is a record as
// the store answers it to the visitor's request.
func TestPromise05_ARecordThatWasTamperedWithIsRefused(t *testing.T) {
	s := newSite(t, nil)
	mallory := s.signedIn(t, "mallory")
	alice := s.signedIn(t, "alice")
	second := s.signedIn(t, "mallory") // of the same user, and the same age
	for _, v := range []*visitor{mallory, alice, second} {
		v.visit(func(s *cloakroom.Session) { word.Set(s, "of "+s.UserID()) })
	}
	record := func(v *visitor) store.Record {
		rec, err := s.spy.Store.Get(t.Context(), v.id())
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	own, alices, other := record(mallory), record(alice), record(second)
	foreign := newSite(t, nil) // with keys of its own
	forger := foreign.signedIn(t, "mallory")
	forged, err := foreign.spy.Store.Get(t.Context(), forger.id())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*store.Record){
		"user":                        func(r *store.Record) { r.UserID = "alice" },
		"user removed":                func(r *store.Record) { r.UserID = "" },
		"user with a suffix":          func(r *store.Record) { r.UserID += "\x00" },
		"deadline prolonged":          func(r *store.Record) { r.Deadline = r.Deadline.Add(time.Hour) },
		"deadline by a millisecond":   func(r *store.Record) { r.Deadline = r.Deadline.Add(time.Millisecond) },
		"created later":               func(r *store.Record) { r.Created = r.Created.Add(time.Millisecond) },
		"data of another user":        func(r *store.Record) { r.Data = alices.Data },
		"record of another user":      func(r *store.Record) { id := r.ID; *r = alices; r.ID = id },
		"other user's record and ID":  func(r *store.Record) { *r = alices },
		"data of the same user":       func(r *store.Record) { r.Data = other.Data },
		"record of the same user":     func(r *store.Record) { id := r.ID; *r = other; r.ID = id },
		"info in the place of data":   func(r *store.Record) { r.Data = r.Info },
		"data sealed by other keys":   func(r *store.Record) { r.Data = forged.Data },
		"record sealed by other keys": func(r *store.Record) { id := r.ID; *r = forged; r.ID = id },
		"no data":                     func(r *store.Record) { r.Data = nil },
		"plain data":                  func(r *store.Record) { r.Data = slices.Concat([]byte{1}, make([]byte, 8), []byte{0}) },
		"data cut":                    func(r *store.Record) { r.Data = r.Data[:len(r.Data)-1] },
		"data grown":                  func(r *store.Record) { r.Data = append(slices.Clone(r.Data), 0) },
		"one bit of the data": func(r *store.Record) {
			r.Data = slices.Clone(r.Data)
			r.Data[len(r.Data)/2] ^= 1
		},
		"one bit of the header": func(r *store.Record) {
			r.Data = slices.Clone(r.Data)
			r.Data[1] ^= 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(s.log.events(t, "record_unreadable"))
			s.spy.lie(func(r store.Record) store.Record {
				if r.ID == own.ID {
					change(&r)
				}
				return r
			})
			defer s.spy.lie(nil)
			probe := *mallory
			probe.tb = t
			w := probe.visit(func(s *cloakroom.Session) {
				if s.UserID() != "" || word.GetOr(s, "") != "" || !s.ID().IsZero() || s.Identity().Method != "" {
					t.Errorf("the session is %q's with %q", s.UserID(), word.GetOr(s, ""))
				}
			})
			if c := setCookie(t, w); c != "" {
				t.Errorf("response sets %q", c)
			}
			if n := len(s.log.events(t, "record_unreadable")) - before; n != 1 {
				t.Errorf("%d log lines about it", n)
			}
		})
	}
	if mallory.user() != "mallory" {
		t.Error("once the store tells the truth again, the session is gone")
	}
}

// Touching is no business of the seal: what a store says about the idle time is
// worth something up to the deadline only, which is sealed.
func TestPromise05_TheIdleTimeIsTheStoresWordUpToTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		s.spy.lie(func(r store.Record) store.Record {
			r.Seen, r.Expires = r.Seen.Add(365*24*time.Hour), r.Expires.Add(365*24*time.Hour)
			return r
		})
		time.Sleep(lifetime - time.Millisecond)
		if v.user() != "u1" {
			t.Error("the store's word does not count before the deadline")
		}
		time.Sleep(time.Millisecond)
		if v.user() != "" {
			t.Error("the store has prolonged the session")
		}
	})
}

// A list shows what was sealed for its records, or nothing.
func TestPromise05_InfoOfAnotherRecordIsNotShown(t *testing.T) {
	s := newSite(t, nil)
	alice := s.visitor(t)
	alice.header = http.Header{"User-Agent": {"Alice-Browser"}}
	alice.login("alice")
	mallory := s.visitor(t)
	mallory.header = http.Header{"User-Agent": {"Mallory-Browser"}}
	mallory.login("mallory")
	alices := s.spy.puts[0]
	for name, change := range map[string]func(*store.Record){
		"info of another user":   func(r *store.Record) { r.Info = alices.Info },
		"data in place of info":  func(r *store.Record) { r.Info = r.Data },
		"no info":                func(r *store.Record) { r.Info = nil },
		"deadline":               func(r *store.Record) { r.Deadline = r.Deadline.Add(time.Hour) },
		"record of another user": func(r *store.Record) { r.Info, r.Created, r.Deadline = alices.Info, alices.Created, alices.Deadline },
	} {
		s.spy.lie(func(r store.Record) store.Record { change(&r); return r })
		infos, err := s.List(t.Context(), "mallory")
		if err != nil || len(infos) != 1 {
			t.Fatalf("%s: %v, %v", name, infos, err)
		}
		// It has to be there, or it could not be ended.
		if i := infos[0]; i.ID != s.spy.puts[1].ID || i.Device != "" || i.Address != "" || i.Method != "" {
			t.Errorf("%s: the list shows %+v", name, i)
		}
	}
	s.spy.lie(nil)
	infos, err := s.List(t.Context(), "mallory")
	if err != nil || len(infos) != 1 || infos[0].Device != "Mallory-Browser" {
		t.Errorf("list is %+v, %v", infos, err)
	}
	if n := len(s.log.events(t, "record_unreadable")); n != 5 {
		t.Errorf("%d log lines about unreadable infos, want one each", n)
	}
}

// A record that somebody without the keys has made opens nothing, whatever
// cookie comes with it: their own keys have signed and sealed both.
func TestPromise05_AStoreWriterWithoutKeysMakesNoSession(t *testing.T) {
	s := newSite(t, nil)
	writer := keyring.Generate()
	theirs := newManager(t, s.spy, newRing(t, writer), &cloakroom.Options{Logger: s.Logger()})
	forger := &visitor{tb: t, m: theirs}
	forger.login("admin")
	if forger.user() != "admin" {
		t.Fatal("the forgery is no session to its own maker")
	}
	s.spy.take()
	forger.m = s.Manager
	if forger.user() != "" {
		t.Error("a forged record with its forged cookie is a session")
	}
	s.wantCalls(t, "forged cookie")

	// The same with a cookie that we signed: the record under its ID is replaced.
	victim := s.signedIn(t, "mallory")
	token := victim.id()
	s.spy.lie(func(r store.Record) store.Record {
		if r.ID == token {
			r = s.spy.puts[0] // what the forger had stored for admin
			r.ID, r.Version = token, 1
		}
		return r
	})
	if victim.user() != "" {
		t.Error("a forged record under a genuine cookie is a session")
	}
}

// The keys alone open no record, and neither does a token alone: a backup with
// the key file beside it is still closed to whoever has no cookie.
func TestPromise05_NeitherKeysNorTokenAloneOpenARecord(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	_, raw := v.token()
	token, rec := [32]byte(raw), s.spy.live(t)[0]
	if _, _, err := s.OpenRecord(token, rec); err != nil {
		t.Fatalf("with both it does not open: %v", err)
	}
	for name, other := range map[string][32]byte{"zeros": {}, "ID": rec.ID, "one bit": {0: token[0] ^ 1}, "another": cloakroom.NewToken()} {
		if name == "one bit" {
			copy(other[1:], token[1:])
		}
		if _, _, err := s.OpenRecord(other, rec); err == nil {
			t.Errorf("the keys and %s open a record", name)
		}
	}
	if _, _, err := newSite(t, nil).OpenRecord(token, rec); err == nil {
		t.Error("the token opens a record without the keys")
	}
	// Nor for another audience.
	m := newManager(t, s.spy, s.ring, &cloakroom.Options{Audience: "staging"})
	if _, _, err := m.OpenRecord(token, rec); err == nil {
		t.Error("another audience opens a record")
	}
}
