package web

import (
	"bytes"
	"context"
	"encoding/json"
	"html"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// redirect sends the browser on by GET. The address must be one of ours or a
// checked one: http.Redirect would clean it, and with it hide what it was.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// answersJSON tells whether a request that succeeds is answered in JSON, or with
// 204, rather than with a redirect. Who sent JSON gets JSON. Who sent a form gets
// the redirect, unless they ask for JSON by name: "*/*" is what a tool sends that
// posts forms as a browser does. Without a body the Accept decides.
func answersJSON(r *http.Request) bool {
	isJSON, known := contentType(r)
	if isJSON || !known {
		return isJSON || !problem.WantsHTML(r)
	}
	return !problem.WantsHTML(r) && strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Accept"), ",")), "json")
}

// writeJSON answers with a document.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		// Texts, times and numbers only: they can be marshalled.
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that went away has nobody to tell
}

// fail answers with an error: a page for people, a problem document for
// programs. An empty detail is the status's own text.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, status int, detail string) {
	if !problem.WantsHTML(r) {
		problem.Write(w, r, status, detail)
		return
	}
	s.errorPage(w, r, status, detail)
}

// unavailable answers a request whose accounts could not be read, and logs why.
func (s *Site) unavailable(w http.ResponseWriter, r *http.Request, doing string, err error) {
	event.Log(r.Context(), s.Logger, slog.LevelError, event.StoreFailed, slog.String("op", doing), event.Err(err))
	w.Header().Set("Retry-After", "1")
	s.fail(w, r, http.StatusServiceUnavailable, problem.Unavailable)
}

// errorPage shows an error to people.
func (s *Site) errorPage(w http.ResponseWriter, r *http.Request, status int, detail string) {
	t, ok := errorTexts[status]
	if !ok {
		t = errorTexts[0]
	}
	v := view{Title: t[0], Text: t[1], Status: status, Link: "/", LinkText: text("error.home")}
	switch {
	case detail == problem.CSRFToken:
		v.Text = textForm
	case detail == problem.CrossOrigin:
		v.Text = textCrossOrigin
	case status == http.StatusUnauthorized:
		v.Link, v.LinkText = s.Prefix+"/login", text("error.sign-in")
	case status == http.StatusGone:
		v.Command = "cloakroom setup-link"
	case status == http.StatusConflict:
		v.Link, v.LinkText = s.Prefix+"/profile", text("error.again")
	case status >= 500:
		v.RequestID = w.Header().Get(audit.RequestID)
	}
	s.render(w, r, status, "error", v)
}

// render shows a page. It makes all of it first, so that a template that fails
// leaves nothing half shown.
func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, name string, v view) {
	v.Prefix, v.Style = s.Prefix, s.Prefix+s.pages.styleName
	if u, ok := auth.UserFrom(r.Context()); ok {
		v.User, v.CSRF = &u, csrf.Token(r.Context())
	}
	var b bytes.Buffer
	if err := s.pages.templates.ExecuteTemplate(&b, name, v); err != nil {
		panic(err) // a fault of the template: the last resort answers
	}
	if p, ok := r.Context().Value(ownPageKey{}).(*bool); ok {
		*p = true
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that went away has nobody to tell
}

// ownPageKey is where render notes that the answer is a page of ours.
type ownPageKey struct{}

// details are what the library says in its small pages, and what errorPage has
// words of its own for.
var details = []string{problem.CSRFToken, problem.CrossOrigin}

// errorPages puts our pages in the place of those that the library shows to
// people, which have no style: whatever answers, it looks like this service.
func (s *Site) errorPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !problem.WantsHTML(r) {
			next.ServeHTTP(w, r)
			return
		}
		own := false
		pw := &pageWriter{ResponseWriter: w, own: &own}
		next.ServeHTTP(pw, r.WithContext(context.WithValue(r.Context(), ownPageKey{}, &own)))
		if pw.held == 0 {
			return
		}
		detail := ""
		if i := slices.IndexFunc(details, func(d string) bool {
			return bytes.Contains(pw.body, []byte(html.EscapeString(d)))
		}); i >= 0 {
			detail = details[i]
		}
		w.Header().Del("Content-Length")
		s.errorPage(w, r, pw.held, detail)
	})
}

// pageWriter holds back an error page that is not ours.
type pageWriter struct {
	http.ResponseWriter
	own  *bool
	held int // the status of the page that is held back
	body []byte
}

func (w *pageWriter) WriteHeader(status int) {
	if w.held != 0 {
		return
	}
	if status >= 400 && !*w.own && strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		w.held = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *pageWriter) Write(p []byte) (int, error) {
	if w.held == 0 {
		return w.ResponseWriter.Write(p)
	}
	if len(w.body) < 4<<10 {
		w.body = append(w.body, p...)
	}
	return len(p), nil
}
