package sqlusers

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// LinkKind says what a link is for. Every kind does the same: it lets whoever has
// it choose the account's password, once.
type LinkKind string

const (
	LinkInvite LinkKind = "invite" // to somebody who has no password yet
	LinkReset  LinkKind = "reset"  // to somebody who has lost it
)

// kinds are the kinds by the number that is stored: 0 is none, and what a newer
// program has written is no kind either.
var kinds = []LinkKind{1: LinkInvite, 2: LinkReset}

// number is how a kind is stored.
func (k LinkKind) number() int {
	if k == "" {
		return 0
	}
	return max(0, slices.Index(kinds, k))
}

// kindOf reads a stored kind.
func kindOf(n int) LinkKind {
	if n < 0 || n >= len(kinds) {
		return ""
	}
	return kinds[n]
}

// Link is a link that is valid.
type Link struct {
	Kind  LinkKind
	User  auth.User // whose password it sets
	Until time.Time // when it expires
}

// NewLink makes the token of a link by which somebody chooses the password of an
// account, valid from now on for validFor: 256 random bits in base64url, of which
// the database keeps the SHA-256 only (ASVS 6.4.1, 6.4.3, 6.5.2). It replaces the
// link before it, and is void once it is used, once the password is set in another
// way, and once the account is disabled or removed. It returns [ErrDisabled] for an
// account that is disabled.
//
// So an administrator starts a reset and never knows the password (ASVS 6.4.6). The
// token goes to its user and nowhere else: not into a log.
func (u *Users) NewLink(ctx context.Context, id string, kind LinkKind, now time.Time, validFor time.Duration) (token string, err error) {
	switch {
	case kind.number() == 0:
		return "", fmt.Errorf("sqlusers: make a link: no kind of link: %.32q", kind)
	case validFor <= 0:
		return "", errors.New("sqlusers: make a link: it must be valid for some time")
	}
	token = newToken()
	until := now.Add(validFor).UnixMilli()
	err = u.update(ctx, "make a link", u.sql.setLink, hash(token), kind.number(), until, []byte(id))
	if errors.Is(err, auth.ErrNoUser) {
		// Which of the two it is only explains the refusal.
		if user, err := u.ByID(ctx, id); err == nil && user.Disabled {
			return "", fmt.Errorf("sqlusers: make a link: %w", ErrDisabled)
		}
	}
	if err != nil {
		return "", err
	}
	return token, nil
}

// CheckLink returns what a token is for, or [ErrLinkGone] if it would not be taken
// at the time now. It claims nothing: pages are fetched by previews and twice.
func (u *Users) CheckLink(ctx context.Context, token string, now time.Time) (Link, error) {
	l, err := u.checkLink(ctx, u.db.Reader(), token, now)
	if err != nil {
		return Link{}, fmt.Errorf("sqlusers: check a link: %w", err)
	}
	return l, nil
}

func (u *Users) checkLink(ctx context.Context, q sqlstore.Queryer, token string, now time.Time) (Link, error) {
	var (
		kind  int
		until int64
	)
	user, err := scan(q.QueryRowContext(ctx, u.sql.byLink, hash(token), now.UnixMilli()), &kind, &until)
	if errors.Is(err, auth.ErrNoUser) {
		return Link{}, ErrLinkGone
	}
	if err != nil {
		return Link{}, err
	}
	return Link{Kind: kindOf(kind), User: user, Until: time.UnixMilli(until).UTC()}, nil
}

// ClaimLink takes the token, stores the hash of the password that its user has
// chosen, raises the epoch, which ends every session that was signed in before, and
// takes MustChange back, in one transaction. Of any number of callers one succeeds;
// the others get [ErrLinkGone]. It signs nobody in: the password is still to be
// shown to be known.
func (u *Users) ClaimLink(ctx context.Context, token string, now time.Time, phc string) (auth.User, error) {
	// Whoever has no token learns nothing else, and costs no write.
	l, err := u.checkLink(ctx, u.db.Reader(), token, now)
	if err != nil {
		return auth.User{}, fmt.Errorf("sqlusers: claim a link: %w", err)
	}
	if err := checkNew(phc); err != nil {
		return auth.User{}, fmt.Errorf("sqlusers: claim a link: %w", err)
	}
	var user auth.User
	err = u.write(ctx, func(ctx context.Context, tx sqlstore.Queryer) (outcome, err error) {
		// The statement itself says what must hold: nothing can come before it.
		took, err := changed(ctx, tx, u.sql.takeLink, []byte(phc), []byte(l.User.ID), hash(token), now.UnixMilli())
		if err != nil {
			return nil, err
		}
		if took == 0 {
			return ErrLinkGone, nil
		}
		user, err = scan(tx.QueryRowContext(ctx, u.sql.byID, []byte(l.User.ID)))
		return nil, err
	})
	if err != nil {
		return auth.User{}, fmt.Errorf("sqlusers: claim a link: %w", err)
	}
	return user, nil
}

// newToken makes the token of a link.
func newToken() string {
	var secret [32]byte
	rand.Read(secret[:]) // never fails: crypto/rand
	return base64.RawURLEncoding.EncodeToString(secret[:])
}
