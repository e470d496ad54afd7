package backend

import (
	"context"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
)

// durable is a database that looks at its server's settings.
type durable interface {
	Durable(ctx context.Context) error
}

// Risks says what is allowed and may yet sign people out, or undo what was
// acknowledged. A server that does not say how it is set says nothing here.
func (b *Backend) Risks(ctx context.Context) []string {
	var risks []string
	if b.cfg.Store.Shared() && !b.cfg.Users.Shared() {
		risks = append(risks, "sessions are shared and accounts are not: an instance on another machine ends sessions whose user it does not know: name the accounts' place with users")
	}
	if b.cfg.Store.Scheme == config.Memory {
		risks = append(risks, "sessions are in memory: a restart signs everybody out")
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for _, c := range b.closers {
		if db, ok := c.(durable); ok {
			if err := db.Durable(ctx); err != nil {
				risks = append(risks, err.Error())
			}
		}
	}
	return risks
}
