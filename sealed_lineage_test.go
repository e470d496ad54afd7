package cloakroom_test

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// forge returns the cookie that somebody makes who has a key: of a session of ada's, that
// began now and says that it has been under these keys.
func forge(tb testing.TB, key keyring.Key, under ...keyring.KeyID) string {
	tb.Helper()
	now := time.Now()
	token := cloakroom.NewToken()
	plain := token[:]
	for _, at := range []time.Time{now, now.Add(lifetime), now, now.Add(idle)} {
		plain = binary.BigEndian.AppendUint64(plain, uint64(at.UnixMilli()))
	}
	plain = append(plain, byte(len(under)))
	for _, id := range under {
		plain = append(plain, id[:]...)
	}
	plain = append(append(plain, "\x03ada\x01"...), make([]byte, 9)...)
	return cookieName + "=" + seal(newRing(tb, key.AsActive()).Purpose(labelSealed, cookieName, ""), plain, nil)
}

// ascending returns the IDs of keys in their order.
func ascending(keys ...keyring.Key) []keyring.KeyID {
	var ids []keyring.KeyID
	for _, k := range keys {
		ids = append(ids, k.ID())
	}
	slices.SortFunc(ids, func(a, b keyring.KeyID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// What a request does with a session, short of a login.
var uses = map[string]func(*cloakroom.Session){
	"read":  func(s *cloakroom.Session) { s.UserID() },
	"write": func(s *cloakroom.Session) { word.Set(s, "x"+word.GetOr(s, "")) },
	"renew": func(s *cloakroom.Session) { s.Renew() },
	"roles": func(s *cloakroom.Session) { s.SetRoles([]string{"admin"}) },
	"epoch": func(s *cloakroom.Session) { s.SetEpoch(7) },
}

// A15: what somebody has made with a key that leaked, and had sealed anew under the next
// by using it, ends with the key, whatever it says of other keys, and however often it
// went on to further ones; so it does where the key's line is deleted. A session that
// began under the key that signs goes on.
func TestAttack_A15_AForgedSealedSessionEndsWithItsKey(t *testing.T) {
	for use, f := range uses {
		for _, deleted := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := newSealedSite(t, nil)
				leaked, next, last := s.key, keyring.Generate(), keyring.Generate()
				s.replace(t, next, retiring(leaked), last.AsNext())
				honest := s.signedIn(t, "bob")
				var forged []*visitor
				for _, under := range [][]keyring.KeyID{nil, ascending(next), ascending(next, last)} {
					forged = append(forged, &visitor{tb: t, m: s.Manager, cookie: forge(t, leaked, under...)})
				}
				goOn := func() {
					honest.user()
					for i, v := range forged {
						before := *v
						if v.visit(f); v.cookie == before.cookie || v.user() != "ada" {
							t.Fatalf("%s: forged session %d is not sealed anew: this proves nothing", use, i)
						}
						forged = append(forged, &before)
						time.Sleep(idle / 5)
						v.user() // brings the second cookie
					}
				}
				goOn()
				s.replace(t, last, retiring(next), retiring(leaked))
				forged = forged[:3]
				goOn()
				if deleted {
					s.replace(t, last, retiring(next))
				} else {
					s.replace(t, last, retiring(next), leaked.AsRetiring(time.Now().Add(-5*time.Minute)))
				}
				s.spy.take()
				for i, v := range forged {
					if user := v.user(); user != "" {
						t.Errorf("%s, deleted %v: forged session %d is %q's still", use, deleted, i, user)
					}
				}
				s.wantCalls(t, "sessions of a key that is gone")
				if line := s.log.events(t, "bad_cookie"); !deleted && (len(line) != len(forged) || line[0]["reason"] != "retired key") {
					t.Errorf("the log has %v", line)
				}
				if honest.user() != "bob" {
					t.Error("a session that the key never was at has ended")
				}
			})
		}
	}
}

// A15: of a session that says what no session of ours does nothing is believed.
func TestAttack_A15_ForgedLineages(t *testing.T) {
	s := newSealedSite(t, nil)
	next, other, stranger := keyring.Generate(), keyring.Generate(), keyring.Generate()
	ended := keyring.Generate().AsRetiring(time.Now().Add(-time.Minute))
	s.replace(t, next, retiring(s.key), other.AsNext(), ended)
	both := ascending(next, other)
	for name, test := range map[string]struct {
		under []keyring.KeyID
		opens bool
	}{
		"none":           {nil, true},
		"two":            {both, true},
		"its own":        {ascending(s.key), false},
		"one twice":      {[]keyring.KeyID{both[0], both[0]}, false},
		"out of order":   {[]keyring.KeyID{both[1], both[0]}, false},
		"no key of ours": {ascending(stranger), false},
		"one that ended": {ascending(ended), false},
		"no key":         {make([]keyring.KeyID, 1), false},
		"many":           {make([]keyring.KeyID, 255), false},
	} {
		v := s.visitor(t)
		v.cookie = forge(t, s.key, test.under...)
		if user := v.user(); (user == "ada") != test.opens {
			t.Errorf("%s: it is %q's", name, user)
		}
	}
}

// A15: the second cookie of a key that leaked brings no session back that was idle for
// too long, nor does one that came of it.
func TestAttack_A15_AForgedTimeEndsWithItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		leaked, next := s.key, keyring.Generate()
		s.replace(t, next, retiring(leaked))
		v := s.signedIn(t, "bob")
		id, kept := v.id(), v.cookie
		time.Sleep(idle)
		seal := func(under []keyring.KeyID, key keyring.Key) string {
			at := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli()))
			at = binary.BigEndian.AppendUint64(at, uint64(time.Now().Add(idle).UnixMilli()))
			ad := id[:]
			for _, u := range under {
				ad = append(ad, u[:]...)
			}
			return seenName + "=" + seal(newRing(t, key.AsActive()).Purpose(labelSeen, cookieName, ""), at, ad)
		}
		for name, test := range map[string]struct {
			under []keyring.KeyID
			key   keyring.Key
			lives bool
		}{
			"of the key that leaked":           {ascending(next), leaked, false},
			"for a session that was under it":  {ascending(leaked, next), leaked, false},
			"by the key that signs, for these": {ascending(leaked, next), next, false},
			"for none":                         {nil, next, false},
			"our own":                          {ascending(next), next, true},
		} {
			probe := &visitor{tb: t, m: s.Manager, cookie: kept, seen: seal(test.under, test.key)}
			if user := probe.user(); (user != "") != test.lives {
				t.Errorf("a time %s makes a session of %q", name, user)
			}
		}
	})
}

// After a rollback, and at an instance that looks at its keys late, another key signs
// than the one that a session is under. Its reader is kept from being idle all the same.
func TestPromise10_TimesUnderAnotherKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		first, second := s.key, keyring.Generate()
		s.replace(t, second, retiring(first))
		v := s.signedIn(t, "u1")
		rings := []func(){
			func() { s.replace(t, first, second.AsNext()) },
			func() { s.replace(t, second, retiring(first)) },
		}
		changed := 0
		for i := range 20 {
			if i%3 == 0 {
				rings[i/3%2]()
			}
			time.Sleep(idle * 2 / 3)
			before := v.cookie
			if v.user() != "u1" {
				t.Fatalf("after %v of reading the session has ended", time.Duration(i)*idle*2/3)
			}
			if v.cookie != before {
				changed++
			}
		}
		if changed == 0 || changed > 8 {
			t.Errorf("the session was sealed anew %d times", changed)
		}
	})
}

// A reader whose handler takes longer than the idle timeout brings no session back by
// moving it to another key.
func TestPromise04_AMoveToAnotherKeyRevivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		s.replace(t, keyring.Generate(), retiring(s.key))
		v.visit(func(*cloakroom.Session) { time.Sleep(idle) })
		if user := v.user(); user != "" {
			t.Errorf("the session is %q's", user)
		}
	})
}

// A login begins a life that the keys of before have no part in; nothing else does.
func TestPromise10_ALoginLeavesTheKeysOfBefore(t *testing.T) {
	for name, test := range map[string]struct {
		f    func(*cloakroom.Session)
		goes bool
	}{
		"login":     {func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1"}) }, true},
		"end":       {func(s *cloakroom.Session) { _ = s.End(t.Context()); word.Set(s, "new") }, true},
		"renew":     {uses["renew"], false},
		"roles":     {uses["roles"], false},
		"epoch":     {uses["epoch"], false},
		"write":     {uses["write"], false},
		"read":      {uses["read"], false},
		"and renew": {func(s *cloakroom.Session) { word.Set(s, "y"); _ = s.Commit(t.Context()); s.Renew() }, false},
	} {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		next := keyring.Generate()
		s.replace(t, next, retiring(s.key))
		v.visit(test.f)
		s.replace(t, next)
		v.do(func(w http.ResponseWriter, r *http.Request) {
			if goes := !cloakroom.FromContext(r.Context()).New(); goes != test.goes {
				t.Errorf("after a %s the session goes on: %v", name, goes)
			}
		})
	}
}

// A15: one of several instances has not read yet that a key has leaked, and goes on
// sealing anew what it has made: at those that have, and later at this one, it is nothing.
func TestAttack_A15_AnInstanceThatReadsItsKeysLate(t *testing.T) {
	s := newSealedSite(t, nil)
	leaked, next := s.key, keyring.Generate()
	s.replace(t, next, retiring(leaked))
	ring := newRing(t, leaked, next.AsNext())
	late, err := newSealed(s.spy, ring, &cloakroom.Options{Logger: s.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	v := s.visitor(t)
	v.cookie = forge(t, leaked)
	for i := range 6 {
		v.m = []*cloakroom.Manager{s.Manager, late}[i%2]
		v.visit(uses["write"])
	}
	ended := leaked.AsRetiring(time.Now().Add(-5 * time.Minute))
	s.replace(t, next, ended)
	for _, m := range []*cloakroom.Manager{s.Manager, late} {
		probe := *v
		probe.m = m
		if user := probe.user(); (user != "") != (m == late) {
			t.Errorf("the forged session is %q's", user)
		}
		v.m = late
		v.visit(uses["write"])
	}
	if err := ring.Replace(next, ended); err != nil {
		t.Fatal(err)
	}
	if user := v.user(); user != "" {
		t.Errorf("the forged session is %q's at the late instance", user)
	}
}
