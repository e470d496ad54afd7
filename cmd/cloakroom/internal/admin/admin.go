// Package admin is what administrators do to accounts and sessions, in pages,
// over JSON and on the command line alike: each does the change, ends the sessions
// that must not live on, and writes one line of the log inventory with who did it
// and to whom.
//
//	a := &admin.Admin{
//		Users: users, Sessions: &admin.Records{Store: st, Users: users, Keep: lifetime},
//		Throttle: throttle, Log: logger, Links: func() string { return "https://login.example.org/auth" },
//	}
//	ended, err := a.Disable(ctx, admin.Console, id)
//
// The order of effects is the same everywhere: the account changes first, and with
// it, in the same statement, its epoch, which stops every guard and every login
// that is under way. What the store keeps of the sessions is tidied up after that.
// A crash in between leaves records behind that nobody lets in.
package admin

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// How long links live (ASVS 6.4.1, 6.4.3).
const (
	InviteAge = 24 * time.Hour
	ResetAge  = time.Hour
)

// ErrHasPassword says that the user has set a password already: an invite lives for a
// day, which a reset must not.
var ErrHasPassword = errors.New("admin: the user has a password already: make a reset link")

// Users is what is needed of the accounts. Package sqlusers keeps it and explains
// its errors.
type Users interface {
	ByID(ctx context.Context, id string) (auth.User, error)
	Create(ctx context.Context, n sqlusers.NewUser) (auth.User, error)
	Rename(ctx context.Context, id, name string) error
	Remove(ctx context.Context, id string) error
	SetRoles(ctx context.Context, id string, roles []string) error
	SetDisabled(ctx context.Context, id string, disabled bool) error
	RequireChange(ctx context.Context, id string) error
	RaiseEpoch(ctx context.Context, id string) error
	RaiseEpochAll(ctx context.Context) error
	NewLink(ctx context.Context, id string, kind sqlusers.LinkKind, now time.Time, validFor time.Duration) (string, error)
}

// Sessions is what is needed of the store: it tidies up after an epoch has been
// raised. [Records] does it for any store.
type Sessions interface {
	// EndRecords ends what the store has of a user, and returns how many that were.
	EndRecords(ctx context.Context, userID string) (int, error)

	// EndAllRecords ends what the store has of everybody.
	EndAllRecords(ctx context.Context) (int, error)
}

// Unlocker forgets the wrong passwords of an account; a throttle.Throttle is one.
type Unlocker interface {
	Unlock(ctx context.Context, account string) error
}

// Admin changes accounts and ends sessions. All fields are needed but Log, where
// nil is the default logger. It may be used by many goroutines.
type Admin struct {
	Users    Users
	Sessions Sessions
	Throttle Unlocker
	Log      *slog.Logger

	// Links returns what the addresses of invite and reset links begin with: scheme,
	// host and prefix of the service, without a slash at the end. It must come from
	// the configuration, never from a request, whose Host is anybody's choice
	// (ASVS 6.4.3).
	Links func() string
}

// Actor is who does something.
type Actor struct {
	ID   string // of the user
	Addr string // where the request came from; "" for none
}

// Console is who works on the machine itself.
var Console = Actor{ID: "console"}

// Ended is what became of sessions that a change has ended. No guard lets any of
// them pass, whatever it says.
type Ended struct {
	Count int   // of the records that were ended
	Left  error // why records may be left that nobody lets in; nil: none are
}

// Link is an invite or reset link. Whoever has it can set the password.
type Link struct {
	URL   string
	Until time.Time
}

// Add makes an account. Without a password in n nobody signs in to it until an
// invite has been used: see [Admin.Invite].
func (a *Admin) Add(ctx context.Context, by Actor, n sqlusers.NewUser) (auth.User, error) {
	u, err := a.Users.Create(ctx, n)
	if err != nil {
		return auth.User{}, err
	}
	u.Password = ""
	a.event(ctx, event.UserAdded, by, u.ID, event.Text("name", u.Name), roleList(u.Roles))
	return u, nil
}

// Invite makes a link by which a user sets their first password, in the place of
// any link of theirs before it. It works once and for [InviteAge]. A disabled account
// gets none: sqlusers.ErrDisabled.
func (a *Admin) Invite(ctx context.Context, by Actor, id string) (Link, error) {
	u, err := a.Users.ByID(ctx, id)
	if err == nil && u.Password != "" {
		err = ErrHasPassword
	}
	if err != nil {
		return Link{}, err
	}
	return a.link(ctx, by, u, sqlusers.LinkInvite, InviteAge, event.InviteMade)
}

// Reset makes a link by which a user sets a new password, in the place of any link
// of theirs before it. It works once and for [ResetAge]. The old password works
// until then: a link that is never used changes nothing.
func (a *Admin) Reset(ctx context.Context, by Actor, id string) (Link, error) {
	u, err := a.Users.ByID(ctx, id)
	if err != nil {
		return Link{}, err
	}
	return a.link(ctx, by, u, sqlusers.LinkReset, ResetAge, event.ResetMade)
}

func (a *Admin) link(ctx context.Context, by Actor, u auth.User, kind sqlusers.LinkKind, age time.Duration, name string) (Link, error) {
	now := time.Now().UTC()
	token, err := a.Users.NewLink(ctx, u.ID, kind, now, age)
	if err != nil {
		return Link{}, err
	}
	a.event(ctx, name, by, u.ID)
	at := a.Links() + "/" + string(kind) + "?token=" + url.QueryEscape(token)
	return Link{URL: at, Until: now.Add(age).Truncate(time.Second)}, nil
}

// SetRoles gives a user these roles and no others. Guards see them at the next
// request (ASVS 8.3.2). The last enabled administrator keeps theirs:
// sqlusers.ErrLastAdmin.
func (a *Admin) SetRoles(ctx context.Context, by Actor, id string, roles []string) error {
	if err := a.Users.SetRoles(ctx, id, roles); err != nil {
		return err
	}
	a.event(ctx, event.RolesSet, by, id, roleList(roles))
	return nil
}

// Rename gives a user another name. The ID stays, and with it sessions and roles.
func (a *Admin) Rename(ctx context.Context, by Actor, id, name string) error {
	if err := a.Users.Rename(ctx, id, name); err != nil {
		return err
	}
	a.event(ctx, event.UserRenamed, by, id, event.Text("name", name))
	return nil
}

// Disable signs a user out everywhere and lets them in no more (ASVS 7.4.2). The
// last enabled administrator cannot be disabled: sqlusers.ErrLastAdmin.
func (a *Admin) Disable(ctx context.Context, by Actor, id string) (Ended, error) {
	if err := a.Users.SetDisabled(ctx, id, true); err != nil {
		return Ended{}, err
	}
	a.event(ctx, event.UserDisabled, by, id)
	return a.tidy(ctx, id), nil
}

// Enable lets a disabled user in again. No session of before comes back.
func (a *Admin) Enable(ctx context.Context, by Actor, id string) error {
	if err := a.Users.SetDisabled(ctx, id, false); err != nil {
		return err
	}
	a.event(ctx, event.UserEnabled, by, id)
	return nil
}

// Unlock forgets the wrong passwords of a user.
func (a *Admin) Unlock(ctx context.Context, by Actor, id string) error {
	if _, err := a.Users.ByID(ctx, id); err != nil {
		return err
	}
	if err := a.Throttle.Unlock(ctx, id); err != nil {
		return err
	}
	a.event(ctx, event.UserUnlocked, by, id)
	return nil
}

// RequireChange signs a user out everywhere and has them choose a new password at
// the next login, as for one that somebody else may know.
func (a *Admin) RequireChange(ctx context.Context, by Actor, id string) (Ended, error) {
	if err := a.Users.RequireChange(ctx, id); err != nil {
		return Ended{}, err
	}
	a.event(ctx, event.ChangeRequired, by, id)
	return a.tidy(ctx, id), nil
}

// EndSessions signs a user out everywhere (ASVS 7.4.5).
func (a *Admin) EndSessions(ctx context.Context, by Actor, id string) (Ended, error) {
	if err := a.Users.RaiseEpoch(ctx, id); err != nil {
		return Ended{}, err
	}
	ended := a.tidy(ctx, id)
	a.event(ctx, event.SessionsEnded, by, id, slog.Int("count", ended.Count))
	return ended, nil
}

// EndedOne writes down that one session of a user was ended, by its handle. A
// Manager ends it, since it may go on under another token meanwhile: see
// cloakroom.Manager.End.
func (a *Admin) EndedOne(ctx context.Context, by Actor, id, handle string) {
	a.event(ctx, event.SessionsEnded, by, id, slog.String("session", handle))
}

// EndEveryone signs everybody out, whoever does it included (ASVS 7.4.5).
func (a *Admin) EndEveryone(ctx context.Context, by Actor) (Ended, error) {
	if err := a.Users.RaiseEpochAll(ctx); err != nil {
		return Ended{}, err
	}
	var ended Ended
	ended.Count, ended.Left = a.Sessions.EndAllRecords(ctx)
	a.event(ctx, event.EveryoneEnded, by, "", slog.Int("count", ended.Count))
	return ended, nil
}

// Remove removes an account for good and signs its user out everywhere. An account
// of the same name that is made later is another one. The last enabled administrator
// cannot be removed: sqlusers.ErrLastAdmin.
func (a *Admin) Remove(ctx context.Context, by Actor, id string) (Ended, error) {
	u, err := a.Users.ByID(ctx, id)
	if err != nil {
		return Ended{}, err
	}
	if err := a.Users.Remove(ctx, id); err != nil {
		return Ended{}, err
	}
	a.event(ctx, event.UserRemoved, by, id, event.Text("name", u.Name))
	return a.tidy(ctx, id), nil
}

// tidy ends the records of a user whose sessions no guard lets pass any more.
func (a *Admin) tidy(ctx context.Context, id string) Ended {
	n, err := a.Sessions.EndRecords(ctx, id)
	return Ended{n, err}
}

// event writes the one line of what was done.
func (a *Admin) event(ctx context.Context, name string, by Actor, user string, attrs ...slog.Attr) {
	who := []slog.Attr{slog.String("actor", by.ID)}
	if user != "" {
		who = append(who, event.User(user))
	}
	if by.Addr != "" {
		who = append(who, event.Addr(by.Addr))
	}
	event.Log(ctx, a.Log, slog.LevelInfo, name, append(who, attrs...)...)
}

// roleList is the attribute of all roles of an account, sorted.
func roleList(roles []string) slog.Attr {
	sorted := slices.Compact(slices.Sorted(slices.Values(roles)))
	return event.Text("roles", cmp.Or(strings.Join(sorted, ","), "none"))
}
