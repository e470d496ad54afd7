package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// KnownKeys returns the keys that were remembered, the one used last first; see
// [store.KeyRegistry]. They are one hash, which never expires.
func (s *Store) KnownKeys(ctx context.Context) ([]store.KnownKey, error) {
	c := s.conns[0]
	m, err := c.do(ctx, c.client.B().Hgetall().Key(s.registryKey()).Build())
	var known map[string]string
	if err == nil {
		known, err = m.AsStrMap()
	}
	if err != nil {
		return nil, fmt.Errorf("redisstore: read known keys: %w", err)
	}
	list := make([]store.KnownKey, 0, len(known))
	for id, used := range known {
		ms, err := strconv.ParseInt(used, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("redisstore: read known keys: %q is no time", used)
		}
		list = append(list, store.KnownKey{ID: strings.Clone(id), LastUsed: time.UnixMilli(ms).UTC()})
	}
	slices.SortFunc(list, func(a, b store.KnownKey) int {
		return cmp.Or(b.LastUsed.Compare(a.LastUsed), strings.Compare(a.ID, b.ID))
	})
	return list, nil
}

// RememberKey notes that the key with this id, of 1 to 32 bytes, is used at the
// time now. A later time that is remembered stays.
func (s *Store) RememberKey(ctx context.Context, id string, now time.Time) error {
	if id == "" || len(id) > 32 {
		return fmt.Errorf("redisstore: remember a key: an id of %d bytes, want 1 to 32", len(id))
	}
	c := s.conns[0]
	_, err := run(ctx, c, rememberScript, []string{s.registryKey()}, []string{id, strconv.FormatInt(now.UnixMilli(), 10)})
	if err != nil {
		return fmt.Errorf("redisstore: remember a key: %w", err)
	}
	return nil
}

// ForgetKeys forgets every key: the next start takes the keys that it is given.
func (s *Store) ForgetKeys(ctx context.Context) error {
	c := s.conns[0]
	if _, err := c.do(ctx, c.client.B().Del().Key(s.registryKey()).Build()); err != nil {
		return fmt.Errorf("redisstore: forget keys: %w", err)
	}
	return nil
}
