package web

import (
	"net/http"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
)

// The headers of every answer (ASVS 3.4). The pages need one style sheet, forms to
// themselves, and the icon that stands in them, so that browsers do not ask for one;
// all else is off. render adds script-src 'self' where a script shows what is typed.
// default-src covers object-src, which is written out because not every scanner knows.
const policy = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; object-src 'none'"

var everyAnswer = map[string]string{
	"Content-Security-Policy": policy,
	"X-Content-Type-Options":  "nosniff",
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

// headers sets what every answer carries, before anything else can answer.
func (s *Site) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for name, value := range everyAnswer {
			h.Set(name, value)
		}
		if s.HTTPS || audit.HTTPS(r) {
			h.Set("Strict-Transport-Security", transportSecurity)
		}
		next.ServeHTTP(w, r)
	})
}
