//go:build unix

package secretfile

// Ours is the rule on owners.
var Ours = ours
