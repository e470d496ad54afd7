package backend

import (
	"context"

	"github.com/cloakroom-dev/cloakroom/throttle"
	"github.com/cloakroom-dev/cloakroom/throttle/sqlthrottle"
)

// Throttle returns the budget of wrong passwords. It is kept beside the accounts, so
// that all instances share it and a restart forgets nothing.
func (b *Backend) Throttle(ctx context.Context) (*throttle.Throttle, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	st, err := sqlthrottle.Open(ctx, b.accounts)
	if err != nil {
		return nil, inPlace("users", b.cfg.Users, err)
	}
	return throttle.New(st, nil)
}
