package web

// Administration is what the pages of administrators stand on.
type Administration struct{}

// adminRoutes are the addresses of the administration.
func (s *Site) adminRoutes() map[string]methods {
	return map[string]methods{}
}
