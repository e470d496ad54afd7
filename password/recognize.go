package password

// Recognized tells whether a stored hash has a form that Verify knows, within
// the bounds of any Hasher: so that an import takes hashes and nothing else.
func Recognized(stored string) bool {
	_, err := parsePHC(stored)
	return err == nil
}
