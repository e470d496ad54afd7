package keys

import (
	"context"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Rotate takes all steps: it announces a key, waits, makes it active, and waits. It
// returns the ID of the key that signs. Where a key is next already, as after a
// rotation that was broken off, it goes on with that.
func (r *Rotator) Rotate(ctx context.Context) (keyring.KeyID, error) {
	next, err := r.Announce(ctx)
	if err != nil {
		return keyring.KeyID{}, err
	}
	if err := r.Activate(ctx, next); err != nil {
		return keyring.KeyID{}, err
	}
	return next, r.Await(ctx)
}

// Reasons are what has been said.
type Reasons struct{ reasons }

// News tells whether a reason is to be said now.
func (r *Reasons) News(reason string, now time.Time) bool { return r.news(reason, now) }

// Held returns how many are remembered.
func (r *Reasons) Held() int { return len(r.at) }
