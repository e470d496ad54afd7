package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
	"github.com/cloakroom-dev/cloakroom/password"
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
	writeDocument(w, status, "application/json", v)
}

func writeDocument(w http.ResponseWriter, status int, media string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		// Texts, times and numbers only: they can be marshalled.
		panic(err)
	}
	w.Header().Set("Content-Type", media)
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

// refuse answers a request that the session's middleware, the checks against
// forgery or a guard will not let pass, or that a login has failed for a reason
// which is not the visitor's.
func (s *Site) refuse(w http.ResponseWriter, r *http.Request, err error) {
	forged := errors.Is(err, csrf.ErrCrossOrigin) || errors.Is(err, csrf.ErrToken)
	switch {
	case forged && !problem.WantsHTML(r):
		csrf.WriteError(w, r, err)
	case errors.Is(err, csrf.ErrToken):
		s.errorPage(w, r, http.StatusForbidden, problem.CSRFToken)
	case forged:
		s.errorPage(w, r, http.StatusForbidden, problem.CrossOrigin)
	case !problem.WantsHTML(r), errors.Is(err, cloakroom.ErrRenewed) && problem.Navigation(r):
		auth.WriteError(w, r, err) // a document, or once more to the same address
	default:
		status := auth.Status(err)
		if status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", retryAfter(err))
		}
		detail := ""
		switch {
		case errors.Is(err, auth.ErrPasswordChange):
			detail = problem.PasswordChange
		case errors.Is(err, auth.ErrRecentAuth):
			detail = problem.RecentAuth
		}
		s.errorPage(w, r, status, detail)
	}
}

// retryAfter is when it is worth trying again, in seconds.
func retryAfter(err error) string {
	if busy, ok := errors.AsType[*password.BusyError](err); ok {
		return strconv.Itoa(int(busy.RetryAfter / time.Second))
	}
	return "1"
}

// unavailable answers a request whose accounts could not be read, and logs why.
func (s *Site) unavailable(w http.ResponseWriter, r *http.Request, doing string, err error) {
	event.Log(r.Context(), s.Logger, slog.LevelError, event.UsersFailed, slog.String("op", doing), event.Err(err))
	w.Header().Set("Retry-After", "1")
	s.fail(w, r, http.StatusServiceUnavailable, problem.Unavailable)
}

// errorPage shows an error to people.
func (s *Site) errorPage(w http.ResponseWriter, r *http.Request, status int, detail string) {
	t, ok := errorTexts[status]
	if !ok {
		t = errorTexts[0]
	}
	v := &view{Title: t[0], Text: t[1], Status: status, Link: "/", LinkText: text("error.home")}
	switch {
	case detail == problem.CSRFToken:
		v.Text = textForm
	case detail == detailLinkGone:
		v.Title, v.Text = text("link.gone"), text("link.gonetext")
	case detail == problem.PasswordChange:
		v.Text, v.Link, v.LinkText = text("error.must"), s.Prefix+"/password", text("password.title")
	case detail == problem.RecentAuth:
		v.Title, v.Text, v.Link, v.LinkText = text("reauth.title"), text("error.proof"), s.Prefix+"/reauth", text("reauth.button")
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

// viewer is a view, or one that has a view in it.
type viewer interface{ common() *view }

// render shows a page. It makes all of it first, so that a template that fails
// leaves nothing half shown.
func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, name string, page viewer) {
	v := page.common()
	v.Prefix, v.Style = s.Prefix, s.Prefix+s.pages.styleName
	if u, ok := auth.UserFrom(r.Context()); ok {
		v.User, v.CSRF = &u, csrf.Field(r.Context())
		v.Admin = slices.Contains(u.Roles, sqlusers.Admin)
	}
	if v.Field != "" {
		v.Script = s.Prefix + s.pages.scriptName
		w.Header().Set("Content-Security-Policy", s.policy("; script-src 'self'"))
	}
	var b bytes.Buffer
	if err := s.pages.templates.ExecuteTemplate(&b, name, page); err != nil {
		panic(err) // a fault of the template: the last resort answers
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that went away has nobody to tell
}
