package auditlog

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// Bounds of what anybody can cause at will.
const (
	window    = time.Minute
	perSource = 30  // entries of one kind and source in a window
	perKind   = 240 // entries of one kind in a window
	maxSums   = 16  // sources of one kind that are counted by themselves in a window

	perAccount  = 5  // entries of one kind about one account in a window, whatever else came
	maxAccounts = 48 // accounts of one kind for which that holds
)

// source is who is counted as one: an IPv4 address, or the /64 that an IPv6
// customer has at least. Any other text stands for itself.
func source(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return addr
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return addr
	}
	return p.String()
}

// flood bounds entries. It holds at most perKind sources, maxSums sums and maxAccounts
// accounts of each kind, whatever comes.
type flood struct {
	until time.Time // the end of the window
	kept  map[kindSource]int
	cut   map[kindSource]*sum
	about map[kindSource]int // entries that only their account has saved
	known map[string]int     // accounts in about, by kind
}

// kindSource is a lane; without a source it is that of the whole kind. In about, the
// source is an account.
type kindSource struct{ kind, source string }

// sum is what was cut from a lane.
type sum struct {
	n     int
	first time.Time
}

// over tells whether a window has ended in which something was kept or cut.
func (f *flood) over(now time.Time) bool { return !f.until.IsZero() && !now.Before(f.until) }

// admit tells whether an entry is kept by itself; else it is counted.
func (f *flood) admit(e Entry, now time.Time) bool {
	if f.kept == nil {
		f.until = now.Add(window)
		f.kept, f.cut = make(map[kindSource]int), make(map[kindSource]*sum)
		f.about, f.known = make(map[kindSource]int), make(map[string]int)
	}
	whole, lane := kindSource{e.Kind, ""}, kindSource{e.Kind, source(e.Addr)}
	if f.kept[whole] < perKind && (lane == whole || f.kept[lane] < perSource) {
		f.kept[whole]++
		if lane != whole {
			f.kept[lane]++
		}
		return true
	}
	if f.spare(kindSource{e.Kind, e.Account}) {
		return true
	}
	s := f.cut[lane]
	if s == nil && f.lanes(e.Kind) >= maxSums {
		lane, s = whole, f.cut[whole]
	}
	if s == nil {
		s = &sum{first: e.Time}
		f.cut[lane] = s
	}
	s.n++
	return false
}

// spare tells whether an entry is kept for the account that it is about: else noise
// about nobody would hide who is attacked.
func (f *flood) spare(who kindSource) bool {
	n, ok := f.about[who]
	if who.source == "" || n >= perAccount || !ok && f.known[who.kind] >= maxAccounts {
		return false
	}
	if !ok {
		f.known[who.kind]++
	}
	f.about[who]++
	return true
}

// lanes counts the sums of a kind. There are few.
func (f *flood) lanes(kind string) (n int) {
	for lane := range f.cut {
		if lane.kind == kind && lane.source != "" {
			n++
		}
	}
	return n
}

// due returns how long to wait before sums are due; no time where there are none.
func (f *flood) due(now time.Time) (time.Duration, bool) {
	return f.until.Sub(now), len(f.cut) > 0
}

// sums ends the window and returns an entry for each lane that was cut.
func (f *flood) sums(now time.Time) []Entry {
	var sums []Entry
	for lane, s := range f.cut {
		sums = append(sums, Entry{
			Time: stamp(now), Kind: lane.kind, Addr: bounded(lane.source, maxAddr), Count: s.n,
			Reason: "flood", Details: map[string]string{"since": stamp(s.first).Format(timeLayout)},
		})
	}
	slices.SortFunc(sums, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Addr, b.Addr))
	})
	*f = flood{}
	return sums
}

// Bounds of what counts as many failures.
const (
	manyFailures = 5
	failuresFor  = 10 * time.Minute
	maxMarks     = 8192
)

// marks counts failures, to find those that stand out. It counts what this process
// has seen: to be strict is the throttle's business.
type marks struct {
	failures map[string]failures
}

type failures struct {
	n     int
	until time.Time // counted from the first one on
}

// suspicious tells whether an entry stands out, and counts it if it is a failure.
func (m *marks) suspicious(e Entry, now time.Time) bool {
	found := always(e)
	if e.Kind != event.LoginRefused && e.Kind != event.ReauthRefused {
		return found
	}
	for _, who := range []string{"account " + cmp.Or(e.Account, e.User), "source " + source(e.Addr)} {
		if who != "account " && who != "source " && m.count(who, now) >= manyFailures {
			found = true
		}
	}
	return found
}

// count counts one more failure. Where so many are counted that there is no room,
// this one stands out by that.
func (m *marks) count(who string, now time.Time) int {
	f, ok := m.failures[who]
	if !ok && len(m.failures) >= maxMarks {
		for who, f := range m.failures {
			if now.After(f.until) {
				delete(m.failures, who)
			}
		}
		if len(m.failures) >= maxMarks {
			// To look through all of them for every failure is what a flood
			// would want: begin anew.
			clear(m.failures)
			return manyFailures
		}
	}
	if m.failures == nil {
		m.failures = make(map[string]failures)
	}
	if now.After(f.until) {
		f = failures{until: now.Add(failuresFor)}
	}
	f.n++
	m.failures[who] = f
	return f.n
}
