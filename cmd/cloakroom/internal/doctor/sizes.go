package doctor

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

// The bounds of what is sampled.
const (
	sample         = 200
	samplePatience = 4 * time.Second // half of a part's: the rest is to be judged as well

	largeRecord = maxSession / 2
	growthRatio = 3
	growthFloor = 4 << 10
	growthLeast = 20 // sessions, of which it can be told

	// maxSession is the largest session of the library's default.
	maxSession = 64 << 10
)

// sizeChecks are those of a sample of sessions.
var sizeChecks = []string{"session-size", "session-growth"}

// sized is how large a session is, and how old.
type sized struct {
	created    time.Time
	info, data int // in bytes
}

// sizes judges the sizes of some sessions, which draw draws. A sample that was broken off
// is one, too.
func (e *examination) sizes(ctx context.Context, l *notes, t *target, draw func(context.Context) ([]sized, error)) {
	ctx, cancel := context.WithTimeout(ctx, samplePatience)
	defer cancel()
	list, err := draw(ctx)
	switch {
	case err == nil || len(list) >= growthLeast:
		judgeSizes(l, t, list)
	case strings.Contains(err.Error(), "NOPERM"):
		l.skip(t.name()+" does not list sessions; the user may not run SCAN and STRLEN", sizeChecks...)
	default:
		l.skip(t.name()+" does not list sessions: "+bareText(err), sizeChecks...)
	}
}

// judgeSizes judges a sample of sessions.
func judgeSizes(l *notes, t *target, list []sized) {
	large, largest := 0, 0
	for _, s := range list {
		size := s.data + s.info
		largest = max(largest, size)
		if size > largeRecord {
			large++
		}
	}
	if large > 0 {
		l.find("session-size", finding.Warning, "keep large things elsewhere, and their id in the session",
			"%s: of %d sessions %d have over %d KiB, the largest %d KiB of %d", t.name(), len(list), large, largeRecord>>10, largest>>10, maxSession>>10)
	}
	if young, old, ok := sizesByAge(list); ok && old > growthFloor && old > growthRatio*young {
		l.find("session-growth", finding.Warning, "see what the program adds to a session at every request",
			"%s: the older half of %d sessions has %d bytes each, the younger %d", t.name(), len(list), old, young)
	}
}

// sizesByAge returns the median sizes of the younger and the older half.
func sizesByAge(list []sized) (young, old int, ok bool) {
	if len(list) < growthLeast {
		return 0, 0, false
	}
	list = slices.SortedFunc(slices.Values(list), func(a, b sized) int { return b.created.Compare(a.created) })
	median := func(part []sized) int {
		sizes := make([]int, len(part))
		for i, s := range part {
			sizes[i] = s.data
		}
		slices.Sort(sizes)
		return sizes[len(sizes)/2]
	}
	half := len(list) / 2
	return median(list[:half]), median(list[half:]), true
}
