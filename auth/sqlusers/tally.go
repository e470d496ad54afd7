package sqlusers

import (
	"context"
	"fmt"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// The methods of this file are for who examines an installation. They only read, so
// that they can be called over a connection that may not write, as [New] can where the
// tables are those of this version.

// tallying sets the statements of this file.
func (s *statements) tallying(d *sqlstore.Dialect) {
	s.able = d.SQL(`SELECT count(*) FROM cloakroom_user WHERE admin = 1 AND disabled = 0 AND length(password) > 0`)
	s.unsealed = d.SQL(`SELECT count(*) FROM cloakroom_user WHERE length(password) > 0 AND (password < ? OR password >= ?)`)
}

// CountAdmins returns how many administrators there are, and how many of them can sign
// in: those who are not disabled and have a password. It only reads.
func (u *Users) CountAdmins(ctx context.Context) (all, able int, err error) {
	for query, n := range map[string]*int{u.sql.admins: &all, u.sql.able: &able} {
		if err := u.db.Reader().QueryRowContext(ctx, query).Scan(n); err != nil {
			return 0, 0, fmt.Errorf("sqlusers: count administrators: %w", err)
		}
	}
	return all, able, nil
}

// UnsealedHashes returns how many hashes are not sealed with a pepper. It only reads,
// and looks at every account.
func (u *Users) UnsealedHashes(ctx context.Context) (n int, err error) {
	if err := u.db.Reader().QueryRowContext(ctx, u.sql.unsealed, []byte(sealed), []byte(unsealed)).Scan(&n); err != nil {
		return 0, fmt.Errorf("sqlusers: count unsealed hashes: %w", err)
	}
	return n, nil
}
