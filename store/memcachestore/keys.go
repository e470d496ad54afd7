package memcachestore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

const (
	maxKeyID = 32 // bytes

	// maxKeys bounds how many ids are remembered; those used longest ago go.
	maxKeys = 256
)

// forever is a time whose date the protocol cannot carry, so that the item has
// none.
var forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// KnownKeys implements [store.KeyRegistry]. Nothing that Memcached keeps is sure
// to be there: an empty answer may be that of a server that was restarted, or
// has evicted the item, and not only that of a new one.
func (s *Store) KnownKeys(ctx context.Context) ([]store.KnownKey, error) {
	item, err := s.get(ctx, s.registryKey())
	if err != nil || item == nil {
		return nil, wrap("read known keys", err)
	}
	keys, err := decodeRegistry(item.Value)
	return keys, wrap("read known keys", err)
}

// RememberKey implements [store.KeyRegistry]. It remembers 256 keys; those used
// longest ago make room. An earlier time than the remembered one leaves it.
func (s *Store) RememberKey(ctx context.Context, id string, now time.Time) error {
	if id == "" || len(id) > maxKeyID {
		return fmt.Errorf("memcachestore: remember a key: an id of %d bytes, want 1 to %d", len(id), maxKeyID)
	}
	now = now.UTC().Truncate(time.Millisecond)
	for {
		item, err := s.get(ctx, s.registryKey())
		if err != nil {
			return wrap("remember a key", err)
		}
		var keys []store.KnownKey
		if item != nil {
			if keys, err = decodeRegistry(item.Value); err != nil {
				return wrap("remember a key", err)
			}
		}
		i := slices.IndexFunc(keys, func(k store.KnownKey) bool { return k.ID == id })
		switch {
		case i < 0:
			keys = append(keys, store.KnownKey{ID: id, LastUsed: now})
		case now.After(keys[i].LastUsed):
			keys[i].LastUsed = now
		default:
			return nil
		}
		slices.SortStableFunc(keys, func(a, b store.KnownKey) int {
			return cmp.Or(b.LastUsed.Compare(a.LastUsed), cmp.Compare(a.ID, b.ID))
		})
		keys = keys[:min(len(keys), maxKeys)]
		ok, err := s.write(ctx, s.registryKey(), item, encodeRegistry(keys), forever)
		if err != nil {
			return wrap("remember a key", err)
		}
		if ok {
			return nil
		}
	}
}

// ForgetKeys implements [store.KeyRegistry]. It also forgets a registry that
// cannot be read, for which the others return an error.
func (s *Store) ForgetKeys(ctx context.Context) error {
	return wrap("forget keys", s.remove(ctx, s.registryKey()))
}
