package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// detailCredentials is what programs read who send no name or password at all.
const detailCredentials = "User name of 1 to 256 bytes and password are required"

// userDoc is a user as programs read it.
type userDoc struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

func document(u auth.User) userDoc {
	roles := u.Roles
	if roles == nil {
		roles = []string{} // "roles":[] rather than null
	}
	return userDoc{ID: u.ID, Name: u.Name, Roles: roles}
}

// loginPage shows the form, to whoever is signed in the page they asked for, and
// before setup how to begin.
func (s *Site) loginPage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.bounded(r)
	defer cancel()
	st, err := s.stage(ctx)
	next := r.URL.Query().Get("next")
	switch {
	case err != nil:
		s.unavailable(w, r, "look for users", err)
	case st == empty:
		s.beforeSetup(w, r)
	default:
		// Not whoever has a session, but whoever the guards let in, or they send each
		// other in a circle.
		switch d := s.auth.Decide(r.Context(), auth.Rule{}); {
		case d.Allowed:
			redirect(w, s.next(next))
		case errors.Is(d.Err, auth.ErrPasswordChange):
			redirect(w, s.Prefix+"/password")
		default:
			v := &view{Next: next, NoAdmin: st == leaderless}
			if r.URL.Query().Get("done") == "password" {
				v.Note = text("link.done")
			}
			s.showLogin(w, r, http.StatusOK, v)
		}
	}
}

// stage is how far a new service has come.
type stage int

const (
	empty      stage = iota // nobody can sign in
	leaderless              // there are users, added on the command line, and no administrator
	settled
)

// stage asks the accounts. Where they do not answer, the service is still as far as
// it was: who only wants the page to sign in gets it.
func (s *Site) stage(ctx context.Context) (stage, error) {
	now, err := s.askStage(ctx)
	if err == nil {
		s.reached.Store(int32(now))
		return now, nil
	}
	last := stage(s.reached.Load())
	if last == empty {
		return empty, err
	}
	event.Log(ctx, s.Logger, slog.LevelError, event.UsersFailed, slog.String("op", "look for users"), event.Err(err))
	return last, nil
}

func (s *Site) askStage(ctx context.Context) (stage, error) {
	admin, err := s.Accounts.HasAdmin(ctx)
	if err != nil || admin {
		return settled, err
	}
	users, err := s.Accounts.List(ctx, "", 1)
	if err != nil || len(users) == 0 {
		return empty, err
	}
	return leaderless, nil
}

func (s *Site) beforeSetup(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "before-setup", &view{Title: text("before.title")})
}

func (s *Site) showLogin(w http.ResponseWriter, r *http.Request, status int, v *view) {
	v.Title, v.Next = text("login.title"), local(v.Next)
	s.render(w, r, status, "login", formToken(r, v))
}

// next is where a browser goes after signing in.
func (s *Site) next(target string) string { return auth.Next(target, s.Prefix+"/profile") }

// login signs in. What cannot be anybody's name or password, because it is empty
// or too long, is 400; what is merely nobody's is 401.
func (s *Site) login(w http.ResponseWriter, r *http.Request) {
	name, password := field(r, "username"), field(r, "password")
	if name == "" || password == "" || len(name) > auth.MaxName {
		s.refuseLogin(w, r, http.StatusBadRequest, detailCredentials, text("login.missing"))
		return
	}
	u, err := s.auth.Login(r, name, password)
	if err == nil {
		s.auth.KnowDevice(w, r, u)
	}
	throttled, isThrottled := errors.AsType[*auth.ThrottledError](err)
	switch {
	case isThrottled:
		s.refuseLogin(w, r, http.StatusTooManyRequests, problem.TooManyAttempts, slowDown(w, throttled))
	case errors.Is(err, auth.ErrBadCredentials):
		s.refuseLogin(w, r, http.StatusUnauthorized, problem.InvalidCredentials, text("login.wrong"))
	case err != nil:
		s.refuse(w, r, err)
	case answersJSON(r):
		writeJSON(w, http.StatusOK, map[string]userDoc{"user": document(u)})
	default:
		redirect(w, s.next(field(r, "next")))
	}
}

// refuseLogin shows the form again, with the name that was typed and never the
// password.
func (s *Site) refuseLogin(w http.ResponseWriter, r *http.Request, status int, detail, why string) {
	if !problem.WantsHTML(r) {
		problem.Write(w, r, status, detail)
		return
	}
	name := field(r, "username")
	if len(name) > auth.MaxName {
		name = ""
	}
	s.showLogin(w, r, status, &view{Error: why, Name: name, Next: field(r, "next")})
}

// logout ends the session. Who has none is as signed out as they wished to be.
func (s *Site) logout(w http.ResponseWriter, r *http.Request) {
	if err := s.auth.Logout(r); err != nil {
		s.refuse(w, r, err)
		return
	}
	s.goodbye(w, r)
}

// goodbye answers whoever has just ended their own session. Not "cookies": that
// would take those of every application on this host along; ours expires by
// itself (ASVS 14.3.1).
func (s *Site) goodbye(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	if answersJSON(r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	redirect(w, s.Prefix+"/login")
}
