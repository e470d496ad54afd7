package sqlusers

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// sealed begins every hash that package password has sealed, and unsealed is the first
// text behind all of these.
const (
	sealed   = "$sealed$"
	unsealed = "$sealed%"
)

// rewrapping sets the statements of this file.
func (s *statements) rewrapping(d *sqlstore.Dialect) {
	const which = `password >= ? AND password < ?`
	s.sealed = d.SQL(`SELECT id, password FROM cloakroom_user WHERE id > ? AND ` + which + ` ORDER BY id LIMIT ?`)
	s.sealers = d.SQL(`SELECT substr(password, 1, 19), count(*) FROM cloakroom_user WHERE ` + which + ` GROUP BY substr(password, 1, 19)`)
	s.rewrap = d.SQL(`UPDATE cloakroom_user SET password = ? WHERE id = ? AND password = ?`)
}

// rewrapPage is how many accounts are read at a time, and written in one transaction:
// some 60 KiB in memory, and no login waits for more than some milliseconds.
const rewrapPage = 100

// Rewrapped is what [Users.Rewrap] has done.
type Rewrapped struct {
	Done int // hashes that are now sealed with the current key
	Left int // those that could not be opened: the key they are sealed with is not at hand
}

// Rewrap seals with the current key of h's pepper what is sealed with another one, so
// that a former key can go: no password is needed, nobody is signed out, and nothing of
// an account changes but the form in which its hash is stored. Hashes that are not sealed
// stay as they are.
//
// Of a password that is changed meanwhile the new hash stays. Several may run at once,
// beside a running service; one that was cut off is taken up by the next. What it has
// done is right beside an error, too.
func (u *Users) Rewrap(ctx context.Context, h *password.Hasher) (Rewrapped, error) {
	var total Rewrapped
	current, ok := h.PepperKey()
	if !ok {
		return total, errors.New("sqlusers: rewrap hashes: the Hasher seals none")
	}
	for after := ""; ; {
		page, err := u.sealedHashes(ctx, after)
		if err != nil {
			return total, fmt.Errorf("sqlusers: rewrap hashes: %w", err)
		}
		if len(page) == 0 {
			return total, nil
		}
		after = page[len(page)-1].id
		var changes []rewrapping
		for _, r := range page {
			if by, _ := password.SealedWith(r.old); by == current {
				continue
			}
			if r.anew, err = h.Rewrap(r.old); err != nil {
				total.Left++ // and the others have a right to theirs
				continue
			}
			changes = append(changes, r)
		}
		n, err := u.rewrap(ctx, changes)
		total.Done += n
		if err != nil {
			return total, fmt.Errorf("sqlusers: rewrap hashes: %w", err)
		}
	}
}

// rewrapping is the hash of one account, as it was read and as it is to be.
type rewrapping struct{ id, old, anew string }

// sealedHashes returns some of the hashes that are sealed, in the order of IDs.
func (u *Users) sealedHashes(ctx context.Context, after string) ([]rewrapping, error) {
	rows, err := u.db.Reader().QueryContext(ctx, u.sql.sealed, []byte(after), []byte(sealed), []byte(unsealed), rewrapPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []rewrapping
	for rows.Next() {
		var r rewrapping
		if err := rows.Scan(&r.id, &r.old); err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, rows.Err()
}

// rewrap stores what of a page is to be stored, each only if the hash is still the one
// that was read. All who rewrap go in the order of IDs, so none waits for another who
// waits for it.
func (u *Users) rewrap(ctx context.Context, changes []rewrapping) (n int, err error) {
	if len(changes) == 0 {
		return 0, nil
	}
	err = u.db.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		n = 0
		for _, r := range changes {
			met, err := changed(ctx, tx, u.sql.rewrap, []byte(r.anew), []byte(r.id), []byte(r.old))
			if err != nil {
				return err
			}
			n += met
		}
		return nil
	})
	if err != nil {
		return 0, err // and n is not ours to read
	}
	return n, nil
}

// SealedHashes returns how many hashes are sealed with which key of a pepper: a key
// that is among them must not go yet. It looks at every account.
func (u *Users) SealedHashes(ctx context.Context) (map[password.PepperKey]int, error) {
	rows, err := u.db.Reader().QueryContext(ctx, u.sql.sealers, []byte(sealed), []byte(unsealed))
	if err != nil {
		return nil, fmt.Errorf("sqlusers: count sealed hashes: %w", err)
	}
	defer rows.Close()
	keys := make(map[password.PepperKey]int)
	for rows.Next() {
		var head string
		var n int
		if err := rows.Scan(&head, &n); err != nil {
			return nil, fmt.Errorf("sqlusers: count sealed hashes: %w", err)
		}
		// What cannot be read comes under no key's name: nobody is let in by it.
		key, _ := password.SealedWith(head)
		keys[key] += n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sqlusers: count sealed hashes: %w", err)
	}
	return keys, nil
}
