package audit

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// identities are headers by which proxies tell applications who somebody is. To this
// service nobody tells that: whoever sends one takes us for such an application.
var identities = []string{"x-forwarded-user", "x-remote-user", "remote-user", "x-auth-request-user"}

// ours begins the headers that this project gives such a meaning.
const ours = "x-cloakroom-"

// origins are headers by which a proxy tells where a request came from. Ones from
// somewhere else are as a rule the work of a proxy that is not configured here.
var origins = []string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"}

// logSpoofed writes a line about a request with headers that claim what they may not;
// nothing reads them. One header is named, as the line is about the request: one that
// claims an identity before others, at level warn. A claim about the origin is worth a
// line at level debug, since every request may have it.
func logSpoofed(l *slog.Logger, r *http.Request, trusted bool) {
	level, named := slog.LevelDebug, ""
	for name := range r.Header {
		switch plain := plainName(name); {
		case slices.Contains(identities, plain), strings.HasPrefix(plain, ours):
			if level == slog.LevelDebug || name < named {
				level, named = slog.LevelWarn, name
			}
		case !trusted && level == slog.LevelDebug && slices.Contains(origins, plain):
			if named == "" || name < named {
				named = name
			}
		}
	}
	if named != "" {
		event.Log(r.Context(), l, level, event.SpoofedHeader, event.Addr(ClientAddr(r)), event.Text("header", named))
	}
}

// plainName is a header's name as lax readers take it: many servers read X_Remote_User
// and X.Remote.User as X-Remote-User, since that is what becomes of all of them in an
// environment variable.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return '-'
	}, name)
}
