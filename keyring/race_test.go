//go:build race

package keyring_test

// raceEnabled: the race detector makes pools forget on purpose, so allocations
// are counted without it.
const raceEnabled = true
