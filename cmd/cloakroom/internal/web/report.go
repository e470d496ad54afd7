package web

import (
	"encoding/json"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"

	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// reportPath is where browsers report what the policy of a page made them refuse.
const reportPath = "/csp-report"

// maxReport bounds a report in bytes. A browser's has about one thousand.
const maxReport = 8 << 10

// report takes a report (CSP Level 3 §5.3) and writes a line about it. Anybody can send
// one, with whatever in it: it changes nothing and reads no session, and of the address
// that was refused it keeps the origin alone, as the rest may be a secret.
func (s *Site) report(w http.ResponseWriter, r *http.Request) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/csp-report" {
		w.Header().Set("Accept-Post", "application/csp-report")
		s.fail(w, r, http.StatusUnsupportedMediaType, "Content type must be application/csp-report")
		return
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxReport+1))
	if len(raw) > maxReport {
		w.Header().Set("Connection", "close")
		s.fail(w, r, http.StatusRequestEntityTooLarge, "Report is over 8 KiB")
		return
	}
	var doc struct {
		Report *struct {
			Directive string `json:"effective-directive"`
			Violated  string `json:"violated-directive"` // of older browsers
			Blocked   string `json:"blocked-uri"`
		} `json:"csp-report"`
	}
	if err != nil || json.Unmarshal(raw, &doc) != nil || doc.Report == nil {
		s.fail(w, r, http.StatusBadRequest, "Report is malformed")
		return
	}
	directive := doc.Report.Directive
	if directive == "" {
		directive = doc.Report.Violated
	}
	event.Log(r.Context(), s.Logger, slog.LevelWarn, event.PolicyViolated, event.Addr(s.manager.ClientAddr(r)),
		event.Text("directive", directive), event.Text("blocked", origin(doc.Report.Blocked)))
	w.WriteHeader(http.StatusNoContent)
}

// origin is what may be kept of an address: scheme and host, or a word such as "inline".
func origin(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	} else if err == nil && u.Scheme == "" && u.RawQuery == "" {
		return u.Path
	}
	return "other"
}
