package backend

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Audit opens the audit log in the database of the accounts. Its entries are signed with
// the keys of the configuration; where there is no key file, they are not, and none
// is made. Nor are they where the keys are kept elsewhere and are away, which Unsigned
// tells: on a bad day somebody may have to be disabled. The caller closes the log, before
// the Backend.
func (b *Backend) Audit(ctx context.Context) (*auditlog.Log, error) {
	ring, err := b.readKeys(ctx, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		ring = nil
	case err != nil && b.cfg.Keys.Remote():
		b.Unsigned, ring = err, nil
	case err != nil:
		return nil, err
	}
	return b.AuditWith(ctx, ring)
}

// NewAudit is Audit for whoever may be the first to write anything: where no other instance
// can have another key file, it makes it, as the service would.
func (b *Backend) NewAudit(ctx context.Context) (*auditlog.Log, error) {
	if b.shared() {
		return b.Audit(ctx)
	}
	if err := b.OpenStore(ctx, true, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	ring, err := b.Keys(ctx, true)
	if err != nil {
		return nil, err
	}
	return b.AuditWith(ctx, ring)
}

// AuditWith is Audit with a ring that is open already, which may change.
func (b *Backend) AuditWith(ctx context.Context, ring *keyring.Ring) (*auditlog.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	return auditlog.Open(ctx, b.accounts, ring)
}
