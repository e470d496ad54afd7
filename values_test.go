package cloakroom_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
)

func TestValuesComeBack(t *testing.T) { both(t, testValuesComeBack) }

func testValuesComeBack(t *testing.T, newSite siteMaker) {
	v := newSite(t, nil).visitor(t)
	type address struct {
		Street string
		Nested map[string][]float64
		When   time.Time
		Raw    []byte
		Next   *address
	}
	deep := address{"Straße 1 “x”", map[string][]float64{"é": {1.5, -0.25, math.MaxFloat64}}, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), []byte{0, 255}, &address{Street: "2"}}
	bigKey, deepKey := cloakroom.NewKey[int64]("big"), cloakroom.NewKey[address]("deep")
	textKey, noneKey := cloakroom.NewKey[string]("ключ \x00 \u2028 🧥"), cloakroom.NewKey[*int]("none")
	emptyKey, boolKey := cloakroom.NewKey[string]("empty"), cloakroom.NewKey[bool]("bool")
	const text = "Garderobe: 外套 ☂ <script>&\u2028\u202e\x00\"\\"
	v.visit(func(s *cloakroom.Session) {
		bigKey.Set(s, math.MaxInt64)
		deepKey.Set(s, deep)
		textKey.Set(s, text)
		noneKey.Set(s, nil)
		emptyKey.Set(s, "")
		boolKey.Set(s, false)
	})
	v.visit(func(s *cloakroom.Session) {
		if got, ok := bigKey.Get(s); got != math.MaxInt64 || !ok {
			t.Errorf("a big integer came back as %d, %t", got, ok)
		}
		if got, ok := deepKey.Get(s); !reflect.DeepEqual(got, deep) || !ok {
			t.Errorf("a nested value came back as %+v, %t", got, ok)
		}
		if got := textKey.GetOr(s, "?"); got != text {
			t.Errorf("text came back as %q", got)
		}
		if got, ok := noneKey.Get(s); got != nil || !ok {
			t.Errorf("nil came back as %v, %t", got, ok)
		}
		// What is empty is there all the same.
		if got, ok := emptyKey.Get(s); got != "" || !ok || emptyKey.GetOr(s, "?") != "" || !s.Has("empty") {
			t.Errorf("an empty text came back as %q, %t", got, ok)
		}
		if got, ok := boolKey.Get(s); got || !ok {
			t.Errorf("false came back as %t, %t", got, ok)
		}
		want := []string{"big", "bool", "deep", "empty", "none", "ключ \x00 \u2028 🧥"}
		if got := s.Names(); !slices.Equal(got, want) {
			t.Errorf("names are %q, want %q", got, want)
		}
		if s.Has("Big") || s.Has("") || s.Has("missing") {
			t.Error("a value is there that nobody has set")
		}
	})
}

func TestValuesOfAStranger(t *testing.T) { both(t, testValuesOfAStranger) }

func testValuesOfAStranger(t *testing.T, newSite siteMaker) {
	newSite(t, nil).visitor(t).visit(func(s *cloakroom.Session) {
		if got, ok := word.Get(s); got != "" || ok {
			t.Errorf("got %q, %t", got, ok)
		}
		if got := word.GetOr(s, "default"); got != "default" {
			t.Errorf("got %q", got)
		}
		if got, ok := word.Pop(s); got != "" || ok {
			t.Errorf("popped %q, %t", got, ok)
		}
		if s.Names() != nil || s.Has("word") || s.Flashes() != nil {
			t.Errorf("there are %q", s.Names())
		}
		if got := count.Update(s, func(n int) int { return n + 5 }); got != 5 || count.GetOr(s, 0) != 5 {
			t.Errorf("updated to %d", got)
		}
	})
}

// A session is read anew at each Get: what a caller does to a value it got changes
// nothing, and what it does to one it has set neither.
func TestValuesAreCopies(t *testing.T) { both(t, testValuesAreCopies) }

func testValuesAreCopies(t *testing.T, newSite siteMaker) {
	v := newSite(t, nil).visitor(t)
	list := cloakroom.NewKey[[]string]("list")
	v.visit(func(s *cloakroom.Session) {
		mine := []string{"a", "b"}
		list.Set(s, mine)
		mine[0] = "changed"
		got, _ := list.Get(s)
		got[1] = "changed"
		if got, _ := list.Get(s); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("the session has %q", got)
		}
	})
	v.visit(func(s *cloakroom.Session) {
		if got, _ := list.Get(s); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("saved is %q", got)
		}
	})
}

func TestPopDeleteAndClear(t *testing.T) { both(t, testPopDeleteAndClear) }

func testPopDeleteAndClear(t *testing.T, newSite siteMaker) {
	v := newSite(t, nil).signedIn(t, "u1")
	v.visit(func(s *cloakroom.Session) {
		word.Set(s, "x")
		count.Set(s, 1)
		cloakroom.NewKey[bool]("third").Set(s, true)
		s.Flash("kept")
		cloakroom.NewKey[int]("cloakroom.ours").Set(s, 7)
	})
	v.visit(func(s *cloakroom.Session) {
		if got, ok := word.Pop(s); got != "x" || !ok || s.Has("word") {
			t.Errorf("popped %q, %t", got, ok)
		}
		if _, ok := word.Pop(s); ok {
			t.Error("popped twice")
		}
	})
	v.visit(func(s *cloakroom.Session) {
		if got := s.Names(); !slices.Equal(got, []string{"count", "third"}) {
			t.Errorf("names are %q", got)
		}
		count.Delete(s)
		count.Delete(s)
	})
	v.visit(func(s *cloakroom.Session) {
		if got := s.Names(); !slices.Equal(got, []string{"third"}) {
			t.Errorf("names are %q", got)
		}
		s.Clear()
		if got := s.Names(); len(got) != 0 {
			t.Errorf("cleared, names are %q", got)
		}
	})
	// What belongs to packages of the module is neither listed nor cleared, and the
	// visitor stays who they are.
	v.visit(func(s *cloakroom.Session) {
		if s.UserID() != "u1" || cloakroom.NewKey[int]("cloakroom.ours").GetOr(s, 0) != 7 || len(s.Names()) != 0 {
			t.Errorf("cleared: user %q, names %q", s.UserID(), s.Names())
		}
		if got := s.Flashes(); !slices.Equal(got, []string{"kept"}) {
			t.Errorf("flashes are %q", got)
		}
	})
}

func TestFlashesAreShownOnce(t *testing.T) { both(t, testFlashesAreShownOnce) }

func testFlashesAreShownOnce(t *testing.T, newSite siteMaker) {
	v := newSite(t, nil).visitor(t)
	v.visit(func(s *cloakroom.Session) {
		s.Flash("first")
		s.Flash("second")
	})
	v.visit(func(s *cloakroom.Session) { s.Flash("third") })
	v.visit(func(s *cloakroom.Session) {
		if got := s.Flashes(); !slices.Equal(got, []string{"first", "second", "third"}) {
			t.Errorf("flashes are %q", got)
		}
		if got := s.Flashes(); got != nil {
			t.Errorf("shown twice: %q", got)
		}
		s.Flash("for the next page")
	})
	v.visit(func(s *cloakroom.Session) {
		if got := s.Flashes(); !slices.Equal(got, []string{"for the next page"}) {
			t.Errorf("flashes are %q", got)
		}
	})
	v.visit(func(s *cloakroom.Session) {
		if got := s.Flashes(); got != nil {
			t.Errorf("shown twice: %q", got)
		}
	})
}

// JSON of n bytes is a text of n-2 characters.
func text(n int) string { return strings.Repeat("x", n-2) }

func TestValuesUpToTheLimit(t *testing.T) {
	const limit = 1000
	room := limit - len("word") - 1 - 2 // the name behind its length, the length of the value
	for _, test := range []struct {
		size int
		ok   bool
	}{{room - 1, true}, {room, true}, {room + 1, false}, {10 * limit, false}} {
		s := newSite(t, &cloakroom.Options{MaxBytes: limit})
		v := s.visitor(t)
		var err error
		v.do(func(w http.ResponseWriter, r *http.Request) {
			s := cloakroom.FromContext(r.Context())
			word.Set(s, text(test.size))
			if s.Has("word") != test.ok {
				t.Errorf("%d bytes: there is a value: %t", test.size, s.Has("word"))
			}
			err = s.Commit(r.Context())
		})
		if (err == nil) != test.ok || err != nil && !errors.Is(err, cloakroom.ErrTooLarge) {
			t.Errorf("%d bytes: %v", test.size, err)
		}
		if calls := s.spy.take(); (len(calls) == 1) != test.ok {
			t.Errorf("%d bytes: store was called %q", test.size, calls)
		}
	}
}

// A session that has grown to the limit can be read, and shrunk, and what was too
// much takes nothing with it that was saved before.
func TestTooLargeIsAnErrorAndNotALoss(t *testing.T) {
	s := newSite(t, &cloakroom.Options{MaxBytes: 1000})
	v := s.visitor(t)
	v.visit(func(s *cloakroom.Session) { word.Set(s, text(900)) })
	other := cloakroom.NewKey[string]("other")
	w := v.do(func(w http.ResponseWriter, r *http.Request) {
		other.Set(cloakroom.FromContext(r.Context()), text(100))
		fmt.Fprint(w, "saved!")
	})
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "saved") {
		t.Errorf("answer is %d %s", w.Code, w.Body)
	}
	if line := s.log.wantEvent(t, "commit_failed"); !strings.Contains(fmt.Sprint(line["err"]), "session is too large: 1014 bytes, at most 1000") {
		t.Errorf("log line is %v", line)
	}
	v.visit(func(s *cloakroom.Session) {
		if len(word.GetOr(s, "")) != 898 || s.Has("other") {
			t.Error("what was there before is not what it was")
		}
		word.Set(s, text(500))
		other.Set(s, text(100))
	})
	v.visit(func(s *cloakroom.Session) {
		if len(word.GetOr(s, "")) != 498 || !s.Has("other") {
			t.Error("there is room, and it was not taken")
		}
	})
	// Under a smaller limit than before, what is there can still be used and shrunk.
	small := newManager(t, s.spy, s.ring, &cloakroom.Options{MaxBytes: 100, Logger: s.Logger()})
	v.m = small
	v.visit(func(s *cloakroom.Session) { other.Delete(s) })
	v.visit(func(s *cloakroom.Session) {
		if len(word.GetOr(s, "")) != 498 || s.Has("other") {
			t.Error("a session above the limit cannot be shrunk")
		}
	})
}

// Updates that conflict are judged on what they make together.
func TestTooLargeTogether(t *testing.T) {
	s := newSite(t, &cloakroom.Options{MaxBytes: 1000})
	v := s.visitor(t)
	v.visit(func(s *cloakroom.Session) { count.Set(s, 1) })
	var err error
	v.do(func(w http.ResponseWriter, r *http.Request) {
		outer := cloakroom.FromContext(r.Context())
		cloakroom.NewKey[string]("a").Set(outer, text(600))
		inner := &visitor{tb: t, m: s.Manager, cookie: v.cookie}
		inner.visit(func(s *cloakroom.Session) { cloakroom.NewKey[string]("b").Set(s, text(600)) })
		err = outer.Commit(r.Context())
	})
	if !errors.Is(err, cloakroom.ErrTooLarge) {
		t.Errorf("commit says %v", err)
	}
	v.visit(func(s *cloakroom.Session) {
		if got := s.Names(); !slices.Equal(got, []string{"b", "count"}) {
			t.Errorf("saved are %q", got)
		}
	})
}

// Values of the largest size that there is.
func TestLargestSession(t *testing.T) {
	v := newSite(t, &cloakroom.Options{MaxBytes: 1_000_000}).visitor(t)
	v.visit(func(s *cloakroom.Session) {
		s.Login(cloakroom.Identity{UserID: "u1"})
		word.Set(s, text(999_980))
	})
	v.visit(func(s *cloakroom.Session) {
		if len(word.GetOr(s, "")) != 999_978 || s.UserID() != "u1" {
			t.Error("a session of a million bytes is not what it was")
		}
	})
}

// A name whose type has changed is no zero value in silence: Get says that there
// is none, with a log line, and Update refuses rather than overwrite.
func TestTypeChangedUnderAName(t *testing.T) { both(t, testTypeChangedUnderAName) }

func testTypeChangedUnderAName(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	v.visit(func(s *cloakroom.Session) { word.Set(s, "text") })
	number := cloakroom.NewKey[int]("word")
	v.visit(func(s *cloakroom.Session) {
		if got, ok := number.Get(s); got != 0 || ok {
			t.Errorf("a text is the number %d, %t", got, ok)
		}
		if got := number.GetOr(s, 7); got != 7 {
			t.Errorf("a text is the number %d", got)
		}
	})
	if lines := s.log.events(t, "value_unreadable"); len(lines) != 2 || lines[0]["name"] != "word" || lines[0]["session"] == nil {
		t.Errorf("log lines are %v", lines)
	}
	w := v.do(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		called := false
		number.Update(s, func(n int) int { called = true; return n + 1 })
		if called {
			t.Error("f was called on what is no number")
		}
		err := s.Commit(r.Context())
		var valueErr *cloakroom.ValueError
		if !errors.As(err, &valueErr) || valueErr.Name != "word" || !errors.As(err, new(*json.UnmarshalTypeError)) {
			t.Errorf("commit says %v", err)
		}
		number.Update(s, func(n int) int { return n + 1 })
	})
	if w.Code != http.StatusInternalServerError {
		t.Errorf("answer is %d", w.Code)
	}
	v.visit(func(s *cloakroom.Session) {
		if got := word.GetOr(s, ""); got != "text" {
			t.Errorf("the text is now %q", got)
		}
		// Pop of what cannot be read takes it away, and Set replaces it.
		if _, ok := number.Pop(s); ok || s.Has("word") {
			t.Error("popped what is no number")
		}
	})
}

// Update is final after Commit, and runs again on what another request has made.
func TestUpdateRunsAgainOnAConflict(t *testing.T) {
	s := newSite(t, nil)
	v := s.visitor(t)
	v.visit(func(s *cloakroom.Session) { count.Set(s, 100) })
	v.visit(func(outer *cloakroom.Session) {
		ran := 0
		got := count.Update(outer, func(n int) int { ran++; return n + 1 })
		inner := &visitor{tb: t, m: s.Manager, cookie: v.cookie}
		inner.visit(func(s *cloakroom.Session) { count.Update(s, func(n int) int { return n + 10 }) })
		if err := outer.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		if got != 101 || ran != 2 || count.GetOr(outer, 0) != 111 {
			t.Errorf("first %d, then %d, after %d runs", got, count.GetOr(outer, 0), ran)
		}
	})
}
