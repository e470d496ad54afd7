// Package promises has no code: its tests prove, over real HTTP servers and on
// every store, what Cloakroom promises about sessions that are used,
// renewed and ended at the same moment, and about stores that fail.
//
// They stand here and not beside the code since the root package and its tests
// may not import a database driver.
package promises
