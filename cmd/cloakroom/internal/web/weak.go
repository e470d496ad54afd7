package web

import (
	"cmp"
	"log/slog"
	"net/http"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/password"
)

// hint says what a new password takes, before anybody types one (NIST SP 800-63B
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
	}
	return text("password.other")
}

// detailWeak are what programs read of a new password that is not taken, by reason.
var detailWeak = map[password.Reason]string{
	password.TooShort:    "Password is too short",
	password.TooLong:     "Password is too long",
	password.Blocklisted: "Password is one of those that are tried first",
	password.InContext:   "Password is made of the user's or the service's name",
}

// writeWeak answers a program whose new password is not taken: a problem document
// with one member more, the reason in one word, and the least length where it is that.
func writeWeak(w http.ResponseWriter, e *password.PolicyError) {
	status := http.StatusUnprocessableEntity
	writeDocument(w, status, "application/problem+json", struct {
		Type   string          `json:"type"`
		Title  string          `json:"title"`
		Status int             `json:"status"`
		Detail string          `json:"detail"`
		Reason password.Reason `json:"reason"`
		Min    int             `json:"min_length,omitempty"`
	}{"about:blank", http.StatusText(status), status, cmp.Or(detailWeak[e.Reason], "Password is not taken"), e.Reason, e.Min})
}

// logWeak writes that a new password was not taken; user is the ID, "" where there is
// none yet.
func (s *Site) logWeak(r *http.Request, user string, e *password.PolicyError) {
	attrs := []slog.Attr{event.Addr(s.manager.ClientAddr(r)), event.Reason(string(e.Reason))}
	if user != "" {
		attrs = append(attrs, event.User(user))
	}
	event.Log(r.Context(), s.Logger, slog.LevelInfo, event.PasswordRefused, attrs...)
}

// CheckPassword tells whether a new password may be taken by the default policy.
func CheckPassword(pw string, words ...string) error {
	return (*password.Policy)(nil).Check(pw, words...)
}
