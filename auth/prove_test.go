package auth_test

import (
	"cmp"
	"context"
	"flag"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

var prove = flag.Bool("prove", false, "time 1000 refused logins of each kind in place of 15")

// lockable is a throttle's store that calls accounts locked when it is told to: the
// failures that lead there bring delays, for which nobody can wait here.
type lockable struct {
	throttle.Store
	locked atomic.Bool
}

func (s *lockable) Take(ctx context.Context, lanes []throttle.Lane, now time.Time) ([]throttle.Mark, *throttle.Refusal, error) {
	marks, refused, err := s.Store.Take(ctx, lanes, now)
	if len(marks) > 0 {
		marks[0].Locked = s.locked.Load()
	}
	return marks, refused, err
}

// The time that a refusal takes does not tell the kinds apart: a rank test over logins
// in turn. Few of them see only what no hash would be; the thousand of -prove see five
// parts in a hundred.
func TestASVS_6_3_8_TimesTellNothing(t *testing.T) {
	n, alpha, differ := 15, 1e-5, math.Inf(1)
	if *prove {
		n, alpha, differ = 1000, 0.01/5, 0.05
	}
	st := &lockable{Store: throttle.NewMemory()}
	a := newHandler(t, &setup{auth: auth.Options{Throttle: patient(t, st)}})
	kinds := []struct{ kind, user, account string }{
		{"wrong password", "alice", "u1"}, {"unknown", "zoe", "?zoe"}, {"disabled", "dora", "u3"},
		{"without a password", "nopw", "u4"}, {"unusable hash", "broken", "u5"}, {"locked", "lock", "u6"},
	}
	times := make([][]time.Duration, len(kinds))
	for turn := range n {
		for i := range kinds {
			i = (i + turn) % len(kinds) // none is always behind the same one
			st.locked.Store(kinds[i].kind == "locked")
			g := a.guest("192.0.2.1")
			start := time.Now()
			r := g.login(kinds[i].user, "wrong")
			times[i] = append(times[i], time.Since(start))
			if r.StatusCode != 401 {
				t.Fatalf("%s: %d %s", kinds[i].kind, r.StatusCode, r.body)
			}
			if err := a.throttle.Unlock(t.Context(), kinds[i].account); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := 1; i < len(kinds); i++ {
		p, d := rankTest(times[0], times[i]), medianDifference(times[0], times[i])
		t.Logf("%s against %s: p %.3g, medians differ by %.2f %%", kinds[i].kind, kinds[0].kind, p, 100*d)
		if p < alpha || math.Abs(d) > differ {
			t.Errorf("%s can be told from %s", kinds[i].kind, kinds[0].kind)
		}
	}
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

func medianDifference(x, y []time.Duration) float64 {
	median := func(s []time.Duration) float64 {
		s = slices.Sorted(slices.Values(s))
		return float64(s[len(s)/2])
	}
	return median(y)/median(x) - 1
}
