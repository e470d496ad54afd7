package promises_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// kind is what an actor of a scene does.
type kind string

const (
	reads      kind = "read" // and moves the idle time: a touch is due
	sets       kind = "set"
	updates    kind = "update"
	renews     kind = "renew"
	setsRoles  kind = "set roles"
	logsIn     kind = "login"       // as the scene's user, over the session
	logsInSet  kind = "login, set"  // and stores a value in the same request
	logsInElse kind = "other login" // as another user, over the session
	logsOut    kind = "logout"
	ends       kind = "end"      // an administrator ends this session
	endsUser   kind = "end user" // an administrator ends all sessions of the scene's user
)

// actor is one request of a scene.
type actor struct {
	kind   kind
	at     int // the instance
	name   string
	trace  *trace
	answer answer
}

// scene is one session and several requests that come with its token at the same
// time, whatever order their steps take. Values and names are the actors' own,
// so that the scene's end tells what became of each.
type scene struct {
	w      *world
	cookie string
	id     store.ID
	user   string // who is signed in, "" for nobody
	other  string // whom logsInElse signs in
	record store.Record
	before contents
	actors []*actor
	brief  bool // look at one instance only, and without a network
}

// newScene looks at a session and casts the actors, who sit on the instances in
// turn, the first on instance from.
func newScene(tb testing.TB, w *world, cookie string, from int, kinds ...kind) *scene {
	tb.Helper()
	s := &scene{w: w, cookie: cookie, id: idOf(cookie), other: w.fresh("other")}
	var err error
	if s.before, err = w.do(request{method: "GET", path: "/read", cookie: cookie, direct: true}).contents(); err != nil {
		tb.Fatal(err)
	}
	s.user = s.before.User
	var ok bool
	if s.record, ok = w.live(s.id); !ok {
		tb.Fatal("a scene needs a live session")
	}
	for i, k := range kinds {
		a := &actor{kind: k, at: (from + i) % len(w.instances), name: w.fresh("v"), trace: w.trace()}
		if k == reads {
			a.trace.idle = time.Hour
		}
		s.actors = append(s.actors, a)
	}
	return s
}

// play sends the actor's request and keeps the answer.
func (s *scene) play(a *actor) {
	q := request{at: a.at, method: "POST", cookie: s.cookie, trace: a.trace}
	switch a.kind {
	case reads:
		q.method, q.path = "GET", "/read"
	case sets:
		q.path, q.form = "/set", url.Values{"name": {a.name}, "value": {a.name}}
	case updates:
		q.path = "/update"
	case renews:
		q.path = "/renew"
	case setsRoles:
		q.path, q.form = "/roles", url.Values{"role": {a.name}}
	case logsIn:
		q.path, q.form = "/login", url.Values{"user": {s.user}}
	case logsInSet:
		q.path, q.form = "/login", url.Values{"user": {s.user}, "name": {a.name}, "value": {a.name}}
	case logsInElse:
		q.path, q.form = "/login", url.Values{"user": {s.other}}
	case logsOut:
		q.path = "/logout"
	case ends: // an administrator has another cookie, here none
		q.path, q.form, q.cookie = "/admin/end", url.Values{"id": {s.id.String()}}, ""
	case endsUser:
		q.path, q.form, q.cookie = "/admin/enduser", url.Values{"user": {s.user}}, ""
	}
	a.answer = s.w.do(q)
}

func (a *actor) isLogin() bool {
	return a.kind == logsIn || a.kind == logsInSet || a.kind == logsInElse
}

func (a *actor) isRenewal() bool { return a.kind == renews || a.kind == setsRoles }

func (a *actor) isWrite() bool { return a.kind == sets || a.kind == updates }

func (s *scene) has(k kind) bool {
	return slices.ContainsFunc(s.actors, func(a *actor) bool { return a.kind == k })
}

// winner returns the actor who renewed the scene's session: whose End of the old
// token the store has taken. Nobody if it lives or was ended otherwise.
func (s *scene) winner() (won *actor) {
	for _, a := range s.actors {
		if (a.isLogin() || a.isRenewal()) && slices.ContainsFunc(a.trace.seen(), func(c *call) bool {
			return c.op == opEnd && c.id == s.id && c.did()
		}) {
			won = a
		}
	}
	return won
}

// creation returns the call that stored the actor's new session, or nil.
func (a *actor) creation() *call {
	for _, c := range a.trace.seen() {
		if c.op == opCreate && c.did() {
			return c
		}
	}
	return nil
}

// check judges the end of the scene. The rules hold for every order of steps.
func (s *scene) check(tb testing.TB) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, a := range s.actors {
		if err := s.checkAnswer(tb, a); err != nil {
			fault("%s: %w", a.kind, err)
		}
	}
	rec, _ := s.w.live(s.id)
	why := rec.Ended.Reason
	for _, a := range s.actors {
		if a.answer.ok() && why == store.NotEnded && (a.kind == logsOut || a.kind == ends || a.kind == endsUser && s.user != "") {
			fault("%s was acknowledged, and the session lives", a.kind)
		}
		if err := s.checkSuccessor(tb, a, why); err != nil {
			fault("%s: %w", a.kind, err)
		}
	}
	if why != store.NotEnded {
		if err := s.w.nobodyAt(s.cookie, s.brief, s.instances()...); err != nil {
			faults = append(faults, err)
		}
	}
	if err := s.checkValues(tb, why); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return fmt.Errorf("%w\n%s", errors.Join(faults...), s)
	}
	return nil
}

// checkAnswer judges an answer by what the store said to its request.
func (s *scene) checkAnswer(tb testing.TB, a *actor) error {
	saved := slices.ContainsFunc(a.trace.seen(), func(c *call) bool { return c.op == opUpdate && c.id == s.id && c.did() })
	switch ok := a.answer.ok(); {
	case !ok:
		if err := a.answer.refusal(); err != nil {
			return err
		}
		if a.answer.status != http.StatusConflict && a.answer.status != http.StatusUnauthorized {
			return fmt.Errorf("answered %v", a.answer)
		}
		rec, _ := s.w.live(s.id)
		renewed := rec.Ended.Reason == store.Renewed
		// What an end of all does to a new token is no renewal, and is told first.
		told := !a.isLogin() && !(a.isRenewal() && s.has(endsUser))
		if a.answer.status == http.StatusConflict && told && (a.answer.detail() == "Session renewed") != renewed {
			return fmt.Errorf("refused with %q after %v", a.answer.detail(), rec.Ended.Reason)
		}
		if a.kind == reads || a.kind == endsUser || a.kind == ends && !renewed {
			return fmt.Errorf("answered %v", a.answer)
		}
		if a.isWrite() && saved {
			return errors.New("refused, and yet the change is stored")
		}
	case a.isWrite() && !saved:
		return errors.New("acknowledged, and nothing is stored")
	case a.isLogin() || a.isRenewal():
		c := a.creation()
		if a.answer.cookie == "" || a.answer.expired || c == nil || c.id != idOf(a.answer.cookie) || a.answer.cookie == s.cookie {
			return fmt.Errorf("the cookie is not that of a new session: %v", a.answer)
		}
	case a.kind == logsOut:
		if !a.answer.expired {
			return fmt.Errorf("the cookie was not taken back: %v", a.answer)
		}
	case a.answer.touchesCookie():
		return fmt.Errorf("set a cookie: %v", a.answer)
	}
	if n := a.trace.count(opCreate); n > 1 {
		return fmt.Errorf("%d creates in one request", n)
	}
	return nil
}

// checkSuccessor judges the session that an actor has made, if any: it lives if
// and only if it may.
func (s *scene) checkSuccessor(tb testing.TB, a *actor, why store.Reason) error {
	made := a.creation()
	if made == nil {
		return nil
	}
	rec, live := s.w.live(made.id)
	if live && !a.answer.ok() {
		return errors.New("left a live session that nobody knows")
	}
	if live && rec.Expires.After(rec.Deadline) {
		return fmt.Errorf("expires at %v, after its deadline %v", rec.Expires, rec.Deadline)
	}
	if live && a.isRenewal() {
		if why != store.Renewed || s.winner() != a {
			return fmt.Errorf("goes on from a session that was ended (%v)", why)
		}
		if !rec.Created.Equal(s.record.Created) || !rec.Deadline.Equal(s.record.Deadline) || rec.UserID != s.record.UserID {
			return errors.New("a renewal moved what is fixed")
		}
	}
	endedToo := false // an end of all may have met the new session
	for _, e := range s.actors {
		if e.kind != endsUser || !e.answer.ok() || made.user != s.user || s.user == "" {
			continue
		}
		turns := e.trace.seen()
		endedToo = endedToo || turns[len(turns)-1].ended > made.began
		if live && (a.isRenewal() || made.ended < turns[0].began) {
			return errors.New("outlived an end of all sessions")
		}
	}
	if !live && a.answer.ok() && !endedToo {
		return errors.New("acknowledged, and its session is dead")
	}
	return nil
}

// checkValues judges what is in the sessions that live: every acknowledged
// change where it must be, and nothing else.
func (s *scene) checkValues(tb testing.TB, why store.Reason) error {
	won := s.winner()
	carried := contents{User: s.user, Count: s.before.Count, Values: map[string]string{}}
	for name, v := range s.before.Values {
		carried.Values[name] = v
	}
	for _, a := range s.actors {
		if a.kind == sets && a.answer.ok() {
			carried.Values[a.name] = a.name
		}
		if a.kind == updates && a.answer.ok() {
			carried.Count++
		}
	}
	if why == store.NotEnded {
		return s.holds(s.cookie, carried)
	}
	for _, a := range s.actors {
		made := a.creation()
		if made == nil {
			continue
		}
		if _, live := s.w.live(made.id); !live {
			continue
		}
		want := contents{Values: map[string]string{}}
		if a == won && a.kind != logsInElse || a == won && s.user == "" {
			want = carried
		}
		want.User = made.user
		if a.kind == logsInSet {
			want.Values[a.name] = a.name
		}
		if err := s.holds(a.answer.cookie, want); err != nil {
			return fmt.Errorf("%s: %w", a.kind, err)
		}
	}
	return nil
}

// holds compares a session with what it should hold, on every instance.
func (s *scene) holds(cookie string, want contents) error {
	for _, at := range s.instances() {
		got, err := s.w.do(request{at: at, method: "GET", path: "/read", cookie: cookie, direct: s.brief}).contents()
		if err != nil {
			return err
		}
		if got.User != want.User || got.Count != want.Count {
			return fmt.Errorf("the session is %q's and counts %d, want %q and %d", got.User, got.Count, want.User, want.Count)
		}
		for name, v := range want.Values {
			if got.Values[name] != v {
				return fmt.Errorf("lost %s: the session holds %v", name, got.Values)
			}
		}
		if len(got.Values) != len(want.Values) {
			return fmt.Errorf("the session holds %v, want %v", got.Values, want.Values)
		}
	}
	return nil
}

// instances are those on which the scene's end is looked at.
func (s *scene) instances() []int {
	if s.brief {
		return []int{int(s.id[0]) % 2}
	}
	return []int{0, 1}
}

// String tells what happened, call by call.
func (s *scene) String() string {
	var calls []*call
	who := map[*trace]string{}
	var b strings.Builder
	for i, a := range s.actors {
		who[a.trace] = fmt.Sprintf("%d %s", i, a.kind)
		calls = append(calls, a.trace.seen()...)
		fmt.Fprintf(&b, "  %d %s at instance %d: %v\n", i, a.kind, a.at, a.answer)
	}
	slices.SortFunc(calls, func(a, b *call) int { return cmp.Compare(a.began, b.began) })
	for _, c := range calls {
		which := "new"
		if c.id == s.id {
			which = "old"
		}
		fmt.Fprintf(&b, "  [%d,%d] %s: %s %s version %d: %v\n", c.began, c.ended, who[c.by], c.op, which, c.version, c.err)
	}
	return b.String()
}
