package web

import (
	"cmp"

	"github.com/cloakroom-dev/cloakroom/password"
)

// hint says what a new password takes, before anybody types one (NIST SP 800-63B-4
// §3.1.1.2).
func (s *Site) hint() string {
	least := password.DefaultMinLength
	if s.Policy != nil {
		least = max(password.LeastMinLength, cmp.Or(s.Policy.MinLength, least))
	}
	return text("password.hint", least)
}

// weakText says to people why a new password is not taken.
func weakText(e *password.PolicyError) string {
	switch e.Reason {
	case password.TooShort:
		return text("password.too_short", e.Min)
	case password.TooLong:
		return text("password.too_long")
	case password.Blocklisted:
		return text("password.blocklisted")
	case password.InContext:
		return text("password.context")
	case password.Unchanged:
		return text("password.unchanged")
	}
	return text("password.other")
}
