package web

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
)

//go:embed templates
var templateFiles embed.FS

//go:embed style.css
var styleSheet []byte

// pages are the templates and the style sheet's address.
type pages struct {
	templates *template.Template
	styleName string // "/style.HASH.css": another text has another address
}

// view is what a page shows. Each template takes what it needs.
type view struct {
	Title, Style, Prefix string
	Here                 string // which of the navigation's pages this is
	User                 *auth.User
	CSRF                 template.HTML // the hidden field of every form
	Flashes              []string

	Error, Name, Next, Token string // of a form
	Wrong                    string // the field that Error is about, "" for all
	NoAdmin                  bool   // yet

	Since, Until time.Time
	Idle         string
	Sessions     []sessionItem
	Unlisted     bool // the sessions cannot be listed

	Status                        int
	Text, Link, LinkText, Command string
	RequestID                     string
}

func loadPages(prefix string) (*pages, error) {
	t, err := template.New("").Funcs(template.FuncMap{
		"t":       text,
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"moment":  func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
		"ago":     func(t time.Time) string { return ago(time.Since(t)) },
	}).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("read templates: %w", err)
	}
	sum := sha256.Sum256(styleSheet)
	return &pages{t, "/style." + base64.RawURLEncoding.EncodeToString(sum[:9]) + ".css"}, nil
}

// ago says how long something is past, as people do.
func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// style serves the style sheet: the one answer that caches may keep, since what
// is at its address never changes.
func (s *Site) style(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/css; charset=utf-8")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Del("Vary")
	_, _ = w.Write(styleSheet) // a client that went away has nobody to tell
}
