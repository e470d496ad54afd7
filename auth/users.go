package auth

import (
	"context"
	"errors"
)

// User is an account as guards and pages see it.
type User struct {
	ID       string   // opaque, immutable, never given to another account; at most 255 bytes
	Name     string   // as it is shown
	Roles    []string // sorted; nil for none
	Password string   // the password's hash in PHC form; "" lets no password in
	Epoch    uint64   // raised whenever all sessions of the user must end
	Disabled bool     // neither signs in nor passes a guard

	// MustChange says that the password was set by somebody else, or may be known
	// to somebody else: the user signs in to change it, and for nothing else
	// (ASVS 6.4.1, NIST SP 800-63B §3.1.1.2).
	MustChange bool
}

// ErrNoUser says that there is no such user. Users returns it, wrapped or not;
// every other error means that the users could not be read.
var ErrNoUser = errors.New("auth: no such user")

// Users is where accounts come from. It is read at every guarded request, so
// that disabling someone or taking a role away works on the next one; a program
// that caches does so for at most a second.
//
// Package sqlusers keeps accounts in a SQL database.
type Users interface {
	// ByName finds the user whose canonical name this is; see [CanonicalName].
	// It is in lower case, so compare it with the canonical form of your names.
	ByName(ctx context.Context, name string) (User, error)

	// ByID finds the user with this ID.
	ByID(ctx context.Context, id string) (User, error)

	// SetPassword stores a password's hash. raiseEpoch raises the user's epoch
	// in the same statement, which ends every session that was signed in before.
	SetPassword(ctx context.Context, id, phc string, raiseEpoch bool) error
}
