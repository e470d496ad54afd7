package web

// Parse reads a body, for the fuzz target.
func Parse(raw []byte, isJSON bool, rawQuery string) (map[string]string, error) {
	return parse(raw, isJSON, rawQuery)
}

// StyleSheet is the style sheet as it is served.
func StyleSheet() string { return string(styleSheet) }

// Routes returns the methods of every address of the service.
func (s *Site) Routes() map[string][]string {
	all := make(map[string][]string)
	for path, m := range s.routes() {
		for method := range m {
			all[path] = append(all[path], method)
		}
	}
	return all
}

// KindWords says what an event means.
func KindWords(kind string) string { return kindWords(kind) }

// CommonTexts and AdminTexts are what pages say.
func CommonTexts() map[string]string { return texts }
func AdminTexts() map[string]string  { return adminTexts }
