package promises_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
)

// flow is something a visitor does, while the store fails.
type flow struct {
	name    string
	begin   string // who comes: "" nobody, "stranger" with a value, "user" signed in
	request request
	change  func(*stage, answer) error // what a success must have done; nil for a page that changes nothing
	ends    bool                       // it is there to end the session
}

// stage is one performance of a flow.
type stage struct {
	w      *world
	user   string
	cookie string // what the visitor came with
	trace  *trace
}

// USER and ID in a form stand for the stage's.
var flows = []flow{
	{"first write", "", post("/set", "open", "", "name", "n", "value", "v"), (*stage).newSession, false},
	{"write", "user", post("/set", "name", "n", "value", "v"), (*stage).written, false},
	{"update", "stranger", post("/update"), (*stage).written, false},
	{"login", "", post("/login", "user", "USER"), (*stage).newSession, false},
	{"login of a stranger", "stranger", post("/login", "user", "USER"), (*stage).renewed, false},
	{"login over a session", "user", post("/login", "user", "USER", "name", "n", "value", "v"), (*stage).renewed, false},
	{"login as another", "user", post("/login", "user", "USER-else"), (*stage).newSession, false},
	{"renewal", "user", post("/renew"), (*stage).renewed, false},
	{"other roles", "user", post("/roles", "role", "r"), (*stage).renewed, false},
	{"write and renewal", "user", post("/steps", "do", "set,renew,commit,set"), (*stage).renewed, false},
	{"logout", "user", post("/logout"), (*stage).ended, true},
	{"end", "user", post("/admin/end", "id", "ID"), (*stage).ended, true},
	{"end all", "user", post("/admin/enduser", "user", "USER"), (*stage).ended, true},
	{"list", "user", request{method: "GET", path: "/list"}, nil, false},
	{"page", "user", request{method: "GET", path: "/me"}, nil, false},
}

// newSession: the answer brought a session that works.
func (s *stage) newSession(a answer) error {
	if a.cookie == "" {
		return fmt.Errorf("acknowledged without a cookie: %v", a)
	}
	if _, err := s.w.do(request{at: 1, method: "GET", path: "/me", cookie: a.cookie}).page(); err != nil {
		return fmt.Errorf("acknowledged, and there is no session: %w", err)
	}
	if s.cookie != "" {
		return s.w.nobody(s.cookie)
	}
	return nil
}

// renewed: the same session goes on under another token.
func (s *stage) renewed(a answer) error {
	if err := s.newSession(a); err != nil {
		return err
	}
	c, err := s.w.do(request{at: 1, method: "GET", path: "/read", cookie: a.cookie}).contents()
	if err != nil || c.User != s.user || c.Values["first"] != "f" {
		return fmt.Errorf("the session did not go on: %+v, %w", c, err)
	}
	return nil
}

func (s *stage) written(a answer) error {
	c, err := s.w.do(request{at: 1, method: "GET", path: "/read", cookie: cmp.Or(a.cookie, s.cookie)}).contents()
	if err == nil && c.Values["n"] != "v" && c.Count == 0 {
		err = fmt.Errorf("acknowledged, and not there: %+v", c)
	}
	return err
}

func (s *stage) ended(answer) error { return s.w.nobody(s.cookie) }

// page is an error for an answer that is none of the application's pages.
func (a answer) page() (string, error) {
	if !a.ok() || a.header.Get(pageHeader) == "" || !strings.HasPrefix(a.body, "page of") {
		return "", fmt.Errorf("no page: %v", a)
	}
	return a.body, nil
}

// finds reports a flow that asks for the sessions of a user, which sealed ones
// cannot be asked for.
func (fl flow) finds() bool { return fl.request.path == "/admin/enduser" || fl.request.path == "/list" }

// failure is how the store fails.
type failure struct {
	name  string
	fault fault
	done  bool // only the answer is missing
	slow  bool // it takes the store's deadline
}

var failures = []failure{
	{"refuses", refused, false, false},
	{"answers into the void", unheard, true, false},
	{"hangs", hanging, false, true},
	{"hangs after it is done", hangingUnheard, true, true},
}

// The n-th call of the store fails, for every n, in every way, once or for good,
// whatever the visitor does. No change is acknowledged that is not there, no
// guard opens, an outage ends nobody's session, and when it is over all goes on.
func TestASVS_16_5_3_EveryCallOfTheStoreFails(t *testing.T) {
	t.Parallel()
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			everyCallFails(t, func(t *testing.T) *world { return prepareWorld(t, open(t)) })
		})
	}
	t.Run("sealed", func(t *testing.T) {
		everyCallFails(t, func(t *testing.T) *world {
			w := prepareWorld(t, openers["memory"](t))
			w.sealed = true
			return w
		})
	})
	// And with a breaker in between, which shows all of it.
	t.Run("breaker", func(t *testing.T) {
		everyCallFails(t, func(t *testing.T) *world {
			w := prepareWorld(t, openers["memory"](t))
			w.guard = func(st store.Store) store.Store { return guard(t, st) }
			return w
		})
	})
}

func everyCallFails(t *testing.T, prepare func(*testing.T) *world) {
	t.Parallel()
	take := func(i int) bool { return *prove || mine(t, i) }
	leavesNoGoroutine(t, func(t *testing.T) {
		w := prepare(t)
		limits := cloakroom.Options{MaxSessions: 2, StoreTimeout: slowStore}
		if w.sealed {
			limits.MaxSessions = 0 // nobody can count cookies
		}
		w.start(t, &limits)
		limits.StoreTimeout = 300 * time.Millisecond
		w.start(t, &limits) // instances 2 and 3 have no patience
		jobs := make(chan func())
		var wg sync.WaitGroup
		for range 48 {
			wg.Go(func() {
				for job := range jobs {
					job()
				}
			})
		}
		for i, fl := range flows {
			for j, fa := range failures {
				for _, forGood := range []bool{false, true} {
					if take(i+j) && !(w.sealed && fl.finds()) {
						jobs <- func() { w.failAtEach(t, fl, fa, forGood) }
					}
				}
			}
		}
		close(jobs)
		wg.Wait()
	})
}

// leavesNoGoroutine runs a test and waits until all goroutines that it has
// started, and that those have started, have ended. They carry a label by which
// they are told from those of other tests.
func leavesNoGoroutine(t *testing.T, f func(*testing.T)) {
	t.Helper()
	label := fmt.Sprintf("{%q:%q}", "test", t.Name())
	pprof.SetGoroutineLabels(pprof.WithLabels(t.Context(), pprof.Labels("test", t.Name())))
	defer pprof.SetGoroutineLabels(context.Background())
	t.Run("flows", f)
	var left string
	for range 500 {
		if left = goroutines(label); strings.HasPrefix(left, "1 @") && strings.Count(left, label) == 1 {
			return // this one
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("goroutines are left:\n%s", left)
}

// goroutines returns the stacks with a label, each under its number and "@".
func goroutines(label string) string {
	var all, some strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
	_, stacks, _ := strings.Cut(all.String(), "\n")
	for block := range strings.SplitSeq(stacks, "\n\n") {
		if strings.Contains(block, "# labels: "+label) {
			some.WriteString(block + "\n\n")
		}
	}
	return some.String()
}

// failAtEach performs a flow again and again, until it ends before the call that
// would fail.
func (w *world) failAtEach(t *testing.T, fl flow, fa failure, forGood bool) {
	slow := 0
	for n := 1; n < 20; n++ {
		s := w.stage(t, fl)
		a, hit := s.perform(fl, fa, n, forGood)
		if s.slowMachine() && slow < 50 {
			slow++
			n--
			continue
		}
		err := s.judge(fl, a, hit != nil)
		if err == nil && hit != nil && hit.looksUp() && fa.done && !forGood && !a.ok() {
			err = errors.New("done, and the lost answer was not looked up")
		}
		if err != nil {
			t.Errorf("%s; the store %s at call %d, for good %t: %v\n%s", fl.name, fa.name, n, forGood, err, s.story(a))
		}
		if err != nil || hit == nil {
			return
		}
	}
	t.Errorf("%s; the store %s, for good %t: no end of it", fl.name, fa.name, forGood)
}

// perform plays the flow with a store whose n-th call fails, and returns that
// call: nil if there were fewer.
func (s *stage) perform(fl flow, fa failure, n int, forGood bool) (a answer, hit *call) {
	s.trace.gate = func(c *call) fault {
		if c.n == n || forGood && c.n > n {
			hit = cmp.Or(hit, c)
			return fa.fault
		}
		return nil
	}
	q := s.fill(fl.request)
	q.trace = s.trace
	if fa.slow {
		q.at = 2
	}
	a = s.w.do(q)
	return a, hit
}

// looksUp reports a call whose lost answer the store can be asked for.
func (c *call) looksUp() bool { return c.op == opCreate || c.op == opUpdate || c.op == opEnd }

// stage prepares a flow: the visitor and, where there is a user, two more of
// their sessions, so that a login meets the limit.
func (w *world) stage(t *testing.T, fl flow) *stage {
	s := &stage{w: w, trace: w.trace()}
	login := func(cookie string) string {
		a := w.must(t, request{method: "POST", path: "/login", cookie: cookie,
			form: url.Values{"user": {s.user}, "name": {"first"}, "value": {"f"}}})
		// Of sessions that began in the same millisecond the limit takes any.
		time.Sleep(2 * time.Millisecond)
		return a.cookie
	}
	if fl.request.form.Get("user") != "" || fl.begin == "user" {
		s.user = w.fresh("u")
		for range 2 {
			login("")
		}
	}
	switch fl.begin {
	case "stranger":
		s.cookie = w.must(t, post("/set", "open", "", "name", "first", "value", "f")).cookie
	case "user":
		s.cookie = login("")
	}
	return s
}

// fill puts the stage's user and session into a request.
func (s *stage) fill(q request) request {
	q.cookie = s.cookie
	form := url.Values{}
	for name, v := range q.form {
		v := strings.Replace(v[0], "USER", s.user, 1)
		if v == "ID" {
			v = s.w.id(s.cookie).String()
		}
		form.Set(name, v)
	}
	q.form = form
	return q
}

// judge holds a performance to the promises.
func (s *stage) judge(fl flow, a answer, hit bool) error {
	switch {
	case a.ok():
		if _, err := a.page(); err != nil && fl.request.path != "/admin/end" && fl.request.path != "/admin/enduser" {
			return err
		}
		if fl.change != nil {
			if err := fl.change(s, a); err != nil {
				return err
			}
		}
	case !hit:
		return fmt.Errorf("failed without a reason: %v", a)
	case a.status != http.StatusServiceUnavailable || a.detail() != "Unavailable":
		return fmt.Errorf("the outage is answered %v", a)
	}
	if !a.ok() && a.cookie == "" {
		if err := a.refusal(); err != nil {
			return err
		}
	}
	if err := s.judgeCalls(a); err != nil {
		return err
	}
	return s.judgeAfter(fl, a)
}

// judgeCalls: nothing that may have been applied was sent again, and no session
// lives that nobody knows, but where the store did not even take its end.
func (s *stage) judgeCalls(a answer) error {
	type sent struct {
		op      op
		id      store.ID
		version uint64
	}
	before := map[sent]bool{}
	lostEnd := map[store.ID]bool{}
	for _, c := range s.trace.seen() {
		if c.op == opCreate || c.op == opUpdate || c.op == opEnd {
			what := sent{c.op, c.id, c.version}
			if before[what] {
				return fmt.Errorf("%s was sent again", c.op)
			}
			before[what] = true
		}
		if c.op == opEnd && !c.answered() {
			lostEnd[c.id] = true
		}
	}
	for _, id := range s.trace.created() {
		_, live := s.w.live(id)
		if live && (a.cookie == "" || idOf(a.cookie) != id) && !lostEnd[id] {
			return errors.New("a session lives that nobody knows")
		}
	}
	return nil
}

// judgeAfter: when the store answers again, the visitor's session goes on and the
// same request succeeds. The one exception: the store has ended the old token,
// and then neither said so nor could be asked.
func (s *stage) judgeAfter(fl flow, a answer) error {
	current := s.cookie
	if a.cookie != "" && !a.expired {
		current = a.cookie
	}
	if a.ok() && fl.ends {
		return nil
	}
	if current != "" {
		b := s.w.do(request{at: 1, method: "GET", path: "/me", cookie: current})
		if _, err := b.page(); err != nil {
			if s.lostAnswerOfEnd(fl) {
				return nil
			}
			return fmt.Errorf("the outage has signed the visitor out: %w", err)
		}
	}
	if a.ok() {
		return nil
	}
	q := s.fill(fl.request)
	q.cookie, q.at = current, 1
	b := s.w.do(q)
	if !b.ok() {
		return fmt.Errorf("after the outage: %v", b)
	}
	again := *s
	again.cookie = current
	if fl.change != nil {
		return fl.change(&again, b)
	}
	return nil
}

// lostAnswerOfEnd reports that the store has ended the visitor's session, as it
// was told to, and that nobody could learn of it: asked again, it did not answer
// either.
func (s *stage) lostAnswerOfEnd(fl flow) bool {
	ended := false
	for _, c := range s.trace.seen() {
		switch {
		case (c.op == opEnd && c.id == s.w.id(s.cookie) || c.op == opEndUser) && s.ends(c):
			ended = true
		case ended && c.op == opGet && c.err != nil && !isAnswer(c.err):
			return true
		}
	}
	return ended && fl.ends
}

// ends reports a call that has ended something. The store does not know a sealed
// session before it ends.
func (s *stage) ends(c *call) bool {
	return c.did() || s.w.sealed && c.applied && errors.Is(c.result, store.ErrNotFound)
}

// slowMachine reports that the store missed its deadline by itself: what is
// under test then is the machine.
func (s *stage) slowMachine() bool {
	return slices.ContainsFunc(s.trace.seen(), func(c *call) bool {
		return c.applied && errors.Is(c.result, context.DeadlineExceeded)
	})
}

// story tells what the request asked of the store.
func (s *stage) story(a answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %v\n", a)
	for _, c := range s.trace.seen() {
		which := "new"
		if c.id == s.w.id(s.cookie) {
			which = "old"
		}
		fmt.Fprintf(&b, "  %d %s %s version %d: applied %t %v, told %v\n", c.n, c.op, which, c.version, c.applied, c.result, c.err)
	}
	return b.String()
}
