package main

import (
	"errors"
	"slices"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
)

// newHasher returns the Hasher of the settings, for service and commands alike: a hash
// that one of them makes is read by the other. Without keys it makes and reads plain
// hashes alone.
func newHasher(cfg *config.Config, keys *keyring.Ring) (*password.Hasher, error) {
	if keys == nil {
		if cfg.Pepper {
			return nil, errors.New("pepper: no keys to encrypt a password's hash with")
		}
		return password.New(nil)
	}
	// The pepper opens what it has sealed while it was wanted.
	return password.New(&password.Options{Pepper: pepper{backend.Pepper(keys), keys}, Unsealed: !cfg.Pepper})
}

// pepper leaves at login what is encrypted under the next key: that signs at other instances
// already, or will in a moment, and the one that signs here may be on its way out.
type pepper struct {
	*keyring.Purpose
	keys *keyring.Ring
}

// Fresh is asked by package password.
func (p pepper) Fresh(sealed []byte) bool {
	id, ok := keyring.SealedBy(sealed)
	return ok && slices.ContainsFunc(p.keys.Keys(), func(k keyring.KeyInfo) bool { return k.ID == id && k.State == keyring.Next })
}
