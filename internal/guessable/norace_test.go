//go:build !race

package guessable_test

const raceEnabled = false
