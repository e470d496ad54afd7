package web

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store"
)

// detailLinkGone is what programs read of an invite or reset link that no longer works.
const detailLinkGone = "Link not valid"

// linkPage shows for whom a link is, and the form for a new password. It claims
// nothing: mail scanners and previews follow links too.
func (s *Site) linkPage(w http.ResponseWriter, r *http.Request) {
	hideAddress(w)
	token := r.URL.Query().Get("token")
	link, err := s.checkLink(r, token)
	if err != nil {
		s.refuseLink(w, r, err)
		return
	}
	s.showNewPassword(w, r, http.StatusOK, link, &view{Token: token})
}

// hideAddress keeps an address that holds a token from what the page asks for. Not
// no-referrer, see everyAnswer.
func hideAddress(w http.ResponseWriter) { w.Header().Set("Referrer-Policy", "strict-origin") }

func (s *Site) checkLink(r *http.Request, token string) (sqlusers.Link, error) {
	ctx, cancel := s.bounded(r)
	defer cancel()
	return s.Accounts.CheckLink(ctx, token, time.Now())
}

func (s *Site) showNewPassword(w http.ResponseWriter, r *http.Request, status int, link sqlusers.Link, v *view) {
	v.Title, v.Text = text("link.reset"), text("link.resets")
	if link.Kind == sqlusers.LinkInvite {
		v.Title, v.Text = text("link.invite"), text("link.invited")
	}
	v.Stub, v.Name, v.Until, v.Action = text("link.stub"), link.User.Name, link.Until, r.URL.Path
	v.Field, v.Hint = "password", s.hint()
	s.render(w, r, status, "link", formToken(r, v))
}

// useLink sets the password of the link's user. The link is looked at before the
// password is hashed, so that nobody without one can make us hash, and is claimed
// together with the password. It signs nobody in: who has read a mail has shown
// nothing of the password yet.
func (s *Site) useLink(w http.ResponseWriter, r *http.Request) {
	hideAddress(w)
	ctx := r.Context()
	token, pw := field(r, "token"), field(r, "password")
	link, err := s.checkLink(r, token)
	if err != nil {
		s.refuseLink(w, r, err)
		return
	}
	if err := s.auth.CheckPassword(pw, link.User); err != nil {
		s.refuseWeak(w, r, link.User.ID, err, func(status int, why string) {
			s.showNewPassword(w, r, status, link, &view{Token: token, Error: why, Wrong: "password"})
		})
		return
	}
	phc, err := s.Hasher.Hash(password.WithSource(ctx, s.manager.ClientAddr(r)), pw)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	claim, cancel := s.bounded(r)
	defer cancel()
	u, err := s.Accounts.ClaimLink(claim, token, time.Now(), phc)
	if err != nil {
		s.refuseLink(w, r, err)
		return
	}
	event.Log(ctx, s.Logger, slog.LevelInfo, event.LinkUsed, event.User(u.ID), event.Addr(s.manager.ClientAddr(r)), event.Reason(string(link.Kind)))
	s.afterLink(r, u)
	if answersJSON(r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	redirect(w, s.Prefix+"/login?done=password")
}

// afterLink tidies up behind a new password: the epoch has ended the user's sessions
// already, and wrong guesses of the old password say nothing about the new one (NIST
// SP 800-63B-4 §3.2.2). What fails is logged by whom it fails, and changes nothing.
func (s *Site) afterLink(r *http.Request, u auth.User) {
	ctx, cancel := s.bounded(r)
	defer cancel()
	if !s.Unlisted {
		_, _ = s.manager.EndUser(ctx, u.ID, store.ID{})
	}
	if s.Throttle == nil {
		return
	}
	if err := s.Throttle.Unlock(ctx, u.ID); err != nil {
		event.Log(ctx, s.Logger, slog.LevelError, event.UsersFailed, slog.String("op", "forget wrong passwords"), event.Err(err))
	}
}

// refuseLink answers a link that is not valid, or cannot be looked at.
func (s *Site) refuseLink(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, sqlusers.ErrLinkGone) {
		s.unavailable(w, r, "use a link", err)
		return
	}
	event.Log(r.Context(), s.Logger, slog.LevelWarn, event.LinkRefused, event.Addr(s.manager.ClientAddr(r)))
	s.fail(w, r, http.StatusGone, detailLinkGone)
}

// refuseWeak answers a new password that the policy does not take: with the form,
// which show shows again, or a document with the reason. user is the ID, "" where
// there is none yet.
func (s *Site) refuseWeak(w http.ResponseWriter, r *http.Request, user string, err error, show func(status int, why string)) {
	weak, ok := errors.AsType[*password.PolicyError](err)
	if !ok {
		s.refuse(w, r, err)
		return
	}
	attrs := []slog.Attr{event.Addr(s.manager.ClientAddr(r)), event.Reason(string(weak.Reason))}
	if user != "" {
		attrs = append(attrs, event.User(user))
	}
	event.Log(r.Context(), s.Logger, slog.LevelInfo, event.PasswordRefused, attrs...)
	if !problem.WantsHTML(r) {
		auth.WriteError(w, r, err)
		return
	}
	show(http.StatusUnprocessableEntity, weakText(weak))
}
