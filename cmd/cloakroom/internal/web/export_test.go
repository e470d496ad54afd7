package web

// Parse reads a body, for the fuzz target.
func Parse(raw []byte, isJSON bool, rawQuery string) (map[string]string, error) {
	return parse(raw, isJSON, rawQuery)
}

// StyleSheet is the style sheet as it is served.
func StyleSheet() string { return string(styleSheet) }
