package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// Keys reads the key ring. With create it makes the key file where there is none,
// but only where no other instance can be, and only for a database that has not
// seen a key yet: to go on with another key than yesterday's, or than the other
// instances', would sign everybody out, in silence.
func (b *Backend) Keys(ctx context.Context, create bool) (*keyring.Ring, error) {
	known, err := b.knownKeys(ctx)
	if err != nil {
		return nil, err
	}
	ring, err := b.readKeys(ctx, create && len(known) == 0 && !b.shared())
	missing := errors.Is(err, fs.ErrNotExist)
	if len(known) > 0 && (missing || err == nil && !has(ring, known[0].ID)) {
		return nil, b.lacks(known[0], missing)
	}
	if missing && create && b.shared() && b.cfg.Keys.Path() != "" {
		return nil, &ConfigError{fmt.Errorf("keys: there is no %s: instances that share a store need the same keys: make them once with \"cloakroom key new >%[1]s\", mode 0600, and give the file to each", b.cfg.Keys.Path())}
	}
	if err != nil {
		return nil, err
	}
	if create {
		if err := b.remember(ctx, ring, known); err != nil {
			return nil, err
		}
	}
	return ring, nil
}

// Wants returns an error if a start with this ring is refused for want of a key, as
// [Backend.Keys] refuses it: the store has seen another one in use last or, where it has seen
// none, an instance that starts for the first time has claimed one.
func (b *Backend) Wants(ctx context.Context, ring *keyring.Ring) error {
	known, err := b.knownKeys(ctx)
	if err != nil {
		return err
	}
	if len(known) > 0 {
		if !has(ring, known[0].ID) {
			return b.lacks(known[0], false)
		}
		return nil
	}
	for _, r := range b.registries {
		claims, err := r.KnownKeys(ctx)
		if err != nil {
			return err
		}
		if k, _ := Wanted(claims, ring); k.ID != "" {
			return b.lacks(k, false)
		}
	}
	return nil
}

// KeySource returns where the keys come from. It is opened once, as it may know of a
// login or of a text what it would have to find out again.
func (b *Backend) KeySource() (keyring.Source, error) {
	if b.source != nil {
		return b.source, nil
	}
	src, err := b.cfg.Keys.Open()
	if err != nil {
		return nil, &ConfigError{fmt.Errorf("keys: %w", err)}
	}
	b.source = src
	return src, nil
}

// readKeys reads the source of the keys. With create it makes the key file where there
// is none.
func (b *Backend) readKeys(ctx context.Context, create bool) (*keyring.Ring, error) {
	if create && b.cfg.Keys.Scheme == keysource.File {
		ring, err := keyring.OpenFile(b.cfg.Keys.Path())
		return ring, configError(err)
	}
	src, err := b.KeySource()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	ring, err := keyring.Load(ctx, src)
	if err != nil && b.cfg.Keys.Remote() {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return ring, configError(err)
}

func configError(err error) error {
	if err == nil {
		return nil
	}
	return &ConfigError{err}
}

// RememberKeys notes that the active key is in use, after it has changed.
func (b *Backend) RememberKeys(ctx context.Context, ring *keyring.Ring) error {
	for _, r := range b.registries {
		if err := r.RememberKey(ctx, ring.Active().String(), inUse(time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// shared tells whether another instance may use the same sessions.
func (b *Backend) shared() bool {
	return b.cfg.Store.Shared() || b.cfg.Store.Scheme == config.Sealed && b.cfg.Users.Shared()
}

// knownKeys returns the keys that have been used, of all registries, the one used last
// first; of two at the same time the one with the lower id, as every instance has to come
// to the same. One registry may know of a key what another has not been told. Claims to a
// key do not count: nobody has signed with it.
func (b *Backend) knownKeys(ctx context.Context) ([]store.KnownKey, error) {
	var known []store.KnownKey
	for _, r := range b.registries {
		more, err := r.KnownKeys(ctx)
		if err != nil {
			return nil, err
		}
		for _, k := range more {
			if claim(k) > 0 {
				continue
			}
			i := slices.IndexFunc(known, func(o store.KnownKey) bool { return o.ID == k.ID })
			if i < 0 {
				known = append(known, k)
			} else if k.LastUsed.After(known[i].LastUsed) {
				known[i] = k
			}
		}
	}
	slices.SortFunc(known, func(a, b store.KnownKey) int {
		return cmp.Or(b.LastUsed.Compare(a.LastUsed), cmp.Compare(a.ID, b.ID))
	})
	return known, nil
}

// remember notes that the active key is in use. Where no key is known yet, the instances
// that start at the same moment agree on one before. Where one is, two of them can have it
// and sign with others all the same: the one that notes its own second finds the other's
// now, puts it back in front and gives up.
func (b *Backend) remember(ctx context.Context, ring *keyring.Ring, before []store.KnownKey) error {
	id := ring.Active().String()
	agreed := id
	if len(before) == 0 {
		var err error
		if agreed, err = b.agree(ctx, ring); err != nil {
			return err
		}
	}
	for _, r := range b.registries {
		now := inUse(time.Now())
		if agreed != id { // whoever has only this one finds it, behind the one that signs
			if err := r.RememberKey(ctx, agreed, now); err != nil {
				return err
			}
			now = now.Add(time.Millisecond)
		}
		if err := r.RememberKey(ctx, id, now); err != nil {
			return err
		}
		after, err := r.KnownKeys(ctx)
		if err != nil {
			return err
		}
		for _, k := range after {
			if claim(k) > 0 || has(ring, k.ID) || seen(before, k) {
				continue
			}
			if err := r.RememberKey(ctx, k.ID, inUse(time.Now()).Add(time.Millisecond)); err != nil {
				return err
			}
			return b.lacks(k, false)
		}
	}
	return nil
}

// seen tells whether a key was known before, and has not been used since.
func seen(before []store.KnownKey, k store.KnownKey) bool {
	for _, b := range before {
		if b.ID == k.ID && !k.LastUsed.After(b.LastUsed) {
			return true
		}
	}
	return false
}

// lacks says which key an instance needs.
func (b *Backend) lacks(k store.KnownKey, missing bool) error {
	lacks, what := "lacks", "that the sessions were signed with"
	if missing {
		lacks = "is not there, and with it"
	}
	if claim(k) > 0 {
		what = "that another instance has claimed for the sessions"
	}
	return &ConfigError{fmt.Errorf("keys: %s %s the key %s %s: name or restore the key file that has it, as the other instances do; if it is lost, stop them all and run \"cloakroom session end --all\" with these settings, which signs everybody out", cmp.Or(b.cfg.Keys.Path(), b.cfg.Keys.String()), lacks, k.ID, what)}
}

func has(ring *keyring.Ring, id string) bool {
	parsed, err := keyring.ParseKeyID(id)
	return err == nil && ring.Has(parsed)
}
