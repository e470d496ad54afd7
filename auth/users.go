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
	// (ASVS 6.4.1, NIST SP 800-63B-4 §3.1.1.2).
	MustChange bool
}

// ErrNoUser says that there is no such user. Users returns it, wrapped or not;
// every other error means that the users could not be read.
var ErrNoUser = errors.New("auth: no such user")

// Users is where accounts come from. It is read at every guarded request, so
// that disabling someone or taking a role away works on the next one; a program
// that caches does so for at most a second.
//
// Users that cache drop what they hold of a user when SetPassword, or what else they
// have of [HashReplacer] and [PasswordChanger], writes to them, before they return:
// [Auth.ChangePassword] reads the user right behind it, and its session goes on under
// the epoch that was raised, which a user of before would not let pass.
//
// Package sqlusers keeps accounts in a SQL database.
type Users interface {
	// ByName finds the user whose canonical name this is; see [CanonicalName].
	// It is in lower case, so compare it with the canonical form of your names.
	ByName(ctx context.Context, name string) (User, error)

	// ByID finds the user with this ID.
	ByID(ctx context.Context, id string) (User, error)

	// SetPassword stores a password's hash. raiseEpoch raises the user's epoch by
	// one in the same statement, which ends every session that was signed in before.
	// ByID and ByName return both from then on.
	SetPassword(ctx context.Context, id, phc string, raiseEpoch bool) error
}

// HashReplacer is what Users may be able to do beside what they must: replace a
// hash by another one of the same password, only while it is still old, and tell
// whether it did. A login that hashes anew then never brings a password back
// which somebody has just changed.
type HashReplacer interface {
	ReplaceHash(ctx context.Context, id, old, phc string) (bool, error)
}

// PasswordChanger is what Users may be able to do beside what they must: store the
// hash of another password that the user has chosen, only while that of before is
// still old, and tell whether it did. In the same statement it raises the epoch by
// one and clears MustChange. Of two changes at the same time one then fails.
//
// For Users that cannot, [Auth.ChangePassword] reads the user once more and calls
// SetPassword with raiseEpoch, which then has to clear MustChange.
type PasswordChanger interface {
	ChangePassword(ctx context.Context, id, old, phc string) (bool, error)
}
