package backend

import (
	"context"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
)

// Pepper is the purpose under which hashes of passwords are encrypted.
func Pepper(keys *keyring.Ring) *keyring.Purpose { return keys.Purpose("password") }

// Fleet returns the instances that share the accounts.
func (b *Backend) Fleet(ctx context.Context) (*fleet.Fleet, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	f, err := fleet.Open(ctx, b.accounts)
	if err != nil {
		return nil, inPlace("users", b.cfg.Users, err)
	}
	return f, nil
}

// KeyNeeded says why a key has to stay, though nothing that it signed is accepted any
// more; "" lets it go.
func (b *Backend) KeyNeeded(ctx context.Context, id keyring.KeyID) (string, error) {
	known, err := b.knownKeys(ctx)
	if err != nil {
		return "", err
	}
	if len(known) > 0 && known[0].ID == id.String() {
		return "no instance has started with another one yet", nil
	}
	hashes, err := b.HashesByKey(ctx)
	if err != nil {
		return "", err
	}
	if n := hashes[id]; n > 0 {
		return fmt.Sprintf("%d hashes of passwords are encrypted under it", n), nil
	}
	return b.unverified(ctx, id)
}

// unverified says why the audit log needs a key that has ended.
func (b *Backend) unverified(ctx context.Context, id keyring.KeyID) (string, error) {
	ring, err := b.readKeys(ctx, false)
	if err != nil {
		return "", err
	}
	// Whoever takes a key away from one moment to the next sets its end to some minutes
	// before, and is not done yet; nor may they be if they begin anew.
	if time.Since(ended(ring, id)) < keepEnded {
		return "it ended within the last hour", nil
	}
	log, err := b.AuditWith(ctx, ring)
	if err != nil {
		return "", err
	}
	defer log.Close()
	switch awaits, err := log.Awaits(ctx, id); {
	case err != nil:
		return "", err
	case awaits:
		return "its entries of the audit log are not vouched for yet: run cloakroom key retire --now " + id.String() + " again", nil
	}
	return "", nil
}

// keepEnded is for how long a key that has ended stays, whatever it is needed for.
const keepEnded = time.Hour

// ended returns when a key ends; the zero time where nobody knows it.
func ended(ring *keyring.Ring, id keyring.KeyID) time.Time {
	for _, k := range ring.Keys() {
		if k.ID == id {
			return k.Until
		}
	}
	return time.Time{}
}

// HashesByKey returns how many hashes of passwords are encrypted under which key. Those
// that name none are not among them: no key lets anybody in by them.
func (b *Backend) HashesByKey(ctx context.Context) (map[keyring.KeyID]int, error) {
	sealed, err := b.Users.SealedHashes(ctx)
	if err != nil {
		return nil, err
	}
	keys := make(map[keyring.KeyID]int)
	for key, n := range sealed {
		if id, ok := keyring.SealedBy(key[:]); ok {
			keys[id] += n
		}
	}
	return keys, nil
}

// Rewrap brings hashes of passwords that are encrypted under another key under the
// active one. Those whose key is not here stay as they are: doctor names them.
func (b *Backend) Rewrap(ctx context.Context, keys *keyring.Ring) (sqlusers.Rewrapped, error) {
	// Also where new hashes are not encrypted any more: those that still are, are until
	// their users sign in.
	h, err := password.New(&password.Options{Pepper: Pepper(keys)})
	if err != nil {
		return sqlusers.Rewrapped{}, err
	}
	return b.Users.Rewrap(ctx, h)
}
