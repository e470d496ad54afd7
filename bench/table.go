package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// A line of the table compares with one peer. Empty cells are those of the line
// above, or have no meaning.
type line struct {
	what, floor, ours, peer string
	overFloor, overPeer     string
	goal, holds             string

	// What remains of it without the figures of this machine: the peer's name, and
	// what is counted rather than timed.
	name, counts string
}

// printTables writes the lines twice as a table of Markdown: with the figures of
// this machine, and with what may be said elsewhere.
func printTables(w io.Writer, lines []line) {
	all := [][]string{{"what", "floor", "ours", "peer", "ours / floor", "ours / peer", "goal", "holds"}}
	ratios := [][]string{{"what", "ours / floor", "peer", "ours / peer", "counted: ours; floor; peer", "goal", "holds"}}
	for _, l := range lines {
		all = append(all, []string{l.what, l.floor, l.ours, l.peer, l.overFloor, l.overPeer, l.goal, l.holds})
		ratios = append(ratios, []string{l.what, l.overFloor, l.name, l.overPeer, l.counts, l.goal, l.holds})
	}
	printTable(w, all)
	fmt.Fprintln(w)
	printTable(w, ratios)
}

// printTable writes a table, whose first row is the head, so that it can be read
// as it is.
func printTable(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for i := range width {
		width[i] = 3 // what the line below the head needs
	}
	for _, cells := range rows {
		for i, cell := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for n, cells := range rows {
		for i, cell := range cells {
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(w, "|")
		if n == 0 {
			for i := range width {
				fmt.Fprintf(w, "| %s ", strings.Repeat("-", width[i]))
			}
			fmt.Fprintln(w, "|")
		}
	}
}

// yes says whether a goal holds.
func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "NO"
}

// took writes nanoseconds with three digits.
func took(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e6:
		return digits(ns/1e3) + " µs"
	case ns < 1e9:
		return digits(ns/1e6) + " ms"
	}
	return digits(ns/1e9) + " s"
}

// times writes a ratio.
func times(x float64) string {
	if x > 0 && x < 0.001 {
		return "1 / " + digits(math.Round(1/x))
	}
	return digits(x)
}

// digits writes a number with about three digits that count.
func digits(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x >= 1:
		return fmt.Sprintf("%.2f", x)
	case x >= 0.1:
		return fmt.Sprintf("%.3f", x)
	}
	return fmt.Sprintf("%.4f", x)
}

// spent writes time and allocations.
func spent(r result) string {
	return fmt.Sprintf("%s, %.0f allocs", took(r.time()), r.allocations())
}
