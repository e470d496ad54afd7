package cloakroom_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

func TestPromise09_AUsersSessionsAreListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		start := time.Now()
		names := []string{"first", "second", "third"}
		var visitors []*visitor
		for _, name := range names {
			v := s.visitor(t)
			v.header = http.Header{"User-Agent": {"Browser " + name}}
			v.visit(func(s *cloakroom.Session) {
				s.Login(cloakroom.Identity{UserID: "u1", Method: "password " + name})
			})
			visitors = append(visitors, v)
			time.Sleep(time.Minute)
		}
		s.signedIn(t, "u2")
		s.visitor(t).visit(func(s *cloakroom.Session) { word.Set(s, "anonymous") })
		time.Sleep(idle / 10)
		// The oldest is seen last, and keeps what its login was, from wherever it is
		// seen or renewed.
		visitors[0].header = http.Header{"User-Agent": {"Another browser"}}
		visitors[0].visit(func(s *cloakroom.Session) { s.Renew() })

		infos, err := s.List(t.Context(), "u1")
		if err != nil || len(infos) != 3 {
			t.Fatalf("list is %+v, %v", infos, err)
		}
		for i, want := range []int{0, 2, 1} {
			info := infos[i]
			created := start.Add(time.Duration(want) * time.Minute)
			if info.ID != visitors[want].id() || info.Device != "Browser "+names[want] || info.Method != "password "+names[want] ||
				info.Address != "192.0.2.1" || !info.Created.Equal(created) {
				t.Errorf("session %d of the list is %+v", i, info)
			}
			if !info.Expires.Equal(info.Seen.Add(idle)) {
				t.Errorf("session %d was seen %v and expires %v", i, info.Seen, info.Expires)
			}
		}
		if seen := infos[0].Seen; !seen.Equal(time.Now()) {
			t.Errorf("the session that is here was seen %v", seen)
		}
		if infos, err := s.List(t.Context(), "nobody"); len(infos) != 0 || err != nil {
			t.Errorf("nobody has the sessions %v, %v", infos, err)
		}
		if infos, err := s.List(t.Context(), ""); len(infos) != 0 || err != nil {
			t.Errorf("the anonymous are listed as a user: %v, %v", infos, err)
		}
		time.Sleep(idle)
		if infos, err := s.List(t.Context(), "u1"); len(infos) != 0 || err != nil {
			t.Errorf("expired sessions are listed: %v, %v", infos, err)
		}
	})
}

// What a client says of itself is kept up to a length, and is valid text.
func TestPromise09_ListsShowClippedText(t *testing.T) {
	s := newSite(t, &cloakroom.Options{ClientAddr: func(*http.Request) string { return strings.Repeat("9", 1000) }})
	for agent, want := range map[string]string{
		strings.Repeat("é", 1000):                 strings.Repeat("é", 128),
		"a" + strings.Repeat("é", 1000):           "a" + strings.Repeat("é", 127),
		"\xff\xfe" + strings.Repeat("\x80", 1000): "",
		"":                        "",
		strings.Repeat("x", 9999): strings.Repeat("x", 256),
	} {
		v := s.visitor(t)
		v.header = http.Header{"User-Agent": {agent}}
		v.login("u1")
		infos, err := s.List(t.Context(), "u1")
		if err != nil || len(infos) != 1 || infos[0].Device != want || len(infos[0].Address) != 64 {
			t.Errorf("of %.20q the list shows %+v, %v", agent, infos, err)
		}
		v.visit(func(s *cloakroom.Session) { _ = s.End(context.Background()) })
	}
}

func TestPromise09_OneSessionIsEnded(t *testing.T) {
	s := newSite(t, nil)
	here, there, other := s.signedIn(t, "u1"), s.signedIn(t, "u1"), s.signedIn(t, "u2")
	if err := s.End(t.Context(), there.id()); err != nil {
		t.Fatal(err)
	}
	line := s.log.wantEvent(t, "session_ended")
	if line["reason"] != "revoked" || line["session"] == nil {
		t.Errorf("log line is %v", line)
	}
	if here.user() != "u1" || there.user() != "" || other.user() != "u2" {
		t.Errorf("left are %q, %q and %q", here.user(), there.user(), other.user())
	}
	if infos, err := s.List(t.Context(), "u1"); err != nil || len(infos) != 1 || infos[0].ID != here.id() {
		t.Errorf("listed are %+v, %v", infos, err)
	}
	// A second time, and for what never was: it is not live, and that was asked for.
	for _, id := range []store.ID{s.spy.live(t)[0].ID, {1, 2, 3}} {
		for range 2 {
			if err := s.End(t.Context(), id); err != nil {
				t.Errorf("ending what is not there: %v", err)
			}
		}
	}
}

func TestPromise09_TheOthersAndAllAreEnded(t *testing.T) {
	s := newSite(t, nil)
	var visitors []*visitor
	for range 5 {
		visitors = append(visitors, s.signedIn(t, "u1"))
	}
	bystander := s.signedIn(t, "u2")
	anonymous := s.visitor(t)
	anonymous.visit(func(s *cloakroom.Session) { word.Set(s, "x") })

	if n, err := s.EndUser(t.Context(), "u1", visitors[2].id()); n != 4 || err != nil {
		t.Errorf("ended %d, %v", n, err)
	}
	for i, v := range visitors {
		if got := v.user(); (got == "u1") != (i == 2) {
			t.Errorf("session %d is %q's", i, got)
		}
	}
	if line := s.log.wantEvent(t, "session_ended"); line["user"] != "u1" || line["count"] != 4.0 {
		t.Errorf("log line is %v", line)
	}
	if n, err := s.EndUser(t.Context(), "u1", store.ID{}); n != 1 || err != nil {
		t.Errorf("ended %d, %v", n, err)
	}
	if visitors[2].user() != "" {
		t.Error("the excepted one outlives the end of all")
	}
	if n, err := s.EndUser(t.Context(), "", store.ID{}); n != 0 || err != nil {
		t.Errorf("ended %d sessions of nobody, %v", n, err)
	}
	if n, err := s.EndUser(t.Context(), "nobody", store.ID{}); n != 0 || err != nil {
		t.Errorf("ended %d sessions of an unknown user, %v", n, err)
	}
	if bystander.user() != "u2" {
		t.Error("another user was signed out")
	}
	anonymous.visit(func(s *cloakroom.Session) {
		if word.GetOr(s, "") != "x" {
			t.Error("an anonymous session was ended")
		}
	})
}

// To list or end one user's sessions is to ask for that user, and nothing else.
func TestPromise09_ListingAsksForOneUser(t *testing.T) {
	s := newSite(t, nil)
	for i := range 50 {
		s.signedIn(t, fmt.Sprint("u", i))
	}
	if _, err := s.List(t.Context(), "u7"); err != nil {
		t.Fatal(err)
	}
	s.wantCalls(t, "list", "list")
	if _, err := s.EndUser(t.Context(), "u7", store.ID{}); err != nil {
		t.Fatal(err)
	}
	// In turns, as sessions may be renewed meanwhile.
	if calls := slices.Compact(s.spy.take()); !slices.Equal(calls, []string{"enduser"}) {
		t.Errorf("end all: store was called %q", calls)
	}
}

// bare is a store that does not know users.
type bare struct{ store.Store }

func TestPromise09_AStoreThatKnowsNoUsersSaysSo(t *testing.T) {
	s := newSite(t, nil)
	m := newManager(t, bare{memstore.New(nil)}, s.ring, nil)
	if _, err := m.List(t.Context(), "u1"); !errors.Is(err, cloakroom.ErrNoUserStore) {
		t.Errorf("List: %v", err)
	}
	if _, err := m.EndUser(t.Context(), "u1", store.ID{}); !errors.Is(err, cloakroom.ErrNoUserStore) {
		t.Errorf("EndUser: %v", err)
	}
	if _, err := cloakroom.New(bare{memstore.New(nil)}, s.ring, &cloakroom.Options{MaxSessions: 1}); err == nil {
		t.Error("New accepts a limit that it cannot keep")
	}
}

func TestPromise09_AnOutageIsAnError(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	id := v.id()
	s.spy.on(func(context.Context, string) error { return errors.New("connection refused to db-7.internal") })
	_, listErr := s.List(t.Context(), "u1")
	_, userErr := s.EndUser(t.Context(), "u1", store.ID{})
	for name, err := range map[string]error{"List": listErr, "EndUser": userErr, "End": s.End(t.Context(), id)} {
		if !errors.Is(err, cloakroom.ErrUnavailable) || strings.Contains(err.Error(), "db-7") || !strings.HasPrefix(err.Error(), "cloakroom: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.spy.on(nil)
	if v.user() != "u1" {
		t.Error("what failed has ended the session")
	}
}

// A limit of three, and a fourth login: the oldest goes.
func TestASVS_7_1_2_TheOldestSessionsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, &cloakroom.Options{MaxSessions: 3})
		bystander := s.signedIn(t, "u2")
		var visitors []*visitor
		for range 4 {
			visitors = append(visitors, s.signedIn(t, "u1"))
			time.Sleep(time.Second)
		}
		for i, v := range visitors {
			if got := v.user(); (got == "u1") != (i > 0) {
				t.Errorf("session %d is %q's", i, got)
			}
		}
		if line := s.log.wantEvent(t, "session_ended"); line["reason"] != "excess" || line["user"] != "u1" {
			t.Errorf("log line is %v", line)
		}
		// Who signs in again over their own session takes no place from another.
		visitors[1].login("u1")
		for _, v := range append(visitors[1:], bystander) {
			if v.user() == "" {
				t.Error("a login over one's own session ended another")
			}
		}
		// Expired ones take no place either.
		time.Sleep(2 * idle)
		for range 3 {
			visitors = append(visitors, s.signedIn(t, "u1"))
		}
		for _, v := range visitors[4:] {
			if v.user() != "u1" {
				t.Error("an expired session took a place")
			}
		}
	})
}

// Twenty logins of one user at once. Each that was answered has left at most
// three; once all are answered there are exactly three, the newest.
func TestPromise09_TheLimitHoldsForLoginsAtOnce(t *testing.T) {
	for range 10 {
		s := newSite(t, &cloakroom.Options{MaxSessions: 3})
		const n = 20
		gate := make(chan struct{})
		var all sync.WaitGroup
		visitors := make([]*visitor, n)
		codes := make([]int, n)
		for i := range visitors {
			visitors[i] = s.visitor(t)
			all.Go(func() {
				<-gate
				codes[i] = visitors[i].do(func(_ http.ResponseWriter, r *http.Request) {
					login(cloakroom.FromContext(r.Context()))
				}).Code
			})
		}
		close(gate)
		all.Wait()
		live := s.spy.live(t)
		if len(live) != 3 {
			t.Errorf("%d sessions are live, want 3", len(live))
		}
		signedIn := 0
		for i, v := range visitors {
			user := v.user()
			if user == "u1" {
				signedIn++
			}
			// A login that was pushed out before it was answered is told so, and gets
			// no cookie that is good for nothing.
			if codes[i] != http.StatusOK && (codes[i] != http.StatusConflict || v.cookie != "") {
				t.Errorf("login %d was answered %d with cookie %q", i, codes[i], v.cookie)
			}
		}
		if signedIn != 3 {
			t.Errorf("%d browsers are signed in, want 3", signedIn)
		}
		infos, err := s.List(t.Context(), "u1")
		if err != nil || len(infos) != 3 {
			t.Errorf("listed are %+v, %v", infos, err)
		}
		// Those that stay are the newest of all that ever were, by (Created, ID).
		s.spy.mu.Lock()
		puts := s.spy.puts
		s.spy.mu.Unlock()
		slices.SortFunc(puts, func(a, b store.Record) int {
			if c := b.Created.Compare(a.Created); c != 0 {
				return c
			}
			return slices.Compare(b.ID[:], a.ID[:])
		})
		for _, rec := range live {
			if !slices.ContainsFunc(puts[:3], func(r store.Record) bool { return r.ID == rec.ID }) {
				t.Error("a session that is not among the newest three stayed")
			}
		}
	}
}

// A login that is pushed out before it is answered, as its clock is behind that of
// others, is no success page with a cookie that is nobody's.
func TestPromise09_ALoginThatIsPushedOutIsTold(t *testing.T) {
	s := newSite(t, &cloakroom.Options{MaxSessions: 1})
	first := s.signedIn(t, "u1")
	id := first.id()
	s.spy.lie(func(r store.Record) store.Record {
		if r.ID == id {
			r.Created = r.Created.Add(time.Hour)
		}
		return r
	})
	second := s.visitor(t)
	w := second.do(func(_ http.ResponseWriter, r *http.Request) { login(cloakroom.FromContext(r.Context())) })
	s.spy.lie(nil)
	if w.Code != http.StatusConflict || second.cookie != "" {
		t.Errorf("a login that was pushed out is answered %d with cookie %q", w.Code, second.cookie)
	}
	if live := s.spy.live(t); len(live) != 1 || first.user() != "u1" {
		t.Errorf("left are %d sessions, the first is %q's", len(live), first.user())
	}
}

// Without a limit there is none.
func TestPromise09_NoLimitUnlessAsked(t *testing.T) { both(t, testPromise09_NoLimitUnlessAsked) }

func testPromise09_NoLimitUnlessAsked(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	var visitors []*visitor
	for range 40 {
		visitors = append(visitors, s.signedIn(t, "u1"))
	}
	for _, v := range visitors {
		if v.user() != "u1" {
			t.Fatal("a session was ended")
		}
	}
}

// A handle is what people and log lines see; the list and the log agree on it.
func TestPromise09_LogAndListNameASessionAlike(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	infos, err := s.List(t.Context(), "u1")
	if err != nil || len(infos) != 1 {
		t.Fatal(infos, err)
	}
	if err := s.End(t.Context(), infos[0].ID); err != nil {
		t.Fatal(err)
	}
	line := s.log.wantEvent(t, "session_ended")
	if line["session"] != infos[0].ID.Handle() || strings.Contains(s.log.String(), infos[0].ID.String()) {
		t.Errorf("log line is %v, the handle %s", line, infos[0].ID.Handle())
	}
	if v.user() != "" {
		t.Error("still signed in")
	}
}
