package web

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
	"github.com/cloakroom-dev/cloakroom/password"
)

// What programs read who leave a field out.
const (
	detailPasswords = "Current and new password are required"
	detailPassword  = "Password is required"
)

// passwordDoc is the answer of GET /password.
type passwordDoc struct {
	MustChange bool   `json:"must_change"`
	CSRFToken  string `json:"csrf_token"`
}

// passwordPage shows the form to change the password, also to whoever must. Programs
// get the token that they need for it: to who must change the password no other
// address tells it.
func (s *Site) passwordPage(w http.ResponseWriter, r *http.Request) {
	if !problem.WantsHTML(r) {
		u, _ := auth.UserFrom(r.Context())
		writeJSON(w, http.StatusOK, passwordDoc{u.MustChange, csrf.Token(r.Context())})
		return
	}
	s.showPassword(w, r, http.StatusOK, &view{Next: r.URL.Query().Get("next")})
}

func (s *Site) showPassword(w http.ResponseWriter, r *http.Request, status int, v *view) {
	u, _ := auth.UserFrom(r.Context())
	v.Title, v.Here, v.Must, v.Next = text("password.title"), "password", u.MustChange, local(v.Next)
	v.Field, v.Hint = "new", s.hint()
	s.render(w, r, status, "password", v)
}

// local returns an address to come back to, or "" for one that leads nowhere of ours:
// not worth carrying along.
func local(next string) string {
	if auth.Next(next, "/") != next {
		return ""
	}
	return next
}

// changePassword gives the user a new password. All their other sessions end, and
// this one has another token.
func (s *Site) changePassword(w http.ResponseWriter, r *http.Request) {
	current, fresh := field(r, "current"), field(r, "new")
	again := func(status int, wrong, why, detail string) {
		if !problem.WantsHTML(r) {
			problem.Write(w, r, status, detail)
			return
		}
		s.showPassword(w, r, status, &view{Error: why, Wrong: wrong, Next: field(r, "next")})
	}
	switch {
	case current == "":
		again(http.StatusBadRequest, "current", text("password.missing"), detailPasswords)
		return
	case fresh == "":
		again(http.StatusBadRequest, "new", text("password.missing"), detailPasswords)
		return
	}
	err := s.auth.ChangePassword(r, current, fresh)
	weak, isWeak := errors.AsType[*password.PolicyError](err)
	throttled, isThrottled := errors.AsType[*auth.ThrottledError](err)
	switch {
	case errors.Is(err, auth.ErrBadCredentials):
		again(http.StatusUnauthorized, "current", text("password.wrong"), problem.InvalidCredentials)
	case isThrottled:
		again(http.StatusTooManyRequests, "current", slowDown(w, throttled), problem.TooManyAttempts)
	case isWeak && problem.WantsHTML(r):
		again(http.StatusUnprocessableEntity, "new", weakText(weak), "")
	case err != nil:
		s.refuse(w, r, err)
	default:
		u, _ := auth.UserFrom(r.Context())
		s.auth.KnowDevice(w, r, u) // as every browser of before is unknown now, this one too
		s.proved(w, r, text("password.changed"))
	}
}

// reauthPage asks for the password of whoever is signed in.
func (s *Site) reauthPage(w http.ResponseWriter, r *http.Request) {
	s.showReauth(w, r, http.StatusOK, &view{Next: r.URL.Query().Get("next")})
}

func (s *Site) showReauth(w http.ResponseWriter, r *http.Request, status int, v *view) {
	v.Title, v.Next = text("reauth.title"), local(v.Next)
	s.render(w, r, status, "reauth", v)
}

// reauth takes the password, and leads back to the page that needed it: by GET, and
// without what its form held. Whoever sent that sees it once more, and sends it
// themselves.
func (s *Site) reauth(w http.ResponseWriter, r *http.Request) {
	again := func(status int, why, detail string) {
		if !problem.WantsHTML(r) {
			problem.Write(w, r, status, detail)
			return
		}
		s.showReauth(w, r, status, &view{Error: why, Next: field(r, "next")})
	}
	if field(r, "password") == "" {
		again(http.StatusBadRequest, text("reauth.missing"), detailPassword)
		return
	}
	err := s.auth.Reauthenticate(r, field(r, "password"))
	throttled, isThrottled := errors.AsType[*auth.ThrottledError](err)
	switch {
	case errors.Is(err, auth.ErrBadCredentials):
		again(http.StatusUnauthorized, text("reauth.wrong"), problem.InvalidCredentials)
	case isThrottled:
		again(http.StatusTooManyRequests, slowDown(w, throttled), problem.TooManyAttempts)
	case err != nil:
		s.refuse(w, r, err)
	default:
		s.proved(w, r, text("reauth.done"))
	}
}

// proved answers a proof of identity: with 204, or with the page that was asked for
// and a word about it.
func (s *Site) proved(w http.ResponseWriter, r *http.Request, said string) {
	if answersJSON(r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	cloakroom.FromContext(r.Context()).Flash(said)
	redirect(w, s.next(field(r, "next")))
}

// slowDown tells when the next password is looked at: programs by the header, people
// by the words that it returns.
func slowDown(w http.ResponseWriter, e *auth.ThrottledError) string {
	w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter/time.Second)))
	return text("throttled", wait(e.RetryAfter))
}

// wait writes how long to wait, rounded up, as people count it.
func wait(d time.Duration) string {
	if d <= 90*time.Second {
		return plural(int((d+time.Second-1)/time.Second), "second")
	}
	return plural(int((d+time.Minute-1)/time.Minute), "minute")
}

// formToken is the hidden field of a form on a page for visitors.
func formToken(r *http.Request, v *view) *view {
	v.CSRF = csrf.Field(r.Context())
	return v
}
