//go:build race

package password_test

// The race detector makes hashes written in Go take ten times as long.
const slow = true
