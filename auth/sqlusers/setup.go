package sqlusers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// NewSetupToken makes the token of a setup link, valid from now on for validFor:
// 256 random bits in base64url, of which the database keeps the SHA-256 only. It
// replaces the token before it. It returns [ErrHasAdmin] once there is an
// administrator.
func (u *Users) NewSetupToken(ctx context.Context, now time.Time, validFor time.Duration) (string, error) {
	if validFor <= 0 {
		return "", errors.New("sqlusers: make a setup token: it must be valid for some time")
	}
	token := newToken()
	until := now.Add(validFor).UnixMilli()
	err := u.write(ctx, func(ctx context.Context, tx sqlstore.Queryer) (outcome, err error) {
		if n, err := count(ctx, tx, u.sql.admins); err != nil {
			return nil, err
		} else if n > 0 {
			return ErrHasAdmin, nil
		}
		_, err = tx.ExecContext(ctx, u.sql.setup, hash(token), until)
		return nil, err
	})
	if err != nil {
		return "", fmt.Errorf("sqlusers: make a setup token: %w", err)
	}
	return token, nil
}

// CheckSetup returns [ErrSetupGone] if the token would not be taken at the time
// now. It claims nothing.
func (u *Users) CheckSetup(ctx context.Context, token string, now time.Time) error {
	err := u.checkSetup(ctx, token, now)
	if err != nil {
		return fmt.Errorf("sqlusers: check a setup token: %w", err)
	}
	return nil
}

func (u *Users) checkSetup(ctx context.Context, token string, now time.Time) error {
	n, err := count(ctx, u.db.Reader(), u.sql.checkSetup, hash(token), now.UnixMilli())
	if err == nil && n == 0 {
		return ErrSetupGone
	}
	return err
}

// ClaimSetup makes the first administrator: it takes the token and creates the
// account, which gets the role [Admin] beside those of n, in one transaction. Of
// any number of callers one succeeds; the others get [ErrSetupGone]. A name that
// is refused leaves the token as it was.
func (u *Users) ClaimSetup(ctx context.Context, token string, now time.Time, n NewUser) (auth.User, error) {
	// Whoever has no token learns nothing else, and costs no write.
	if err := u.checkSetup(ctx, token, now); err != nil {
		return auth.User{}, fmt.Errorf("sqlusers: set up: %w", err)
	}
	n.Roles = append([]string{Admin}, n.Roles...)
	row, err := n.row()
	if err != nil {
		return auth.User{}, fmt.Errorf("sqlusers: set up: %w", err)
	}
	var user auth.User
	err = u.write(ctx, func(ctx context.Context, tx sqlstore.Queryer) (outcome, err error) {
		admins, err := count(ctx, tx, u.sql.admins)
		if err != nil {
			return nil, err
		}
		if admins > 0 {
			return ErrSetupGone, nil
		}
		took, err := changed(ctx, tx, u.sql.claim, hash(token), now.UnixMilli())
		if err != nil {
			return nil, err
		}
		if took == 0 {
			return ErrSetupGone, nil
		}
		user, outcome, err = u.insert(ctx, tx, row)
		if outcome != nil {
			err = outcome // the token was taken: that must be undone
		}
		return nil, err
	})
	if err != nil {
		return auth.User{}, fmt.Errorf("sqlusers: set up: %w", err)
	}
	return user, nil
}

// hash is how a token is kept. It is random enough that no salt and no slow hash
// is needed.
func hash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
