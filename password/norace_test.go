//go:build !race

package password_test

const slow = false
