package web

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
)

//go:embed templates
var templateFiles embed.FS

//go:embed style.css
var styleSource []byte

//go:embed show.js
var scriptSource []byte

// styleSheet and script are what is served: without the comments, and without the
// blanks that lines begin with.
var (
	styleSheet = terse(styleSource)
	script     = terse(scriptSource)
)

var comments = regexp.MustCompile(`(?s)/\*.*?\*/|(?m:^\s+)`)

func terse(source []byte) []byte { return comments.ReplaceAll(source, nil) }

// pages are the templates, and the addresses of what they load: another text has
// another address, so that caches may keep it for ever.
type pages struct {
	templates  *template.Template
	styleName  string // "/style.HASH.css"
	scriptName string // "/show.HASH.js"
}

// view is what a page shows. Each template takes what it needs. The pages of the
// administration have a view of their own around it.
type view struct {
	Title, Style, Prefix string
	Script               string // "" but where new passwords are typed
	Here                 string // which of the navigation's pages this is
	User                 *auth.User
	Admin                bool          // User may administer
	CSRF                 template.HTML // the hidden field of every form
	Flashes              []string

	Error, Name, Next, Token string // of a form
	Wrong                    string // the field that Error is about, "" for all
	NoAdmin                  bool   // yet
	Note                     string // a good word before a form
	Field, Hint              string // name of the field for a new password, and what it takes
	Must                     bool   // the password must be changed before anything else
	Stub, Action             string // of a link

	Since, Until, Proof time.Time
	Idle, Recent        string // how long
	Sessions            []sessionItem
	Unlisted            bool // the sessions cannot be listed

	Status                        int
	Text, Link, LinkText, Command string
	RequestID                     string
}

// common is the part of a view that all pages have.
func (v *view) common() *view { return v }

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
	return &pages{t, "/style." + digest(styleSheet) + ".css", "/show." + digest(script) + ".js"}, nil
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
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

// asset serves a style sheet or script: the only answers that caches may keep, since
// what is at their addresses never changes.
func asset(media string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", media+"; charset=utf-8")
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Del("Vary")
		_, _ = w.Write(body) // a client that went away has nobody to tell
	}
}
