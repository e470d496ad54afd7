// Package finding is what "cloakroom doctor" says of one thing that is wrong: the
// words, and how bad it is. Those who look and those who tell share it.
package finding

import (
	"cmp"
	"fmt"
	"slices"
)

// A Level is how bad a finding is. The zero Level is OK.
type Level uint8

// The levels, and with them the exit codes of the command.
const (
	OK      Level = iota // nothing to do
	Warning              // it works, and will hurt one day
	Error                // it does not work, or not as promised
)

// String returns "ok", "warning" or "error".
func (l Level) String() string {
	switch l {
	case OK:
		return "ok"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// MarshalText implements encoding.TextMarshaler with the words of String.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// A Finding is one thing that is wrong. None of its texts holds a secret, and each is
// one line.
type Finding struct {
	// Check is the stable name of what was looked at, as "key-age": lower case,
	// with hyphens.
	Check string `json:"check"`

	Level Level `json:"level"`

	What string `json:"what"` // what was found, with the values that were seen
	Why  string `json:"why"`  // what happens if it stays
	Do   string `json:"do"`   // what to type, or to change
}

// NotChecked is a check that could not be made.
type NotChecked struct {
	Check  string `json:"check"`
	Reason string `json:"reason"`
}

// A Result is what somebody has found who looked, and what was looked at: every check
// that applies is in one of the two lists.
type Result struct {
	Findings   []Finding    `json:"findings"`
	Checked    []string     `json:"checked"`     // what was looked at, by name
	NotChecked []NotChecked `json:"not_checked"` // what could not be
}

// Sort orders findings: the worst first, then by the name of the check and the words,
// so that the same faults always read the same.
func Sort(list []Finding) {
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(-cmp.Compare(a.Level, b.Level), cmp.Compare(a.Check, b.Check), cmp.Compare(a.What, b.What))
	})
}

// Worst returns the highest level of a list, OK for an empty one.
func Worst(list []Finding) Level {
	worst := OK
	for _, f := range list {
		worst = max(worst, f.Level)
	}
	return worst
}
