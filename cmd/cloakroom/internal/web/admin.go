package web

// adminRoutes are the addresses of the administration.
func (s *Site) adminRoutes() map[string]methods {
	return map[string]methods{}
}
