package main

import (
	"fmt"
	"net/http"
)

// The goals were set in microseconds, on a machine on which a read of scs took 15.9
// and a write 25.6. Here they are parts of what scs takes in the same run: a read
// is to take an eighth of it, a write 4 µs of 25.6, and a visitor without a cookie
// 0.15 µs of 15.9 more than the bare handler.
const (
	readOverSCS  = 1.0 / 8
	readAllocs   = 12
	writeOverSCS = 4 / 25.6
	writeAllocs  = 25

	untouchedOverSCS = 0.15 / 15.9
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

// beside makes a line for each peer of results that are the floor's, ours, that of
// the peer which the goal names, and the others'.
func beside(what string, r []result, overPeer, allocs float64) []line {
	floor, ours := r[0], r[1]
	var lines []line
	for _, peer := range r[2:] {
		lines = append(lines, line{
			peer: peer.name + " " + spent(peer), overPeer: times(ours.over(peer)), name: peer.name,
			counts: fmt.Sprintf("%.0f allocs; %.0f; %.0f", ours.allocations(), floor.allocations(), peer.allocations()),
		})
	}
	first, over := &lines[0], ours.over(r[2])
	first.what, first.floor, first.ours, first.overFloor = what, spent(floor), spent(ours), times(ours.over(floor))
	first.goal = fmt.Sprintf("≤ %s × %s, ≤ %.0f allocs", digits(overPeer), first.name, allocs)
	first.holds = yes(over <= overPeer && ours.allocations() < allocs+0.5)
	return lines
}

// untouched measures a visitor without a cookie, of whose session the handler
// takes no notice.
func untouched(c config) ([]line, error) {
	apps, err := inMemory()
	if err != nil {
		return nil, err
	}
	bare, yardstick := app{name: "the bare handler", idle: http.HandlerFunc(page)}, apps[2]
	cookie, err := yardstick.enter()
	if err != nil {
		return nil, err
	}
	all := []contestant{{"scs, a read", newVisitor(yardstick.read, "GET", cookie).visit}}
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
	lines[0].goal = fmt.Sprintf("over the bare handler ≤ %s × a read of scs (is %s), ≤ %d allocs (%.0f)",
		digits(untouchedOverSCS), digits(more), untouchedAllocs, allocs)
	lines[0].holds = yes(more <= untouchedOverSCS && allocs < untouchedAllocs+0.5)
	return lines, nil
}
