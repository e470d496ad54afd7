package main

import (
	"fmt"
	"net/http"
)

// The goals, as ratios to what stands in the same table. A read is to be eight
// times as fast as that of scs, a write 6.4 times.
const (
	readOverSCS  = 1.0 / 8
	readAllocs   = 12
	writeOverSCS = 4 / 25.6
	writeAllocs  = 25

	// What a visitor without a cookie costs over the bare handler, in reads of a
	// locked map.
	untouchedOverMap = 0.3
	untouchedAllocs  = 2
)

// memory measures reading and writing one value with sessions in memory.
func memory(c config) ([]line, error) {
	apps, err := inMemory()
	if err != nil {
		return nil, err
	}
	reads, err := pages(c, apps, "GET", func(a app) http.Handler { return a.read })
	if err != nil {
		return nil, err
	}
	writes, err := pages(c, apps, "POST", func(a app) http.Handler { return a.write })
	if err != nil {
		return nil, err
	}
	return append(
		beside("memory, read one value", reads, readOverSCS, readAllocs),
		beside("memory, write one value", writes, writeOverSCS, writeAllocs)...), nil
}

// pages measures one page of each program, as one visitor sees it.
func pages(c config, apps []app, method string, page func(app) http.Handler) ([]result, error) {
	var all []contestant
	for _, a := range apps {
		cookie, err := a.enter()
		if err != nil {
			return nil, err
		}
		v := newVisitor(page(a), method, cookie)
		if err := v.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		all = append(all, contestant{a.name, v.visit})
	}
	return measure(c, all), nil
}

// beside makes a line for each peer of results that are the floor's, ours, those
// of the peer that the goal names, and others'.
func beside(what string, r []result, overPeer, allocs float64) []line {
	floor, ours, first := r[0], r[1], r[2]
	lines := []line{{
		what: what, floor: spent(floor), ours: spent(ours), peer: named(first),
		overFloor: times(ours.over(floor)), overPeer: times(ours.over(first)),
		goal:  fmt.Sprintf("≤ %s × %s; ≤ %.0f allocs", times(overPeer), first.name, allocs),
		holds: yes(ours.over(first) <= overPeer && ours.allocations() < allocs+0.5),
	}}
	for _, other := range r[3:] {
		lines = append(lines, line{peer: named(other), overPeer: times(ours.over(other))})
	}
	return lines
}

// untouched measures a visitor without a cookie, of whose session the handler
// takes no notice.
func untouched(c config) ([]line, error) {
	apps, err := inMemory()
	if err != nil {
		return nil, err
	}
	lockedMap := apps[0]
	cookie, err := lockedMap.enter()
	if err != nil {
		return nil, err
	}
	yardstick := newVisitor(lockedMap.read, "GET", cookie)
	all := []contestant{{"a locked map", yardstick.visit}}
	bare := app{name: "the bare handler", idle: http.HandlerFunc(page)}
	for _, a := range append([]app{bare}, apps[1:]...) {
		v := newVisitor(a.idle, "GET", "")
		if err := v.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		all = append(all, contestant{a.name, v.visit})
	}
	r := measure(c, all)
	read, floor, ours := r[0], r[1], r[2]
	over := make([]float64, len(ours.ns))
	for i := range over {
		over[i] = ours.ns[i] - floor.ns[i]
	}
	more, allocs := ratio(over, read.ns), ours.allocations()-floor.allocations()
	lines := beside("no cookie, session untouched", r[1:], 0, 0)
	lines[0].goal = fmt.Sprintf("over the bare handler ≤ %s × a read of a locked map (%s), ≤ %d allocs (%.0f)",
		times(untouchedOverMap), times(more), untouchedAllocs, allocs)
	lines[0].holds = yes(more <= untouchedOverMap && allocs < untouchedAllocs+0.5)
	return lines, nil
}
