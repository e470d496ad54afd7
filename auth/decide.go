package auth

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// Rule is what a request must fulfil. The zero Rule asks for a user who is
// signed in.
type Rule struct {
	// Roles asks for one of these roles; none asks for no role.
	Roles []string

	// Recent asks for a proof of identity that is not older; 0 asks for none.
	Recent time.Duration

	// AllowMustChange lets in who must change their password as well, as the page does
	// where that is done. Without it they are refused whatever their roles are.
	AllowMustChange bool
}

// Decision says whether a request fulfils a [Rule]. The zero Decision does not.
type Decision struct {
	Allowed bool

	// User is who is signed in, without Password. It is set as well where only
	// a role, a recent proof or another password is missing.
	User User

	// Err is nil if Allowed, and otherwise ErrUnauthenticated,
	// ErrPasswordChange, ErrForbidden, ErrRecentAuth, cloakroom.ErrRenewed, or
	// ErrUnavailable with its reason.
	// [Status] and [WriteError] turn it into an answer.
	Err error
}

// Decide judges the request of ctx, which must have come through the Manager's
// Handler: it panics otherwise, as a guard that finds no session must not open.
// All guards are made of it.
//
// The user is read from the Users, once a request. If there is none of the
// session's ID any more, or they are disabled, or their epoch is another than
// the one that the session was signed in under, the session is ended. The answer
// does not depend on whether that succeeds: the next request finds the same. If
// the user's roles are others than the session's, the session takes them and
// renews its token (ASVS 7.2.4).
//
// A sealed session of another epoch is refused and not ended: epochs only grow, and
// whoever has raised this one to end all others may be about to give it to this very
// session. It still says whose it was: a login page that sends on who is signed in
// asks Decide, not the session, or sends them in a circle. One whose cookie has no
// room for the user's new roles is ended.
func (a *Auth) Decide(ctx context.Context, rule Rule) Decision {
	user, err := a.user(ctx)
	if err != nil {
		return Decision{Err: err}
	}
	d := Decision{User: user}
	switch {
	case user.MustChange && !rule.AllowMustChange:
		d.Err = ErrPasswordChange
	case len(rule.Roles) > 0 && !slices.ContainsFunc(rule.Roles, func(r string) bool { return slices.Contains(user.Roles, r) }):
		d.Err = ErrForbidden
	case rule.Recent > 0 && !recent(a.m.FromContext(ctx).AuthTime(), rule.Recent):
		d.Err = ErrRecentAuth
	default:
		d.Allowed = true
	}
	return d
}

// recent reports whether a proof is not older than max. One from the future is no
// proof of anything but of a clock that was set back; a minute is let pass, as
// between two machines.
func recent(at time.Time, max time.Duration) bool {
	since := time.Since(at)
	return since <= max && since > -time.Minute
}

// user returns the user of a request without Password, as a guard around this one
// has read them, or as they are now.
func (a *Auth) user(ctx context.Context) (User, error) {
	s := a.m.FromContext(ctx)
	// A login may have happened since the guard.
	if k, ok := ctx.Value(knownKey{}).(*known); ok && k.by == a {
		if who := s.Identity(); k.user.ID == who.UserID && k.user.Epoch == who.Epoch {
			return k.user, nil
		}
	}
	user, err := a.current(ctx, s)
	return shown(user), err
}

// current reads the user of a session, with Password. The error is ErrUnauthenticated
// or cloakroom.ErrRenewed where nobody is signed in, or no longer, and otherwise says
// that something did not answer.
func (a *Auth) current(ctx context.Context, s *cloakroom.Session) (User, error) {
	who := s.Identity()
	if who.UserID == "" {
		if s.Late() {
			return User{}, cloakroom.ErrRenewed
		}
		return User{}, ErrUnauthenticated
	}
	user, err := a.byID(ctx, who.UserID)
	reason := ""
	switch {
	case errors.Is(err, ErrNoUser):
		reason = "no user"
	case err != nil:
		a.event(ctx, outage(err), event.UsersFailed, event.Session(s.ID()), event.Err(err))
		return User{}, err
	case user.Disabled:
		reason = "disabled"
	case user.Epoch != who.Epoch:
		reason = "epoch"
	}
	if reason == "epoch" && a.m.Sealed() {
		a.event(ctx, slog.LevelInfo, event.AccessRefused, event.User(who.UserID), event.Session(s.ID()), event.Reason(reason))
		return User{}, ErrUnauthenticated
	}
	if reason != "" {
		return User{}, a.end(ctx, s, reason)
	}
	// A login through this package keeps them sorted; others may not.
	if !slices.Equal(user.Roles, who.Roles) && !slices.Equal(user.Roles, roleSet(who.Roles)) {
		s.SetRoles(user.Roles)
		// At once, so that the session is stored under the ID that it has from here on.
		switch err := s.Commit(ctx); {
		case errors.Is(err, cloakroom.ErrTooLarge):
			return User{}, a.end(ctx, s, "roles") // else every page is an error; a login makes room
		case err != nil:
			return User{}, err
		}
		a.event(ctx, slog.LevelInfo, event.RolesChanged, event.User(who.UserID), event.Session(s.ID()))
	}
	return user, nil
}

// end ends a session that holds no longer.
func (a *Auth) end(ctx context.Context, s *cloakroom.Session, reason string) error {
	user, id := s.UserID(), s.ID()
	// The Manager logs a store that does not answer.
	if err := s.End(ctx); err == nil {
		a.event(ctx, slog.LevelInfo, event.SessionEnded, event.User(user), event.Session(id), event.Reason(reason))
	}
	return ErrUnauthenticated
}

// known is the user that a guard has read, in the context of the request.
type known struct {
	by   *Auth
	user User
}

type knownKey struct{}

// UserFrom returns the user of a request that has passed a guard, as the guard
// has read them, without Password. It is false where no guard stands in front.
func UserFrom(ctx context.Context) (User, bool) {
	k, ok := ctx.Value(knownKey{}).(*known)
	if !ok {
		return User{}, false
	}
	return k.user, true
}
