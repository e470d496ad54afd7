package web

import (
	"log/slog"
	"net/http"
	"slices"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// The headers of every answer (ASVS 3.4). The pages need one style sheet, forms to
// themselves, and the icon that stands in them, so that browsers do not ask for one;
// all else is off. render adds script-src 'self' where a script shows what is typed.
// default-src covers object-src, which is written out because not every scanner knows.
const basePolicy = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; object-src 'none'"

var everyAnswer = map[string]string{
	"X-Content-Type-Options": "nosniff",
	// Not no-referrer: browsers would then send "Origin: null" with our own
	// forms, and the cross-origin check could not tell them from others'.
	"Referrer-Policy":              "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	"Cache-Control":                "no-store",
	"Vary":                         "Accept", // pages and documents share addresses
}

// transportSecurity keeps browsers on https for two years (ASVS 3.4.1 asks for
// one at least).
const transportSecurity = "max-age=63072000; includeSubDomains"

// policy is the policy of an answer, with directives of its own. Browsers tell us what
// they refuse for it (ASVS 3.4.7).
func (s *Site) policy(more string) string {
	return basePolicy + "; report-uri " + s.Prefix + reportPath + more
}

// headers sets what every answer carries, before anything else can answer.
func (s *Site) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for name, value := range everyAnswer {
			h.Set(name, value)
		}
		h.Set("Content-Security-Policy", s.policy(""))
		if s.HTTPS || audit.HTTPS(r) {
			h.Set("Strict-Transport-Security", transportSecurity)
		}
		next.ServeHTTP(w, r)
	})
}

// loads are the destinations for which a browser asks for an address of ours: to show
// it, or because a script reads it.
var loads = []string{"", "document", "empty"}

// embedded tells whether a browser asks in order to make the answer part of something
// else, as a script, an image or a frame, or on behalf of another site's script. None
// of our pages and documents is for that (ASVS 3.2.1, 3.5.8).
func embedded(r *http.Request) bool {
	if !slices.Contains(loads, r.Header.Get("Sec-Fetch-Dest")) {
		return true
	}
	site, mode := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Sec-Fetch-Mode")
	foreign := site == "cross-site" || site == "same-site"
	return foreign && mode != "" && mode != "navigate"
}

// alone refuses what is embedded, before anything looks at the session.
func (s *Site) alone(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead // of others csrf judges
		if reads && embedded(r) {
			event.Log(r.Context(), s.Logger, slog.LevelWarn, event.CSRFRefused,
				event.Addr(s.manager.ClientAddr(r)), event.Reason("embedded"))
			s.fail(w, r, http.StatusForbidden, problem.CrossOrigin)
			return
		}
		next.ServeHTTP(w, r)
	})
}
