package sqlusers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// Rename gives an account another name, and lets go of the one before. Its ID
// stays, and with it sessions, roles and whatever other programs keep under it. It
// returns [ErrNameTaken] if another account has the name, be it in another
// spelling; an account's own name in another spelling is not.
func (u *Users) Rename(ctx context.Context, id, name string) error {
	canonical, err := auth.CanonicalName(name)
	if err != nil {
		return fmt.Errorf("sqlusers: rename a user: %w: %w", ErrNameInvalid, err)
	}
	err = u.write(ctx, func(ctx context.Context, tx sqlstore.Queryer) (outcome, err error) {
		if taken, err := u.taken(ctx, tx, canonical, id); err != nil {
			return nil, err
		} else if taken {
			return ErrNameTaken, nil
		}
		return one(changed(ctx, tx, u.sql.rename, []byte(name), []byte(canonical), []byte(id)))
	})
	if err == nil {
		return nil
	}
	// A database may tell of somebody who took the name at the same moment by an
	// error of the index, which each words differently: the answer is what is there.
	if taken, look := u.taken(ctx, u.db.Reader(), canonical, id); look == nil && taken {
		err = ErrNameTaken
	}
	return fmt.Errorf("sqlusers: rename a user: %w", err)
}

// taken tells whether an account but this one has the name.
func (u *Users) taken(ctx context.Context, q sqlstore.Queryer, canonical, id string) (bool, error) {
	var owner string
	err := q.QueryRowContext(ctx, u.sql.owner, []byte(canonical)).Scan(&owner)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil && owner != id, err
}

// Remove removes an account with its link. Its name is free then, its ID never
// comes back: whoever gets the name inherits neither sessions nor anything else
// (ASVS 7.4.2). It returns [ErrLastAdmin] rather than leave no enabled
// administrator.
//
// No guard lets the account's sessions pass any more; their records are the
// caller's to end, by cloakroom.Manager.EndUser.
func (u *Users) Remove(ctx context.Context, id string) error {
	err := u.write(ctx, func(ctx context.Context, tx sqlstore.Queryer) (outcome, err error) {
		if outcome, err = u.spare(ctx, tx, id); outcome != nil || err != nil {
			return outcome, err
		}
		return one(changed(ctx, tx, u.sql.remove, []byte(id)))
	})
	if err != nil {
		return fmt.Errorf("sqlusers: remove a user: %w", err)
	}
	return nil
}
