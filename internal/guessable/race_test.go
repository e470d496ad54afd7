//go:build race

package guessable_test

// raceEnabled: there are no races here, and the detector is slow.
const raceEnabled = true
