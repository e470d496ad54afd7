package web

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
	"github.com/cloakroom-dev/cloakroom/password"
)

// detailGone is what programs read of a link that no longer works.
const detailGone = "Setup link not valid"

// setupPage shows the form of a link that still works. It claims nothing: mail
// scanners and previews follow links too.
func (s *Site) setupPage(w http.ResponseWriter, r *http.Request) {
	hideAddress(w)
	token := r.URL.Query().Get("token")
	if err := s.checkSetup(r, token); err != nil {
		s.refuseSetup(w, r, err)
		return
	}
	s.showSetup(w, r, http.StatusOK, &view{Token: token})
}

func (s *Site) checkSetup(r *http.Request, token string) error {
	ctx, cancel := s.bounded(r)
	defer cancel()
	return s.Accounts.CheckSetup(ctx, token, time.Now())
}

// bounded is the context of a call of the accounts: a database that another program
// has locked, or a server that has gone silent, is a 503, and not a page that never
// comes.
func (s *Site) bounded(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), cmp.Or(s.UsersTimeout, auth.DefaultUsersTimeout))
}

func (s *Site) showSetup(w http.ResponseWriter, r *http.Request, status int, v *view) {
	v.Title, v.Field, v.Hint = text("setup.title"), "password", s.hint()
	s.render(w, r, status, "setup", formToken(r, v))
}

// setup makes the first administrator and signs them in. The link is looked at
// before the password is hashed, so that nobody without one can make us hash,
// and claimed together with the user, so that one link makes one administrator.
func (s *Site) setup(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	token, name, pw := field(r, "token"), field(r, "username"), field(r, "password")
	if err := s.checkSetup(r, token); err != nil {
		s.refuseSetup(w, r, err)
		return
	}
	if name == "" || len(name) > auth.MaxName {
		s.refuseSetup(w, r, sqlusers.ErrNameInvalid)
		return
	}
	if err := s.auth.CheckPassword(pw, auth.User{Name: name}); err != nil {
		s.refuseWeak(w, r, "", err, func(status int, why string) { s.setupAgain(w, r, status, "password", why) })
		return
	}
	phc, err := s.Hasher.Hash(password.WithSource(ctx, s.manager.ClientAddr(r)), pw)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	claim, cancel := s.bounded(r)
	defer cancel()
	u, err := s.Accounts.ClaimSetup(claim, token, time.Now(), sqlusers.NewUser{Name: name, Password: phc})
	if err != nil {
		s.refuseSetup(w, r, err)
		return
	}
	event.Log(ctx, s.Logger, slog.LevelInfo, event.Setup, event.User(u.ID), event.Outcome("administrator made"))
	if err := s.auth.SignIn(r, u, "password"); err != nil {
		s.refuse(w, r, err)
		return
	}
	s.auth.KnowDevice(w, r, u)
	if answersJSON(r) {
		writeJSON(w, http.StatusCreated, map[string]userDoc{"user": document(u)})
		return
	}
	redirect(w, s.Prefix+"/profile")
}

// refuseSetup answers a setup that must not be or cannot be.
func (s *Site) refuseSetup(w http.ResponseWriter, r *http.Request, err error) {
	status, why, detail := http.StatusBadRequest, "", ""
	switch {
	case errors.Is(err, sqlusers.ErrSetupGone):
		event.Log(r.Context(), s.Logger, slog.LevelWarn, event.Setup, event.Outcome("refused"))
		s.fail(w, r, http.StatusGone, detailGone)
		return
	case errors.Is(err, sqlusers.ErrNameTaken):
		status, why, detail = http.StatusConflict, text("setup.taken"), "User name is taken"
	case errors.Is(err, sqlusers.ErrNameInvalid):
		why, detail = text("setup.name"), "User name must have 1 to 256 bytes, no blanks and no control characters"
	default:
		s.unavailable(w, r, "set up", err)
		return
	}
	if !problem.WantsHTML(r) {
		problem.Write(w, r, status, detail)
		return
	}
	s.setupAgain(w, r, status, "username", why)
}

// setupAgain shows the form again, with the name that was typed and never the
// password.
func (s *Site) setupAgain(w http.ResponseWriter, r *http.Request, status int, wrong, why string) {
	name := field(r, "username")
	if len(name) > auth.MaxName {
		name = ""
	}
	s.showSetup(w, r, status, &view{Error: why, Wrong: wrong, Name: name, Token: field(r, "token")})
}
