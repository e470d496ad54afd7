package dotenv

import "slices"

// Names returns the names that are set in a file, in the order in which they are first
// set, as the scanner finds them, and whether it found no fault.
func Names(file []byte) ([]string, bool) {
	all, line := scan(file)
	var names []string
	for _, st := range all {
		if !slices.Contains(names, st.name) {
			names = append(names, st.name)
		}
	}
	return names, line == 0
}
