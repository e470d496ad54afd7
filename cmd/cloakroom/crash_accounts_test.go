package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// holder is an account whose password changes while the service is killed.
type holder struct {
	name, id string
	now      string // the password; "" for none yet
	maybe    string // the one that was asked for when nobody answered any more
	was      string // the one before
	link     string // path and token of the link that was on its way then
	used     []string
}

// accounts is a service that is killed while accounts change, and what it has
// acknowledged of that.
type accounts struct {
	*crash
	admin ticket
	steps int // of whatever needs a name or a number of its own

	changer holder    // changes its password
	invited []*holder // come by links, and reset their passwords by others
	dan     holder    // is disabled and enabled
	off     bool      // whether dan is disabled
	doubt   bool      // whether that is not known

	guesses int // wrong passwords of gus that were looked at

	mu      sync.Mutex
	acts    map[string]string // what was acknowledged and stands in the audit log: kind by request id
	changes int
	noted   chan struct{} // an act was acknowledged
}

// ask sends a request; the answer is away where nobody knows what came of it.
func (a *accounts) ask(method, path string, t ticket, body string) (reply, bool) {
	r, err := a.c.ask(method, path, t.cookie, t.csrf, body, "X-Forwarded-For", strangerNumber(rand.IntN(1<<24)))
	return r, err != nil || r.status == http.StatusServiceUnavailable
}

// sure asks until somebody answers: right behind a kill.
func (a *accounts) sure(method, path string, t ticket, body string) reply {
	a.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if r, away := a.ask(method, path, t, body); !away {
			return r
		}
	}
	a.t.Fatalf("%s %s: no answer", method, path)
	return reply{}
}

// note keeps an act that was acknowledged.
func (a *accounts) note(kind string, r reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acts[r.header.Get("X-Request-Id")] = kind
	a.changes++
	select {
	case a.noted <- struct{}{}:
	default:
	}
}

// fresh returns a password that was not there before. One actor asks.
func (a *accounts) fresh() string {
	a.steps++
	return fmt.Sprintf("quiet river stone %06d", a.steps)
}

// enter signs in, and reads the token for what follows.
func (a *accounts) enter(user, pw string) (ticket, bool) {
	r, away := a.ask("POST", "/auth/login", ticket{}, credentials(user, pw))
	t := ticket{user: user, cookie: r.cookie}
	if away {
		return t, false
	}
	if r.status != http.StatusOK {
		a.t.Errorf("%s: %s cannot sign in: %d %s", a.crash.name, user, r.status, r.body)
		return t, false
	}
	look, err := a.c.look(&t)
	return t, err == nil && look.status == http.StatusOK
}

// entered signs in for sure: each connection that the kill cut can cost a request.
func (a *accounts) entered(user string) ticket {
	a.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && !a.t.Failed(); time.Sleep(20 * time.Millisecond) {
		if t, ok := a.enter(user, goodPassword); ok {
			return t
		}
	}
	a.t.Fatalf("%s: %s is not let in", a.crash.name, user)
	return ticket{}
}

// change changes a password again and again, by itself and by links.
func (a *accounts) change(over context.Context) {
	for over.Err() == nil {
		if rand.IntN(2) == 0 {
			if !a.invite() {
				return
			}
			continue
		}
		h := &a.changer
		t, ok := a.enter(h.name, h.now)
		if !ok {
			return
		}
		h.maybe = a.fresh()
		body, _ := json.Marshal(map[string]string{"current": h.now, "new": h.maybe})
		r, away := a.ask("POST", "/auth/password", t, string(body))
		if away || !a.took(r, http.StatusNoContent) {
			return
		}
		h.was, h.now, h.maybe = h.now, h.maybe, ""
		a.note("password_changed", r)
	}
}

// invite adds a user, or resets one's password, and uses the link.
func (a *accounts) invite() bool {
	h, kind, made := &holder{}, "invite", "user_added"
	path, body := "/auth/admin/users", fmt.Sprintf(`{"name":"guest%d","roles":[]}`, a.steps)
	if n := len(a.invited); n > 0 && a.invited[n-1].now != "" && rand.IntN(2) == 0 {
		h, kind, made = a.invited[n-1], "reset", "reset_made"
		path, body = "/auth/admin/users/"+h.id+"/reset", "{}"
	}
	r, away := a.ask("POST", path, a.admin, body)
	if away || !a.took(r, http.StatusCreated) {
		return false
	}
	var doc struct {
		User          struct{ ID, Name string }
		Invite, Reset struct{ URL string }
	}
	if err := json.Unmarshal([]byte(r.body), &doc); err != nil {
		a.t.Error(err)
		return false
	}
	a.note(made, r)
	if kind == "invite" {
		h.id, h.name = doc.User.ID, doc.User.Name
		a.invited = append(a.invited, h)
	}
	if kind == "invite" && doc.Invite.URL == "" {
		return false // the database went away behind the user: the answer says that there is no link
	}
	link, err := url.Parse(doc.Invite.URL + doc.Reset.URL)
	if err != nil || link.Query().Get("token") == "" {
		a.t.Errorf("%s: a link that is none (%v): %s", path, err, r.body)
		return false
	}
	h.maybe, h.link = a.fresh(), "/auth/"+kind+" "+link.Query().Get("token")
	path, body = claim(h.link, h.maybe)
	r, away = a.ask("POST", path, ticket{}, body)
	if away || !a.took(r, http.StatusNoContent) {
		return false
	}
	h.settle()
	a.note("link_used", r)
	return true
}

// settle says that what was on its way has come.
func (h *holder) settle() {
	h.was, h.now, h.maybe = h.now, h.maybe, ""
	if h.link != "" {
		h.used = append(h.used, h.link)
	}
	h.link = ""
}

// claim returns the path and the body that use a link.
func claim(link, pw string) (path, body string) {
	path, token, _ := strings.Cut(link, " ")
	return path, fmt.Sprintf(`{"token":%q,"password":%q}`, token, pw)
}

// toggle disables and enables dan.
func (a *accounts) toggle(over context.Context) {
	for over.Err() == nil {
		act := "disable"
		if a.off {
			act = "enable"
		}
		a.doubt = true
		r, away := a.ask("POST", "/auth/admin/users/"+a.dan.id+"/"+act, a.admin, "{}")
		if away || !a.took(r, http.StatusNoContent) {
			return
		}
		a.off, a.doubt = !a.off, false
		a.note("user_"+act+"d", r)
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // the others want to get on as well
	}
}

// guess tries wrong passwords of gus, until they close the account.
func (a *accounts) guess(over context.Context) {
	for over.Err() == nil && a.guesses < 5 {
		r, away := a.ask("POST", "/auth/login", ticket{}, credentials("gus", "a wrong password"))
		if away || !a.took(r, http.StatusUnauthorized) {
			return
		}
		a.guesses++
	}
}

func (a *accounts) took(r reply, status int) bool {
	if r.status != status {
		a.t.Errorf("%s: %d, want %d: %s", a.crash.name, r.status, status, r.body)
	}
	return r.status == status
}

// works tells whether a password signs in.
func (a *accounts) works(h *holder, pw string) bool {
	a.t.Helper()
	switch r := a.sure("POST", "/auth/login", ticket{}, credentials(h.name, pw)); r.status {
	case http.StatusOK:
		return true
	case http.StatusUnauthorized:
	default:
		a.t.Errorf("%s: %s signs in: %d %s", a.crash.name, h.name, r.status, r.body)
	}
	return false
}

// checkHolder: exactly one password works, and the one that was acknowledged if
// nothing was on its way. A link works once.
func (a *accounts) checkHolder(h *holder) {
	a.t.Helper()
	switch {
	case h.maybe == "":
		if h.was != "" && a.works(h, h.was) {
			a.t.Errorf("%s: the password of %s from before a change works again", a.crash.name, h.name)
		}
	case a.works(h, h.maybe):
		if h.now != "" && a.works(h, h.now) {
			a.t.Errorf("%s: both passwords of %s work", a.crash.name, h.name)
		}
		h.settle()
	case h.link != "": // not claimed: it still can be
		path, body := claim(h.link, h.maybe)
		r := a.sure("POST", path, ticket{}, body)
		if !a.took(r, http.StatusNoContent) {
			a.t.Errorf("%s: a link that was not used: %d", a.crash.name, r.status)
			return
		}
		a.note("link_used", r)
		h.settle()
	default:
		h.maybe = ""
	}
	if h.now != "" && !a.works(h, h.now) {
		a.t.Errorf("%s: the password of %s is lost", a.crash.name, h.name)
	}
	for _, link := range h.used[max(0, len(h.used)-2):] {
		path, body := claim(link, a.fresh())
		if r := a.sure("POST", path, ticket{}, body); r.status != http.StatusGone {
			a.t.Errorf("%s: a link that was used: %d", a.crash.name, r.status)
		}
	}
}

// check holds what was acknowledged against what there is.
func (a *accounts) check() {
	a.t.Helper()
	// First the failures: their delay runs. Five of them close the account, for its
	// right password as well; fewer leave no more than the rest.
	for i := a.guesses; ; i++ {
		pw := "a wrong password"
		if i >= 5 {
			pw = goodPassword
		}
		r := a.sure("POST", "/auth/login", ticket{}, credentials("gus", pw))
		if r.status == http.StatusTooManyRequests {
			break
		}
		if r.status != http.StatusUnauthorized || i >= 5 {
			a.t.Errorf("%s: %d failures acknowledged, and then: %d", a.crash.name, i, r.status)
			break
		}
	}
	a.guesses = 0
	a.admin = a.entered("ada")
	find := a.sure("GET", "/auth/admin/users?q=gus", a.admin, "")
	var found struct{ Users []struct{ ID string } }
	if err := json.Unmarshal([]byte(find.body), &found); err != nil || len(found.Users) != 1 {
		a.t.Fatalf("%v: %s", err, find.body)
	}
	if r := a.sure("POST", "/auth/admin/users/"+found.Users[0].ID+"/unlock", a.admin, "{}"); a.took(r, http.StatusNoContent) {
		a.note("user_unlocked", r)
	}
	if r := a.sure("POST", "/auth/login", ticket{}, credentials("gus", goodPassword)); r.status != http.StatusOK {
		a.t.Errorf("%s: unlocked, and refused: %d", a.crash.name, r.status)
	}

	off := !a.works(&a.dan, goodPassword)
	if off != a.off && !a.doubt {
		a.t.Errorf("%s: disabled is %t, acknowledged was %t", a.crash.name, off, a.off)
	}
	if a.off, a.doubt = off, false; off {
		if r := a.sure("POST", "/auth/admin/users/"+a.dan.id+"/enable", a.admin, "{}"); a.took(r, http.StatusNoContent) {
			a.note("user_enabled", r)
			a.off = false
		}
		if !a.works(&a.dan, goodPassword) { // which clears what was counted meanwhile
			a.t.Errorf("%s: enabled, and refused", a.crash.name)
		}
	}
	a.checkHolder(&a.changer)
	for _, h := range a.invited[max(0, len(a.invited)-2):] {
		a.checkHolder(h)
	}
	if a.t.Failed() {
		a.t.FailNow()
	}
}

// audited asks the command whether the log is whole, and whether every act stands in it.
func (a *accounts) audited() {
	a.t.Helper()
	run := func(args ...string) []byte {
		cmd := exec.Command(binary, append(args, a.where()...)...)
		var stderr bytes.Buffer
		cmd.Dir, cmd.Stderr = a.dir, &stderr
		out, err := cmd.Output()
		if err != nil {
			a.t.Fatalf("%s: %v: %v\n%s%s", a.crash.name, args, err, out, stderr.String())
		}
		return out
	}
	run("audit", "verify")
	logged := map[string]string{} // kinds by request; a request has several entries
	for line := range bytes.Lines(run("audit", "export")) {
		var e struct{ Kind, Request string }
		if err := json.Unmarshal(line, &e); err != nil {
			a.t.Fatalf("%v: %s", err, line)
		}
		logged[e.Request] += " " + e.Kind
	}
	for request, kind := range a.acts {
		if request == "" || !bytes.Contains([]byte(logged[request]+" "), []byte(" "+kind+" ")) {
			a.t.Errorf("%s: the audit log lacks %s of request %q, it has:%s", a.crash.name, kind, request, logged[request])
		}
	}
}

// TestAttack_A34a_KilledBetweenTwoPasswords kills the service again and again, on
// PostgreSQL its database as well, while passwords change, links are made and used,
// accounts are disabled and enabled, and somebody guesses: what was acknowledged holds,
// exactly one password works at any time, a link works once, failures stay counted, and
// every acknowledged act stands in an audit log that verifies (ASVS 2.3.3, 7.4.3).
func TestAttack_A34a_KilledBetweenTwoPasswords(t *testing.T) {
	for kind, kills := range map[string]int{"sqlite": 200, "postgres": 40} {
		if !*prove {
			kills = 4
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			k := durable(t, kind)
			k.args = append(k.args, "--trusted-proxies=127.0.0.1")
			a := &accounts{crash: k, acts: map[string]string{}, noted: make(chan struct{}, 1), changer: holder{name: "bob", now: goodPassword}, dan: holder{name: "dan"}}
			begin := time.Now()
			addUser(t, k.dir, "ada", append(k.where(), "--role=admin")...)
			for _, u := range []string{"bob", "dan", "gus"} {
				k.addUser(u)
			}
			k.run()
			admin := a.entered("ada")
			var found struct{ Users []struct{ ID string } }
			find := a.sure("GET", "/auth/admin/users?q=dan", admin, "")
			if err := json.Unmarshal([]byte(find.body), &found); err != nil || len(found.Users) != 1 {
				t.Fatalf("%v: %s", err, find.body)
			}
			a.dan.id = found.Users[0].ID
			a.check()
			for n := range kills {
				over, stop := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for _, f := range []func(context.Context){a.change, a.toggle, a.guess} {
					wg.Go(func() { f(over) })
				}
				time.Sleep(time.Duration(20+rand.IntN(800)) * time.Millisecond)
				if n%2 == 0 { // right behind an answer, when what it said has to stand
					select {
					case <-a.noted:
					default:
					}
					select {
					case <-a.noted:
					case <-time.After(time.Second): // all that was to be done is done
					}
				}
				k.kill()
				stop()
				wg.Wait()
				a.check()
				if n%10 == 9 {
					a.audited()
				}
			}
			a.audited()
			k.intact()
			used := 0
			for _, h := range a.invited {
				used += len(h.used)
			}
			t.Logf("%s: %d kills while accounts change, %d acts acknowledged, all of them done and in the audit log, %d links used, none twice; %v",
				kind, kills, a.changes, used, time.Since(begin).Round(time.Second))
		})
	}
}
