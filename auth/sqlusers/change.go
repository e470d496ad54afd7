package sqlusers

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// Create makes an account and returns it. Its ID is 128 random bits, so that it
// is nobody else's, before or after. Its canonical name is made here, by
// [auth.CanonicalName], so that no two accounts can be mistaken for each other.
func (u *Users) Create(ctx context.Context, n NewUser) (auth.User, error) {
	row, err := n.row()
	if err != nil {
		return auth.User{}, fmt.Errorf("sqlusers: create a user: %w", err)
	}
	var user auth.User
	err = u.write(ctx, func(ctx context.Context, tx sqlstore.Queryer) (outcome, err error) {
		user, outcome, err = u.insert(ctx, tx, row)
		return outcome, err
	})
	if err != nil {
		return auth.User{}, fmt.Errorf("sqlusers: create a user: %w", err)
	}
	return user, nil
}

// row is a NewUser that has been checked.
type row struct {
	id, name, canonical, password string
	roles                         []byte
	admin, mustChange             bool
}

// row checks n and gives it an ID.
func (n NewUser) row() (row, error) {
	canonical, err := auth.CanonicalName(n.Name)
	if err != nil {
		return row{}, fmt.Errorf("%w: %w", ErrNameInvalid, err)
	}
	roles, err := checkRoles(n.Roles)
	if err != nil {
		return row{}, err
	}
	encoded, err := encodeRoles(roles)
	if err != nil {
		return row{}, err
	}
	if err := checkHash(n.Password); err != nil {
		return row{}, err
	}
	var id [16]byte
	rand.Read(id[:]) // never fails: crypto/rand
	return row{
		id: base64.RawURLEncoding.EncodeToString(id[:]), name: n.Name, canonical: canonical,
		password: n.Password, roles: encoded, admin: slices.Contains(roles, Admin), mustChange: n.MustChange,
	}, nil
}

// checkHash keeps a password from being stored in the place of its hash, and a
// hash from being stored that nobody could ever be let in by.
func checkHash(phc string) error {
	if phc != "" && !password.Recognized(phc) {
		return ErrNoHash
	}
	return nil
}

// checkNew is checkHash for a password that somebody chooses: there has to be one.
func checkNew(phc string) error {
	if phc == "" {
		return ErrNoHash
	}
	return checkHash(phc)
}

// insert stores a row and reads the user that it makes, with both epochs.
func (u *Users) insert(ctx context.Context, tx sqlstore.Queryer, r row) (user auth.User, outcome, err error) {
	n, err := changed(ctx, tx, u.sql.create, []byte(r.id), []byte(r.name), []byte(r.canonical), r.roles,
		number(r.admin), []byte(r.password), number(r.mustChange))
	if err != nil {
		return auth.User{}, nil, err
	}
	if n == 0 {
		return auth.User{}, ErrNameTaken, nil
	}
	user, err = scan(tx.QueryRowContext(ctx, u.sql.byID, []byte(r.id)))
	return user, nil, err
}

// SetPassword stores a password's hash. With raiseEpoch it is a new password: the
// same statement raises the user's epoch, which ends every session that was signed
// in before, takes MustChange back and voids the user's link. Without, it is the
// same password hashed anew, and nothing else changes.
//
// An empty hash lets no password in any more.
func (u *Users) SetPassword(ctx context.Context, id, phc string, raiseEpoch bool) error {
	if err := checkHash(phc); err != nil {
		return fmt.Errorf("sqlusers: set a password: %w", err)
	}
	query := u.sql.setHash
	if raiseEpoch {
		query = u.sql.setPassword
	}
	return u.update(ctx, "set a password", query, []byte(phc), []byte(id))
}

// ChangePassword stores the hash of a new password, and tells whether it did: only
// if the stored hash is still old, with which the password before was verified. So
// of two changes at once one is made, and a password that was reset meanwhile
// stays. The same statement does what it does in [Users.SetPassword] with
// raiseEpoch.
//
// An account without a password has none to change: its first one comes with a
// link. See [Users.NewLink].
func (u *Users) ChangePassword(ctx context.Context, id, old, phc string) (bool, error) {
	if err := checkNew(phc); err != nil {
		return false, fmt.Errorf("sqlusers: change a password: %w", err)
	}
	if old == "" {
		return false, nil
	}
	err := u.update(ctx, "change a password", u.sql.changePassword, []byte(phc), []byte(id), []byte(old))
	if errors.Is(err, auth.ErrNoUser) {
		return false, nil
	}
	return err == nil, err
}

// RequireChange asks for a new password at the user's next login, and raises the
// epoch in the same statement, which ends every session that was signed in before.
func (u *Users) RequireChange(ctx context.Context, id string) error {
	return u.update(ctx, "require a change of password", u.sql.requireChange, []byte(id))
}

// ReplaceHash stores a new hash of the same password, and tells whether it did:
// only if the stored hash is still old. So a login that takes the occasion to
// hash anew never brings back a password that was changed meanwhile.
func (u *Users) ReplaceHash(ctx context.Context, id, old, phc string) (bool, error) {
	if err := checkNew(phc); err != nil {
		return false, fmt.Errorf("sqlusers: replace a hash: %w", err)
	}
	err := u.update(ctx, "replace a hash", u.sql.rehash, []byte(phc), []byte(id), []byte(old))
	if errors.Is(err, auth.ErrNoUser) {
		return false, nil
	}
	return err == nil, err
}

// RaiseEpoch ends every session of a user that was signed in before.
func (u *Users) RaiseEpoch(ctx context.Context, id string) error {
	return u.update(ctx, "raise an epoch", u.sql.raiseEpoch, []byte(id))
}

// RaiseEpochFrom raises a user's epoch by one if it is the one given, as an
// auth.User has it, and reports whether it did. It is for ending all sessions of a
// user but one, which takes the new epoch: cloakroom.Session.SetEpoch. If somebody
// else has raised it meanwhile, that one session was to end as well.
func (u *Users) RaiseEpochFrom(ctx context.Context, id string, epoch uint64) (bool, error) {
	n, err := u.db.Exec(ctx, u.sql.raiseEpochFrom, []byte(id), int64(epoch))
	if err != nil {
		return false, fmt.Errorf("sqlusers: raise an epoch: %w", err)
	}
	return n == 1, nil
}

// RaiseEpochAll ends every session of everybody (ASVS 7.4.5).
func (u *Users) RaiseEpochAll(ctx context.Context) error {
	return u.update(ctx, "raise everybody's epoch", u.sql.raiseEpochAll)
}

// SetDisabled disables or enables an account. Disabling raises the epoch in the
// same statement, so that enabling later brings no session back (ASVS 7.4.2), and
// voids the user's link. It returns [ErrLastAdmin] rather than leave no enabled administrator.
func (u *Users) SetDisabled(ctx context.Context, id string, disabled bool) error {
	err := u.write(ctx, func(ctx context.Context, tx sqlstore.Queryer) (outcome, err error) {
		if disabled {
			if outcome, err = u.spare(ctx, tx, id); outcome != nil || err != nil {
				return outcome, err
			}
		}
		return one(changed(ctx, tx, u.sql.setDisabled, number(disabled), number(disabled), []byte(id)))
	})
	if err != nil {
		return fmt.Errorf("sqlusers: disable or enable a user: %w", err)
	}
	return nil
}

// SetRoles gives a user these roles and no others. Guards see them at the next
// request. It returns [ErrLastAdmin] rather than leave no enabled administrator.
func (u *Users) SetRoles(ctx context.Context, id string, roles []string) error {
	roles, err := checkRoles(roles)
	if err != nil {
		return fmt.Errorf("sqlusers: set roles: %w", err)
	}
	encoded, err := encodeRoles(roles)
	if err != nil {
		return fmt.Errorf("sqlusers: set roles: %w", err)
	}
	admin := slices.Contains(roles, Admin)
	err = u.write(ctx, func(ctx context.Context, tx sqlstore.Queryer) (outcome, err error) {
		if !admin {
			if outcome, err = u.spare(ctx, tx, id); outcome != nil || err != nil {
				return outcome, err
			}
		}
		return one(changed(ctx, tx, u.sql.setRoles, encoded, number(admin), []byte(id)))
	})
	if err != nil {
		return fmt.Errorf("sqlusers: set roles: %w", err)
	}
	return nil
}

// spare refuses a change that takes away an administrator if there is no other.
// It stands in the transaction of the change, which no other change cuts into:
// two administrators cannot take away each other.
func (u *Users) spare(ctx context.Context, tx sqlstore.Queryer, id string) (outcome, err error) {
	var admin, disabled bool
	err = tx.QueryRowContext(ctx, u.sql.state, []byte(id)).Scan(&admin, &disabled)
	if errors.Is(err, sql.ErrNoRows) {
		return auth.ErrNoUser, nil
	}
	if err != nil || !admin || disabled {
		return nil, err
	}
	n, err := count(ctx, tx, u.sql.enabledAdmins)
	if err == nil && n <= 1 {
		return ErrLastAdmin, nil
	}
	return nil, err
}

// update runs one statement that changes one row.
func (u *Users) update(ctx context.Context, what, query string, args ...any) error {
	n, err := u.db.Exec(ctx, query, args...)
	if err == nil && n == 0 {
		err = auth.ErrNoUser
	}
	if err != nil {
		return fmt.Errorf("sqlusers: %s: %w", what, err)
	}
	return nil
}

// write runs f in a transaction. Its first result says that f changed nothing,
// and why; its second that f failed, and that what it changed must go. The
// difference is speed: to undo one write costs all that share its transaction.
func (u *Users) write(ctx context.Context, f func(ctx context.Context, tx sqlstore.Queryer) (outcome, err error)) error {
	var outcome error
	err := u.db.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) (err error) {
		outcome, err = f(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	return outcome
}

// one makes an outcome of a change that found no user.
func one(n int, err error) (outcome, _ error) {
	if err == nil && n == 0 {
		return auth.ErrNoUser, nil
	}
	return nil, err
}

// changed runs one statement and returns how many rows it changed.
func changed(ctx context.Context, q sqlstore.Queryer, query string, args ...any) (int, error) {
	res, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// number is how a bool is stored.
func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
