package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"golang.org/x/text/unicode/norm"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/password"
)

// Reauthenticate verifies the password of the user who is signed in, for what asks
// for a recent proof: see [Auth.RequireRecent]. The session has a new token, the old
// one is nobody at once (ASVS 7.2.4), AuthTime is now, and both deadlines start anew;
// its values stay. It keeps the epoch that was read before the password was verified:
// see [Auth.Login].
//
// The error is [ErrBadCredentials] if the password is wrong; otherwise those of Login,
// as attempts are counted together with logins of the user; [ErrUnauthenticated] where
// nobody is signed in, or no longer; or cloakroom.ErrRenewed and cloakroom.ErrEnded
// where another request has renewed the token or ended the session meanwhile. After an
// error the session is what it was, perhaps under a new token already.
func (a *Auth) Reauthenticate(r *http.Request, pw string) error {
	ctx := r.Context()
	s := a.m.FromContext(ctx)
	p, err := a.proveAgain(r, s, pw)
	if err != nil {
		return err
	}
	if err = a.takeOver(ctx, s); err == nil {
		err = a.proven(ctx, s, p.user, p.user.Epoch)
	}
	if err != nil {
		return a.notSaved(r, p, err)
	}
	a.event(ctx, slog.LevelInfo, event.Reauthenticated, event.User(p.user.ID), event.Addr(a.m.ClientAddr(r)), event.Session(s.ID()))
	a.rehash(r, p.user, pw)
	return nil
}

// proveAgain verifies the password of who is signed in.
func (a *Auth) proveAgain(r *http.Request, s *cloakroom.Session, pw string) (*proof, error) {
	user, err := a.current(r.Context(), s)
	if err != nil {
		return nil, err
	}
	p := &proof{name: user.ID, user: user, account: user.ID}
	if err := a.prove(r, p, pw); err != nil {
		a.proofRefused(r, event.ReauthRefused, p, err)
		return nil, err
	}
	return p, nil
}

// takeOver gives the session a token that nobody but this request has, so that what
// follows meets no parallel request. A login would go on where the session has been
// renewed or ended meanwhile, with none of its values; this does not.
func (a *Auth) takeOver(ctx context.Context, s *cloakroom.Session) error {
	s.Renew()
	return s.Commit(ctx)
}

// notSaved logs that the session could not be saved.
func (a *Auth) notSaved(r *http.Request, p *proof, err error) error {
	p.reason = "not saved"
	a.proofRefused(r, event.ReauthRefused, p, err)
	return err
}

// proven makes a session one of now, under a new token and this epoch.
func (a *Auth) proven(ctx context.Context, s *cloakroom.Session, u User, epoch uint64) error {
	s.Login(cloakroom.Identity{UserID: u.ID, Epoch: epoch, Method: s.Identity().Method, Roles: u.Roles})
	return s.Commit(ctx)
}

// CheckPassword returns nil where the policy lets the user have this password, and a
// [*password.PolicyError] where it does not: for pages on which somebody sets a
// password without knowing one of before, as at setup and by an invitation.
// [Auth.ChangePassword] asks by itself. It computes no hash and writes no log line.
func (a *Auth) CheckPassword(pw string, u User) error {
	return a.policy.Check(pw, u.Name)
}

// ChangePassword gives the user who is signed in a new password, if current is the one
// that they have. In the same step it raises the user's epoch, which ends every other
// session of theirs, on any store and whatever becomes of this request (ASVS 7.4.3),
// and clears MustChange. This session goes on under a new token, as after
// [Auth.Reauthenticate].
//
// The error is [ErrBadCredentials] if current is wrong, which says nothing about the
// new one; attempts are counted together with logins. If current is right and the
// policy does not take the new password, it is a [*password.PolicyError], and nothing
// is counted. That the new one is the current one is a PolicyError as well. Otherwise
// the errors are those of Reauthenticate, and cloakroom.ErrEnded where somebody has
// changed the password or ended all sessions at the same time: this session has ended
// then too.
//
// The password is changed entirely or not at all. Where the answer of the users or of
// the session store got lost, nobody knows which: the error is ErrUnavailable of this
// package or of cloakroom. If it was changed, this session is one of the old epoch and
// no guard lets it through: the user signs in, with the new password.
//
// Call it before anything is written, as the new token needs a cookie.
func (a *Auth) ChangePassword(r *http.Request, current, new string) error {
	ctx := r.Context()
	s := a.m.FromContext(ctx)
	p, err := a.proveAgain(r, s, current)
	if err != nil {
		return err
	}
	if err := a.acceptable(current, new, p.user); err != nil {
		a.policyRefused(r, p.user, err)
		return err
	}
	phc, err := a.hasher.Hash(a.sourced(r), new)
	if err != nil {
		err = p.unverified(err)
		a.proofRefused(r, event.ReauthRefused, p, err)
		return err
	}
	// First the token: with the old one a parallel request would find the new epoch
	// before this session has it, and end the session.
	if err := a.takeOver(ctx, s); err != nil {
		return a.notSaved(r, p, err)
	}
	ctx = context.WithoutCancel(a.sourced(r)) // neither half depends on who still listens
	if err := a.change(ctx, s, p, current, phc); err != nil {
		return err
	}
	err = a.proven(ctx, s, p.user, p.user.Epoch+1)
	a.event(ctx, slog.LevelInfo, event.PasswordChanged, event.User(p.user.ID), event.Addr(a.m.ClientAddr(r)), event.Session(s.ID()))
	if err != nil {
		return err
	}
	// The epoch has ended them. This tidies up, and what it leaves expires.
	_, _ = s.EndOthers(ctx)
	return nil
}

// acceptable says whether the policy takes the new password of a user whose current
// one this is. They are compared as they are hashed.
func (a *Auth) acceptable(current, new string, u User) error {
	if norm.NFC.String(new) == norm.NFC.String(current) {
		return &password.PolicyError{Reason: password.Unchanged}
	}
	return a.CheckPassword(new, u)
}

func (a *Auth) policyRefused(r *http.Request, u User, err error) {
	reason := ""
	var refused *password.PolicyError
	if errors.As(err, &refused) {
		reason = string(refused.Reason)
	}
	a.event(r.Context(), slog.LevelInfo, event.PasswordRefused, event.User(u.ID), event.Addr(a.m.ClientAddr(r)), event.Reason(reason))
}

// change stores the new hash where the password that was verified is still the
// user's. Otherwise the session has ended: somebody else has changed the password,
// or raised the epoch, and meant all sessions of before.
func (a *Auth) change(ctx context.Context, s *cloakroom.Session, p *proof, current, phc string) error {
	for range maxRehashes {
		changed, err := a.setPassword(ctx, p.user, phc)
		now, readErr := a.byID(ctx, p.user.ID)
		switch {
		case readErr == nil && now.Password == phc: // also where the answer got lost
			if now.Epoch > p.user.Epoch+1 {
				return a.overtaken(ctx, s)
			}
			return nil
		case err != nil:
			return a.unchanged(ctx, s, unavailable("change password", err))
		case changed && (readErr != nil || now.Epoch <= p.user.Epoch):
			return nil // it was stored, and who reads it is behind
		case readErr != nil && !errors.Is(readErr, ErrNoUser):
			return a.unchanged(ctx, s, readErr)
		case changed, readErr != nil, now.Disabled, now.Epoch != p.user.Epoch:
			return a.overtaken(ctx, s)
		}
		// A login has hashed the password anew, as it does under other parameters.
		ok, err := a.hasher.Verify(ctx, now.Password, current)
		if err != nil {
			return a.unchanged(ctx, s, p.unverified(err))
		}
		if !ok {
			return a.overtaken(ctx, s)
		}
		p.user.Password = now.Password
	}
	return a.unchanged(ctx, s, unavailable("change password", errors.New("auth: it is hashed anew again and again")))
}

// maxRehashes bounds how often a change begins anew as logins hash the old password.
const maxRehashes = 4

// setPassword stores the hash of another password and raises the epoch by one, where
// the hash of before is still old, and tells whether it did.
func (a *Auth) setPassword(ctx context.Context, user User, phc string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if a.changer != nil {
		return a.changer.ChangePassword(ctx, user.ID, user.Password, phc)
	}
	now, err := a.users.ByID(ctx, user.ID)
	if err != nil || now.Password != user.Password || now.Epoch != user.Epoch {
		return false, err
	}
	err = a.users.SetPassword(ctx, user.ID, phc, true)
	return err == nil, err
}

// overtaken ends a session that somebody else has meant to end.
func (a *Auth) overtaken(ctx context.Context, s *cloakroom.Session) error {
	_ = a.end(ctx, s, "epoch")
	return fmt.Errorf("auth: change password: %w", cloakroom.ErrEnded)
}

// unchanged logs why nobody knows that a password was changed.
func (a *Auth) unchanged(ctx context.Context, s *cloakroom.Session, err error) error {
	a.event(ctx, outage(err), event.UsersFailed, event.Session(s.ID()), event.Err(err))
	return err
}
