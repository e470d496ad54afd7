package auth

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// methodPassword is what lists of sessions show of a login with a password.
const methodPassword = "password"

// Login signs the user of this name in, if the password is theirs, and returns
// them without Password. The session has a new token from then on, and is saved
// when Login returns nil; the cookie leaves with the response's header. The name
// is taken in any spelling with the same [CanonicalName].
//
// If the name is unknown, the account disabled, locked or without a password, or the
// password wrong, the error is [ErrBadCredentials], and it takes the same work to
// find out (ASVS 6.3.8): one hash with the parameters of new ones. If too many
// passwords have been wrong before, it is a [*ThrottledError], whether or not there
// is such an account and whatever the password: nothing was computed, and nothing
// counted. Other errors say nothing about either: a [*password.BusyError] where too
// many logins were waiting, for a hash or for others of the same account or network;
// [ErrUnavailable] where the users or the throttle did not answer; or why the session
// could not be saved. [WriteError] answers them all.
//
// An attempt is counted before its password is verified, for the account, for where
// it comes from, and for both together, see package throttle; on a browser that
// [Auth.KnowDevice] has noted, for that browser. All spellings of a name count
// as one.
//
// The user is read before the password is verified, and the session keeps the
// epoch that was read. If the password is changed, the account disabled, or every
// session ended while the hash is being computed, that raises the epoch, and no
// guard lets this login through.
//
// A user with MustChange is signed in, and no guard lets them through but
// [Auth.RequireLoginToChange].
//
// The request must have come through the Manager's Handler; Login panics
// otherwise.
func (a *Auth) Login(r *http.Request, name, pw string) (User, error) {
	ctx := r.Context()
	a.m.FromContext(ctx) // panics before a hash is computed
	p := proof{name: name}
	user, err := a.find(ctx, &p)
	if err == nil {
		err = a.prove(r, &p, pw)
	}
	if err != nil {
		a.proofRefused(r, event.LoginRefused, &p, err)
		return User{}, err
	}
	if err := a.SignIn(r, user, methodPassword); err != nil {
		return User{}, err
	}
	if p.device == "" {
		a.newDevice(r, &p)
	}
	a.rehash(r, user, pw)
	return shown(user), nil
}

// SignIn signs a user in whose identity the program has proven by itself: who has
// just registered, or comes from another login. method says how, in one word for
// lists of sessions. The user must have been read before the proof, as the session
// keeps the epoch: see [Auth.Login], which does the rest as SignIn does.
func (a *Auth) SignIn(r *http.Request, u User, method string) error {
	ctx := r.Context()
	s := a.m.FromContext(ctx)
	s.Login(cloakroom.Identity{UserID: u.ID, Epoch: u.Epoch, Method: method, Roles: roleSet(u.Roles)})
	if err := s.Commit(ctx); err != nil {
		a.event(ctx, outage(err), event.LoginRefused, event.User(u.ID), event.Addr(a.m.ClientAddr(r)), event.Reason("not saved"), event.Err(err))
		return err
	}
	a.event(ctx, slog.LevelInfo, event.Login, event.User(u.ID), event.Addr(a.m.ClientAddr(r)), event.Session(s.ID()))
	return nil
}

// rehash brings a password that was just verified under the parameters of new
// hashes, and under the key of today where there is a pepper, for which nothing is
// hashed. It fails no login: the next one tries again.
func (a *Auth) rehash(r *http.Request, user User, pw string) {
	if !a.hasher.NeedsRehash(user.Password) {
		return
	}
	ctx := r.Context()
	phc, err := a.hasher.Renew(a.sourced(r), user.Password, pw)
	if err == nil {
		err = a.replaceHash(ctx, user, phc)
	}
	if err != nil {
		a.event(ctx, slog.LevelWarn, event.RehashFailed, event.User(user.ID), event.Err(err))
	}
}

// replaceHash stores the new hash where the old one still stands. Users that
// cannot do that in one step are read once more right before: what is left is
// the moment between the two.
func (a *Auth) replaceHash(ctx context.Context, user User, phc string) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if a.replacer != nil {
		_, err := a.replacer.ReplaceHash(ctx, user.ID, user.Password, phc)
		return err
	}
	now, err := a.users.ByID(ctx, user.ID)
	if err != nil || now.Password != user.Password || now.Epoch != user.Epoch {
		return err
	}
	return a.users.SetPassword(ctx, user.ID, phc, false)
}

// Logout ends the session: its token no longer works, on any instance.
// The cookie is taken back with the response's header. It is no error if nobody
// was signed in. The errors are those of cloakroom.Session.End: after one of
// them the session still lives, and a page must not say otherwise.
func (a *Auth) Logout(r *http.Request) error {
	ctx := r.Context()
	s := a.m.FromContext(ctx)
	user, id := s.UserID(), s.ID()
	if err := s.End(ctx); err != nil {
		return err
	}
	if user != "" {
		a.event(ctx, slog.LevelInfo, event.Logout, event.User(user), event.Addr(a.m.ClientAddr(r)), event.Session(id))
	}
	return nil
}
