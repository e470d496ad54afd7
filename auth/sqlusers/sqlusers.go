// Package sqlusers keeps accounts in a SQL database: the auth.Users of the
// service, and of any program that has no users of its own.
//
//	db, err := sqlite.Open("users.db", nil)
//	if err != nil {
//		return err
//	}
//	users, err := sqlusers.New(ctx, db)
//	if err != nil {
//		return err
//	}
//	guard, err := auth.New(manager, users, nil)
//
// Any database that a package of sqlstore opens will do, in place of the file
// that sqlite opens. Sessions and users may share a database. Nothing is cached: a
// guarded request reads its user in one statement, so that disabling someone works
// on the next request of every process.
//
// What belongs together is one statement, or one transaction: a new password
// raises the epoch, which ends the sessions of before, and voids the user's link.
// No crash leaves one without the other. Of the last enabled administrator no
// change makes none: neither [Users.SetDisabled] nor [Users.SetRoles] nor
// [Users.Remove], nor several of them at once.
package sqlusers

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// Admin is the role of administrators. There is always one who is enabled, once
// there has been one.
const Admin = "admin"

// The errors of this package. They come wrapped; compare with errors.Is.
var (
	// ErrNameTaken says that an account has this name, perhaps in another
	// spelling: see auth.CanonicalName.
	ErrNameTaken = errors.New("sqlusers: the name is taken")

	// ErrNameInvalid says that auth.CanonicalName refuses the name; its error
	// is wrapped beside this one.
	ErrNameInvalid = errors.New("sqlusers: not a valid user name")

	// ErrRoleInvalid says that a role is not 1 to 64 bytes of ASCII letters,
	// digits and . _ - : / or that there are more than MaxRoles.
	ErrRoleInvalid = errors.New("sqlusers: not a valid role")

	// ErrNoHash says that what was given for a password's hash is none that
	// password.Recognized knows. Most likely it is the password.
	ErrNoHash = errors.New("sqlusers: not a password's hash: make one with password.Hasher.Hash")

	// ErrLastAdmin says that the change would leave no enabled administrator.
	ErrLastAdmin = errors.New("sqlusers: the last enabled administrator cannot be disabled, be removed or lose the role")

	// ErrHasAdmin says that there is an administrator, so there is nothing to
	// set up any more.
	ErrHasAdmin = errors.New("sqlusers: there is an administrator already")

	// ErrSetupGone says that a setup token is used, replaced, expired, or void
	// since there is an administrator. A page answers 410.
	ErrSetupGone = errors.New("sqlusers: the setup link is no longer valid")

	// ErrLinkGone says that a link is used, replaced, expired, or void since the
	// password was changed or the account disabled or removed. A page answers 410.
	ErrLinkGone = errors.New("sqlusers: the link is no longer valid")

	// ErrDisabled says that the account is disabled, and gets no link.
	ErrDisabled = errors.New("sqlusers: the account is disabled")
)

// MaxRoles is the largest number of roles of an account.
const MaxRoles = 64

// NewUser is an account to be made.
type NewUser struct {
	Name     string   // as it is shown; must have a canonical form
	Roles    []string // in any order
	Password string   // the hash of password.Hasher.Hash; "" lets no password in

	// MustChange asks for a change of the password at the first login: somebody
	// else has chosen it, and knows it.
	MustChange bool
}

// Users keeps accounts in a database. Use [New].
type Users struct {
	db  sqlstore.DB
	sql statements
}

var (
	_ auth.Users           = (*Users)(nil)
	_ auth.HashReplacer    = (*Users)(nil)
	_ auth.PasswordChanger = (*Users)(nil)
)

// New returns the users that are kept in db, and brings their tables to the
// version this program knows. It returns a [*sqlstore.SchemaError] if they are
// newer.
func New(ctx context.Context, db sqlstore.DB) (*Users, error) {
	d := db.Dialect()
	if err := schema(d).Apply(ctx, db); err != nil {
		return nil, err
	}
	return &Users{db: db, sql: newStatements(d)}, nil
}

// ByName finds the user whose canonical name this is; see [auth.CanonicalName].
func (u *Users) ByName(ctx context.Context, name string) (auth.User, error) {
	user, err := scan(u.db.Reader().QueryRowContext(ctx, u.sql.byName, []byte(name)))
	if err != nil {
		return auth.User{}, fmt.Errorf("sqlusers: find a user by name: %w", err)
	}
	return user, nil
}

// ByID finds the user with this ID.
func (u *Users) ByID(ctx context.Context, id string) (auth.User, error) {
	user, err := scan(u.db.Reader().QueryRowContext(ctx, u.sql.byID, []byte(id)))
	if err != nil {
		return auth.User{}, fmt.Errorf("sqlusers: find a user: %w", err)
	}
	return user, nil
}

// HasAdmin tells whether any account has the role [Admin], enabled or not.
func (u *Users) HasAdmin(ctx context.Context) (bool, error) {
	n, err := count(ctx, u.db.Reader(), u.sql.admins)
	if err != nil {
		return false, fmt.Errorf("sqlusers: look for an administrator: %w", err)
	}
	return n > 0, nil
}

// scan reads a user from the one row of byName, byID or byLink, which has more
// columns.
func scan(row *sql.Row, more ...any) (auth.User, error) {
	var (
		user  auth.User
		roles []byte
	)
	err := row.Scan(append([]any{&user.ID, &user.Name, &roles, &user.Password,
		&user.Epoch, &user.Disabled, &user.MustChange}, more...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return auth.User{}, auth.ErrNoUser
	}
	if err != nil {
		return auth.User{}, err
	}
	user.Roles, err = decodeRoles(roles)
	return user, err
}

// count reads a number.
func count(ctx context.Context, q sqlstore.Queryer, query string, args ...any) (n int, err error) {
	err = q.QueryRowContext(ctx, query, args...).Scan(&n)
	return n, err
}

// checkRoles returns the roles sorted and each once.
func checkRoles(roles []string) ([]string, error) {
	roles = slices.Compact(slices.Sorted(slices.Values(roles)))
	if len(roles) > MaxRoles {
		return nil, fmt.Errorf("%w: %d roles, at most %d", ErrRoleInvalid, len(roles), MaxRoles)
	}
	for _, r := range roles {
		if !validRole(r) {
			return nil, fmt.Errorf("%w: %.64q", ErrRoleInvalid, r)
		}
	}
	return roles, nil
}

// validRole keeps roles to signs that need no quoting in a header, a list with
// commas or a log line, for that is where they end up behind a proxy.
func validRole(r string) bool {
	if r == "" || len(r) > 64 {
		return false
	}
	for _, c := range []byte(r) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-', c == ':', c == '/':
		default:
			return false
		}
	}
	return true
}

func encodeRoles(roles []string) ([]byte, error) {
	if len(roles) == 0 {
		return []byte("[]"), nil
	}
	return json.Marshal(roles)
}

// decodeRoles reads what encodeRoles wrote: nil for none.
func decodeRoles(b []byte) ([]string, error) {
	var roles []string
	if err := json.Unmarshal(b, &roles); err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	if len(roles) == 0 {
		return nil, nil
	}
	return roles, nil
}
