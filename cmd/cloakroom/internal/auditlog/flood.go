package auditlog

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// A lane is what a bound holds for.
type lane struct {
	of   of
	kind string
	name string // the source or the account; "" for all of a kind
}

// of says what the lanes of one bound have in common.
type of int

const (
	bySource   of = iota // entries of one kind and source
	byKind               // of one kind
	byAccount            // of one kind about one account, which the two above have no room for
	byAccounts           // of one kind about whatever account, of the same sort
)

// spans are how long the bounds hold.
var spans = [3]time.Duration{time.Minute, time.Hour, 24 * time.Hour}

// bounds are how many entries a lane keeps in each span; 0 is no bound of its own. The
// doc comment of the package says what they come to.
var bounds = [...][len(spans)]int{
	bySource:   {30, 100, 0},
	byKind:     {240, 2000, 10_000},
	byAccount:  {30, 60, 0},
	byAccounts: {240, 1000, 5000},
}

const (
	maxSums     = 16  // sources of one kind that are counted by themselves
	maxDistinct = 256 // accounts and sources that a sum tells apart
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

// subject is the account that an entry is about: who is signed in or has done it, too,
// but not a name that somebody has typed, who could type another the next time.
func subject(e Entry) string {
	if e.Kind == event.LoginRefused || e.Kind == event.Throttled {
		return e.Account
	}
	return cmp.Or(e.Account, e.Actor, e.User)
}

// flood bounds entries. What it holds is bounded by what it lets through in an hour:
// per kind, a number for each source and account that something was kept of, and the sums
// of maxSums sources.
type flood struct {
	spans [len(spans)]span
	cut   map[lane]*sum
}

// span is a stretch of time and what was kept in it.
type span struct {
	until time.Time // zero: nothing was yet
	kept  map[lane]int
}

// sum is what was cut from a lane.
type sum struct {
	n                 int
	first             time.Time
	accounts, sources distinct
}

// over tells whether a span has ended in which something was kept or cut.
func (f *flood) over(now time.Time) bool {
	for i := range f.spans {
		if f.ended(i, now) {
			return true
		}
	}
	return false
}

func (f *flood) ended(i int, now time.Time) bool {
	until := f.spans[i].until
	return !until.IsZero() && !now.Before(until)
}

// room tells whether all of these lanes keep one more entry, and if so, counts it.
func (f *flood) room(now time.Time, lanes ...lane) bool {
	for i := range f.spans {
		if s := &f.spans[i]; s.until.IsZero() {
			s.until, s.kept = now.Add(spans[i]), make(map[lane]int)
		}
	}
	for _, l := range lanes {
		for i, bound := range bounds[l.of] {
			if bound > 0 && f.spans[i].kept[l] >= bound {
				return false
			}
		}
	}
	for _, l := range lanes {
		for i, bound := range bounds[l.of] {
			if bound > 0 {
				f.spans[i].kept[l]++
			}
		}
	}
	return true
}

// admit tells whether an entry is kept by itself; else it is counted.
func (f *flood) admit(e Entry, now time.Time) bool {
	from, who := lane{bySource, e.Kind, source(e.Addr)}, lane{byAccount, e.Kind, subject(e)}
	if f.room(now, from.all()...) || who.name != "" && f.room(now, who, lane{byAccounts, e.Kind, ""}) {
		return true
	}
	if f.cut == nil {
		f.cut = make(map[lane]*sum)
	}
	if f.cut[from] == nil && f.sources(e.Kind) >= maxSums {
		from.name = ""
	}
	s := f.cut[from]
	if s == nil {
		s = &sum{first: e.Time}
		f.cut[from] = s
	}
	s.n++
	s.accounts.add(who.name)
	s.sources.add(source(e.Addr))
	return false
}

// all returns the lanes that an entry of this source counts in: of the whole kind, and
// its own where it has a source.
func (l lane) all() []lane {
	whole := lane{byKind, l.kind, ""}
	if l.name == "" {
		return []lane{whole}
	}
	return []lane{whole, l}
}

// sources counts the sums of a kind that are of one source. There are few.
func (f *flood) sources(kind string) (n int) {
	for l := range f.cut {
		if l.kind == kind && l.name != "" {
			n++
		}
	}
	return n
}

// due returns how long to wait before sums are due; false where there are none.
func (f *flood) due(now time.Time) (time.Duration, bool) {
	until := f.spans[1].until
	if minute := f.spans[0].until; !minute.IsZero() {
		until = minute // before the hour, or the same
	}
	return max(until.Sub(now), 0), len(f.cut) > 0
}

// sums ends the spans that are over and returns the sums that are due. Those of a
// minute count like any other entry: where the bounds of an hour or a day are
// reached, a lane is summed by the hour. all are due at the end.
func (f *flood) sums(now time.Time, all bool) []Entry {
	all = all || f.ended(1, now)
	for i := range f.spans {
		if f.ended(i, now) {
			f.spans[i] = span{}
		}
	}
	lanes := slices.SortedFunc(maps.Keys(f.cut), func(a, b lane) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
	})
	var sums []Entry
	for _, l := range lanes {
		if !all && !f.room(now, l.all()...) {
			continue
		}
		s := f.cut[l]
		details := map[string]string{"since": stamp(s.first).Format(timeLayout)}
		if n := s.accounts.String(); n != "0" {
			details["accounts"] = n
		}
		if n := s.sources.String(); l.name == "" && n != "0" {
			details["sources"] = n
		}
		sums = append(sums, Entry{
			Time: stamp(now), Kind: l.kind, Addr: bounded(l.name, maxAddr), Count: s.n, Reason: "flood", Details: details,
		})
		delete(f.cut, l)
	}
	return sums
}

// distinct counts different texts, up to a bound.
type distinct struct {
	seed maphash.Seed
	seen map[uint64]struct{}
	more bool
}

func (d *distinct) add(s string) {
	if s == "" || d.more {
		return
	}
	if d.seen == nil {
		d.seed, d.seen = maphash.MakeSeed(), make(map[uint64]struct{})
	}
	h := maphash.String(d.seed, s)
	if _, ok := d.seen[h]; !ok && len(d.seen) == maxDistinct {
		d.more = true
		return
	}
	d.seen[h] = struct{}{}
}

func (d *distinct) String() string {
	if d.more {
		return fmt.Sprintf("more than %d", maxDistinct)
	}
	return strconv.Itoa(len(d.seen))
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
