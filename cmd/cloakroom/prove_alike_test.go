package main_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/throttle"
	"github.com/cloakroom-dev/cloakroom/throttle/sqlthrottle"
)

// Those whom nobody may tell apart, by the first letters of their names.
var refusedKinds = []struct{ kind, prefix, reason string }{
	{"wrong password", "wron", "password"},
	{"unknown", "unkn", "unknown"},
	{"disabled", "disa", "disabled"},
	{"locked", "lock", "locked"},
	{"without a password", "invi", "no password"},
}

// refusedName is the nth name of a kind. All are equally long.
func refusedName(prefix string, n int) string { return fmt.Sprintf("%s%04d", prefix, n) }

// longAgo is a throttle's store at the time of the last failures: so long ago that
// there is no delay, and not so long that they are forgotten.
type longAgo struct{ throttle.Store }

func (s longAgo) Take(ctx context.Context, lanes []throttle.Lane, now time.Time) ([]throttle.Mark, *throttle.Refusal, error) {
	return s.Store.Take(ctx, lanes, now.Add(-30*time.Hour))
}

// refused makes n accounts of each kind. Each name, known or not, has failed before.
func (p people) refused(n int) {
	p.t.Helper()
	phc := hashOf(p.t, goodPassword)
	counters, err := sqlthrottle.Open(p.t.Context(), p.db)
	if err != nil {
		p.t.Fatal(err)
	}
	guesses, err := throttle.New(longAgo{counters}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, k := range refusedKinds {
		for i := range n {
			name := refusedName(k.prefix, i)
			id := "?" + name
			switch k.kind {
			case "unknown":
			case "without a password":
				id = p.add(name, "")
			default:
				id = p.add(name, phc)
			}
			if k.kind == "disabled" {
				if err := p.users.SetDisabled(p.t.Context(), id, true); err != nil {
					p.t.Fatal(err)
				}
			}
			if _, err := guesses.Begin(p.t.Context(), throttle.Attempt{Account: id, Source: strangerNumber(1<<23 + i)}); err != nil {
				p.t.Fatal(err)
			}
			if k.kind != "locked" {
				continue
			}
			// Failures 2 to 100: one by one they take days, for all the delays.
			lock := fmt.Sprintf(`UPDATE cloakroom_throttle SET total = %d, due = %d WHERE id = owner AND total = 1 AND run IN
				(SELECT run FROM cloakroom_throttle ORDER BY rowid DESC LIMIT 2)`, throttle.DefaultLock, int64(throttle.Never))
			if met, err := p.db.Exec(p.t.Context(), lock); err != nil || met != 1 {
				p.t.Fatalf("%d accounts locked, want 1: %v", met, err)
			}
			if state, err := guesses.State(p.t.Context(), id); err != nil || !state.Locked {
				p.t.Fatalf("%s: %+v, %v", name, state, err)
			}
		}
	}
}

// changing is what no two answers have in common, and no two users either.
var changing = []*regexp.Regexp{
	regexp.MustCompile(`(name="csrf_token" value=")[^"]+`),
	regexp.MustCompile(`(=)[A-Za-z0-9_-]{20,}`), // of cookies
	regexp.MustCompile(`()[a-z]{4}[0-9]{4}`),    // the name that was typed
}

// alike returns an answer as text, without what changes with each. Of a cookie the
// name, the attributes and the length stay.
func alike(a answer) string {
	var b strings.Builder
	fmt.Fprintln(&b, a.Status, a.Proto, a.ContentLength)
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		values := a.Header[name]
		if name == "Date" || name == "X-Request-Id" {
			values = []string{fmt.Sprint(len(values), " of ", len(a.Header.Get(name)), " bytes")}
		}
		fmt.Fprintln(&b, name, values)
	}
	fmt.Fprint(&b, a.body)
	text := b.String()
	for _, c := range changing {
		text = c.ReplaceAllStringFunc(text, func(s string) string {
			kept := c.FindStringSubmatch(s)[1]
			return kept + fmt.Sprintf("[%d bytes]", len(s)-len(kept))
		})
	}
	return text
}

// TestASVS_6_3_8_RefusalsAreAlike: whoever is refused, because there is no such user, the
// password is wrong, or the account is disabled, locked or still without a password, gets
// the same status, headers, cookies and body, from a form and from a document; the log
// knows why.
func TestASVS_6_3_8_RefusalsAreAlike(t *testing.T) {
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	peopleOf(t, dir).refused(1)
	s := start(t, dir)
	for _, how := range []string{"a document", "a form", "a form of a browser with a session"} {
		first := ""
		for _, k := range refusedKinds {
			pw := "a wrong password of somebody"
			if k.kind == "disabled" || k.kind == "locked" {
				pw = goodPassword // that does not help
			}
			c, name := s.client(), refusedName(k.prefix, 0)
			var a answer
			if how == "a document" {
				a = c.do("POST", "/auth/login", credentials(name, pw))
			} else {
				if strings.HasSuffix(how, "session") {
					c.login("ada", goodPassword)
					c.want(c.do("POST", "/auth/logout", "{}", "X-CSRF-Token", c.csrf), 204)
				}
				form := url.Values{"csrf_token": {csrfOf(t, c.page("/auth/login").body)}, "username": {name}, "password": {pw}}
				a = c.form("/auth/login", form)
			}
			c.want(a, http.StatusUnauthorized)
			switch got := alike(a); {
			case first == "":
				first = got
			case got != first:
				t.Errorf("%s: %s differs from %s:\n%s\n\n%s", how, k.kind, refusedKinds[0].kind, got, first)
			}
			s.logged(regexp.MustCompile(`("msg":"login_refused"[^\n]*` + name + `[^\n]*"reason":"` + k.reason + `")`))
		}
	}
}

// TestASVS_6_3_8_TimesAtTheService: nor does the time of a refusal tell the kinds apart,
// by a rank test over logins in turn, each from an address of its own. Few of them see
// only what no hash would be; the thousand of -prove see five parts in a hundred.
func TestASVS_6_3_8_TimesAtTheService(t *testing.T) {
	n, alpha, differ := 16, 1e-5, math.Inf(1)
	if *prove {
		n, alpha, differ = 1000, 0.01/float64(len(refusedKinds)-1), 0.05 // Bonferroni
	}
	each := 4 // attempts at an account: the fifth failure closes it
	dir := t.TempDir()
	addUser(t, dir, "ada")
	peopleOf(t, dir).refused((n + each - 1) / each)
	s := start(t, dir, "--log-level=error", "--trusted-proxies=127.0.0.1")
	c := newCaller(s.URL)
	times := make([][]time.Duration, len(refusedKinds))
	for turn := range n {
		for i := range refusedKinds {
			i = (i + turn) % len(refusedKinds) // none is always behind the same one
			body := credentials(refusedName(refusedKinds[i].prefix, turn/each), "a wrong password of somebody")
			from := strangerNumber(turn*len(refusedKinds) + i)
			begin := time.Now()
			a, err := c.ask("POST", "/auth/login", "", "", body, "X-Forwarded-For", from)
			times[i] = append(times[i], time.Since(begin))
			if err != nil || a.status != http.StatusUnauthorized {
				t.Fatalf("%s: %d %s, %v", refusedKinds[i].kind, a.status, a.body, err)
			}
		}
	}
	var figures []string
	for i := 1; i < len(refusedKinds); i++ {
		p, d := rankTest(times[0], times[i]), median(times[i])/median(times[0])-1
		figures = append(figures, fmt.Sprintf("%s p %.2g, median %+.1f %%", refusedKinds[i].kind, p, 100*d))
		if p < alpha || math.Abs(d) > differ {
			t.Errorf("%s can be told from %s: p %.3g, medians differ by %.2f %%", refusedKinds[i].kind, refusedKinds[0].kind, p, 100*d)
		}
	}
	t.Logf("%d refused logins of each kind in turn, against wrong password (median %.1f ms): %s; a kind is told apart at p < %.2g",
		n, median(times[0])/1e6, strings.Join(figures, "; "), alpha)
}

// rankTest returns the probability of two samples that differ as much or more if they
// come from one distribution (Mann-Whitney, two-sided, by the normal approximation).
func rankTest(x, y []time.Duration) float64 {
	type value struct {
		d     time.Duration
		first bool
	}
	var all []value
	for _, d := range x {
		all = append(all, value{d, true})
	}
	for _, d := range y {
		all = append(all, value{d, false})
	}
	slices.SortFunc(all, func(a, b value) int { return cmp.Compare(a.d, b.d) })
	sum := 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].d == all[i].d {
			j++
		}
		for _, v := range all[i:j] {
			if v.first {
				sum += float64(i+j+1) / 2 // ties share their rank
			}
		}
		i = j
	}
	n, m := float64(len(x)), float64(len(y))
	z := (sum - n*(n+1)/2 - n*m/2) / math.Sqrt(n*m*(n+m+1)/12)
	return math.Erfc(math.Abs(z) / math.Sqrt2)
}

// median returns the median in nanoseconds.
func median(times []time.Duration) float64 {
	return float64(slices.Sorted(slices.Values(times))[len(times)/2])
}
