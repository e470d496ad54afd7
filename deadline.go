package cloakroom

import (
	"context"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/deadline"
)

// bulkFactor is how many times Options.StoreTimeout a call may take that lists or
// ends all sessions of a user: its work grows with their number.
const bulkFactor = 20

// callCtx bounds a call of the store.
type callCtx struct{ *deadline.Context }

func withDeadline(parent context.Context, d time.Duration) callCtx {
	return callCtx{deadline.With(parent, d)}
}

// release is called when the store has answered.
func (c callCtx) release() { c.Release() }
