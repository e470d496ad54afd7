// Package auth signs users in with a name and a password, and guards handlers.
//
//	guard, err := auth.New(sessions, users, nil)
//	…
//	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
//		user, err := guard.Login(r, r.PostFormValue("username"), r.PostFormValue("password"))
//		if err != nil {
//			auth.WriteError(w, r, err)
//			return
//		}
//		guard.KnowDevice(w, r, user)
//		http.Redirect(w, r, auth.Next(r.PostFormValue("next"), "/"), http.StatusSeeOther)
//	})
//	mux.Handle("GET /profile", guard.RequireLogin(profile))
//	mux.Handle("/admin/", guard.RequireRole("admin")(admin))
//	handler := sessions.Handler(protection.Handler(mux)) // a csrf.Protection
//
// Accounts come from a [Users]: package sqlusers keeps them in a database, and a
// program with accounts of its own implements three methods.
//
// A guard reads the user anew at every request. Disabling someone, taking a role
// away, or raising their epoch therefore works on the next request, on every
// instance, whatever became of the records of their sessions. If the users
// cannot be read, nobody passes: the answer is 503, and no session ends.
//
// # Wrong passwords
//
// Attempts are counted, see package throttle: after five wrong passwords of an account
// the next one waits for 30 seconds, then twice as long each time, up to an hour; after
// a hundred from one network that network waits, whatever the names. A hundred in a row
// lock the account until somebody calls Unlock of the throttle. A browser that
// [Auth.KnowDevice] has noted has a count of its own, so that nobody keeps an account's
// owner out by guessing. Logins, [Auth.Reauthenticate] and [Auth.ChangePassword] count
// together.
//
// An attempt counts as failed until its password is verified. One that is refused for
// no other reason than others of this process at the same moment waits for those, up
// to 5 seconds and with up to 256 at a time: twenty right passwords at once come in
// five by five. Beyond that the answer is 503, where it is right to try again at once.
//
// Without Options.Throttle that is in memory: a restart forgets it, and a second
// instance has its own.
//
// # Proofs
//
// [Auth.RequireRecent] asks for a recent proof of identity before what does harm in the
// hands of a thief, and [Auth.Reauthenticate] gives one. [Auth.ChangePassword] ends all
// other sessions of the user. One with MustChange passes no guard but
// [Auth.RequireLoginToChange] until it has been called. Passwords do not grow old: no
// other change is ever asked for.
//
// Guards are no protection against forged requests: that is package csrf.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// What the zero value of an option means.
const (
	DefaultLoginURL     = "/login"
	DefaultUsersTimeout = time.Second
)

// Options are the options of an [Auth]. The zero value of every field is its
// default, and nil Options are all defaults.
type Options struct {
	// LoginURL is where a browser is sent that must sign in, with the address it
	// asked for as the parameter next; empty means DefaultLoginURL. It is a path
	// on this host, perhaps with a query. The page that it names hands next to
	// [Next].
	LoginURL string

	// ReauthURL is where a browser is sent whose last proof of identity is too
	// old, likewise with next. If it is empty, it is told so and sent nowhere.
	ReauthURL string

	// PasswordURL is where a browser is sent whose user must change their password,
	// likewise with next. Its page stands behind [Auth.RequireLoginToChange]. If it
	// is empty, the browser is told so and sent nowhere.
	PasswordURL string

	// Hasher verifies passwords and makes new hashes; nil means one with the
	// defaults of its package. A program that has another one as well shares it,
	// so that one bound holds for both.
	Hasher *password.Hasher

	// Policy says which new passwords [Auth.ChangePassword] and
	// [Auth.CheckPassword] take; nil means that of the zero value.
	Policy *password.Policy

	// Throttle counts wrong passwords; nil means one of this Auth's own, in memory,
	// with the defaults of its package. Instances that serve the same accounts share
	// its store, or each of them has a count of its own, and so has each restart.
	Throttle *throttle.Throttle

	// UsersTimeout bounds each call of the Users, and each question to the Throttle;
	// zero means DefaultUsersTimeout. Beyond it the answer is 503. Waiting is bounded
	// apart from it: for other attempts by 5 seconds, and for a hash by the Wait of
	// the Hasher.
	UsersTimeout time.Duration

	// Logger takes a line for each event; nil means that of the Manager.
	Logger *slog.Logger

	// ErrorHandler answers a request that a guard refuses, with one of the
	// errors of this package or of cloakroom; nil means [WriteError]. [Status]
	// tells the status. One that has pages for some of them leaves the others to
	// WriteError, which sends a browser on that came with a renewed token.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, err error)
}

// Auth signs users in and guards handlers. It may be used by many goroutines,
// and nothing in it changes after New. The zero value is of no use.
type Auth struct {
	m        *cloakroom.Manager
	users    Users
	hasher   *password.Hasher
	policy   *password.Policy
	throttle *throttle.Throttle
	turns    turns
	timeout  time.Duration
	logger   *slog.Logger
	refuse   func(w http.ResponseWriter, r *http.Request, err error)

	login  *url.URL
	reauth *url.URL // nil: none
	passwd *url.URL // nil: none

	// What the Users can do beside what they must; nil: not that.
	replacer HashReplacer
	changer  PasswordChanger

	devices    *keyring.Purpose // seals the cookie of known devices
	deviceName string
}

// New returns an Auth for the accounts of users and the sessions of m. All its
// handlers stand inside m.Handler. Every fault is reported at once.
func New(m *cloakroom.Manager, users Users, opts *Options) (*Auth, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("auth: "+format, args...))
	}
	if m == nil {
		fault("New needs a Manager: see cloakroom.New")
	} else if o.Logger == nil {
		o.Logger = m.Logger()
	}
	if users == nil {
		fault("New needs Users: see package sqlusers")
	}
	if o.Hasher == nil {
		h, err := password.New(nil)
		if err != nil {
			faults = append(faults, err)
		}
		o.Hasher = h
	}
	if o.Throttle == nil {
		o.Throttle, _ = throttle.New(nil, nil) // the defaults have no fault
	}
	if o.LoginURL == "" {
		o.LoginURL = DefaultLoginURL
	}
	if o.UsersTimeout == 0 {
		o.UsersTimeout = DefaultUsersTimeout
	}
	if o.UsersTimeout < 0 {
		fault("UsersTimeout %v is negative", o.UsersTimeout)
	}
	if o.ErrorHandler == nil {
		o.ErrorHandler = WriteError
	}
	a := &Auth{
		m: m, users: users, hasher: o.Hasher, policy: o.Policy, throttle: o.Throttle,
		timeout: o.UsersTimeout, logger: o.Logger, refuse: o.ErrorHandler,
	}
	if err := errors.Join(append(faults, a.pages(&o))...); err != nil {
		return nil, err
	}
	a.replacer, _ = users.(HashReplacer)
	a.changer, _ = users.(PasswordChanger)
	a.deviceName = m.Cookie(deviceCookie, "").Name
	a.devices = m.Purpose("auth known devices", a.deviceName)
	return a, nil
}

// pages reads the addresses of the options.
func (a *Auth) pages(o *Options) error {
	var faults []error
	for _, p := range []struct {
		option, target string
		to             **url.URL
	}{
		{"LoginURL", o.LoginURL, &a.login},
		{"ReauthURL", o.ReauthURL, &a.reauth},
		{"PasswordURL", o.PasswordURL, &a.passwd},
	} {
		if p.target == "" {
			continue
		}
		var err error
		if *p.to, err = page(p.option, p.target); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// page reads the address of a page that guards send browsers to. It must hold up
// to what is asked of a next, or a slip of the program would send them away.
func page(option, target string) (*url.URL, error) {
	u, err := url.Parse(target)
	if err != nil || !local(target) || u.Fragment != "" {
		return nil, fmt.Errorf("auth: %s %q is no path on this host: write it like %q", option, target, DefaultLoginURL)
	}
	return u, nil
}

// byID and byName read a user within the deadline. Their errors are ErrNoUser
// and ErrUnavailable: whatever else the Users say means that they could not be
// read, and is no answer.
func (a *Auth) byID(ctx context.Context, id string) (User, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	u, err := a.users.ByID(ctx, id)
	if err == nil && u.ID != id {
		err = errors.New("auth: Users.ByID returned a user with another ID")
	}
	return answer(u, err)
}

func (a *Auth) byName(ctx context.Context, name string) (User, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	u, err := a.users.ByName(ctx, name)
	if err == nil && u.ID == "" {
		err = errors.New("auth: Users.ByName returned a user without an ID")
	}
	return answer(u, err)
}

func answer(u User, err error) (User, error) {
	switch {
	case err == nil:
		u.Roles = roleSet(u.Roles)
		return u, nil
	case errors.Is(err, ErrNoUser):
		return User{}, ErrNoUser
	}
	return User{}, unavailable("read user", err)
}

// roleSet returns roles sorted, each once, in a slice that nobody else has: what
// Users returned may be what they keep.
func roleSet(roles []string) []string {
	if len(roles) == 0 {
		return nil
	}
	set := slices.Clone(roles)
	slices.Sort(set)
	return slices.Compact(set)
}

// shown is a user as programs get one from this package: without the hash, which
// nobody needs who shows a user, and which must not end in an answer by way of
// an encoder.
func shown(u User) User {
	u.Password = ""
	return u
}

func (a *Auth) event(ctx context.Context, level slog.Level, name string, attrs ...slog.Attr) {
	event.Log(ctx, a.logger, level, name, attrs...)
}
