package cloakroom_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
)

func TestAttack_A53_NothingElseIsDecoded(t *testing.T) {
	both(t, testAttack_A53_NothingElseIsDecoded)
}

// What a store returns is opened, or it is nothing: no JSON, gob, pickle or serialized
// object is taken for a session, and no value becomes one of a type that nobody asked for.
func testAttack_A53_NothingElseIsDecoded(t *testing.T, newSite siteMaker) {
	type identity struct {
		UserID string
		Roles  []string
	}
	var asGob bytes.Buffer
	if err := gob.NewEncoder(&asGob).Encode(identity{"u1", []string{"admin"}}); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(identity{"u1", []string{"admin"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"gob": asGob.Bytes(), "JSON": asJSON, "pickle": []byte("\x80\x04\x95\x1b\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."),
		"marshal of Ruby": []byte("\x04\x08o:\x0bGadget\x06:\x08cmdI\"\x07id"), "PHP": []byte(`O:4:"User":1:{s:4:"role";s:5:"admin";}`),
		"Java": []byte("\xac\xed\x00\x05sr\x00\x04User"), "nothing": {}, "a byte": {1}, "zeroes": make([]byte, 200),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil)
			v := s.signedIn(t, "u1")
			s.spy.lie(func(r store.Record) store.Record { r.Data = data; return r })
			who, has := "", true
			v.visit(func(s *cloakroom.Session) { who, has = s.UserID(), len(s.Identity().Roles) > 0 })
			if s.spy.lie(nil); len(s.spy.live(t)) > 0 && who != "" || has {
				t.Errorf("the visitor is %q, with roles: %t", who, has)
			}
		})
	}
	// Among values as well: a text is no number, a number no list, null nothing at all.
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	v.visit(func(s *cloakroom.Session) {
		word.Set(s, `{"UserID":"u2","Roles":["admin"]}`)
		count.Set(s, 7)
	})
	v.visit(func(s *cloakroom.Session) {
		if got, ok := cloakroom.NewKey[identity]("word").Get(s); ok || got.UserID != "" {
			t.Errorf("a text is read as %+v", got)
		}
		if got, ok := cloakroom.NewKey[[]int]("count").Get(s); ok || got != nil {
			t.Errorf("a number is read as %v", got)
		}
		if got, ok := cloakroom.NewKey[string]("count").Get(s); ok || got != "" {
			t.Errorf("a number is read as %q", got)
		}
		if s.UserID() != "u1" || len(s.Identity().Roles) > 0 {
			t.Errorf("the visitor has become %+v", s.Identity())
		}
	})
}
