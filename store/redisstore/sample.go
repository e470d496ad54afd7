package redisstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Size is how large a session is.
type Size struct {
	Created    time.Time
	Info, Data int // in bytes
}

const (
	// sampleSteps bounds how many keys Sample walks, together with batch: what else
	// is in the database may be much more than we have.
	sampleSteps = 200

	// sampleCalls is how many sessions Sample looks at at once.
	sampleCalls = 64
)

// Sample returns the sizes of up to n sessions: of those that the server names first,
// which are as good as drawn by lot, since its order is that of hashes with a seed. It
// walks 100,000 keys of the database at most, in steps of 500 (SCAN), between which others
// have their turn, and reads of a session its first bytes and its length, none of its
// values. Nothing changes. What was found before an error is returned beside it.
//
// The user needs the commands SCAN and STRLEN for it; [ACL] grants neither.
func (s *Store) Sample(ctx context.Context, n int) ([]Size, error) {
	var (
		c      = s.conns[0]
		list   []Size
		seen   = make(map[string]bool)
		cursor uint64
	)
	for range sampleSteps {
		m, err := c.do(ctx, c.client.B().Scan().Cursor(cursor).Match(glob(s.prefix)+"s:*").Count(batch).Build())
		if err != nil {
			return list, fmt.Errorf("redisstore: sample: %w", err)
		}
		entry, err := m.AsScanEntry()
		if err != nil {
			return list, fmt.Errorf("redisstore: sample: answer of the server: %w", err)
		}
		var keys []string
		for _, key := range entry.Elements { // a key may be named twice
			if !seen[key] {
				seen[key] = true
				keys = append(keys, key)
			}
		}
		for part := range slices.Chunk(keys, sampleCalls) {
			sizes, err := s.sizes(ctx, part)
			list = append(list, sizes...)
			if err != nil {
				return list, fmt.Errorf("redisstore: sample: %w", err)
			}
			if len(list) >= n {
				return list[:n], nil
			}
		}
		if cursor = entry.Cursor; cursor == 0 {
			break
		}
	}
	return list, nil
}

// sizes returns the sizes of the sessions under some keys.
func (s *Store) sizes(ctx context.Context, keys []string) ([]Size, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		list  []Size
		first error
	)
	for _, key := range keys {
		wg.Go(func() {
			size, ok, err := s.size(ctx, key)
			mu.Lock()
			defer mu.Unlock()
			if ok {
				list = append(list, size)
			}
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return list, first
}

// size returns the size of the session under a key; ok is false for a tombstone, for what
// is none of ours and for what is gone.
func (s *Store) size(ctx context.Context, key string) (size Size, ok bool, err error) {
	c := s.conns[0]
	m, err := c.do(ctx, c.client.B().Getrange().Key(key).Start(0).End(lenHeader-1).Build())
	if isWrongType(err) {
		return Size{}, false, nil
	}
	if err != nil {
		return Size{}, false, err
	}
	head, err := m.AsBytes()
	if err != nil || len(head) < lenHeader || !bytes.HasPrefix(head, []byte(kindRecord)) {
		return Size{}, false, err
	}
	if m, err = c.do(ctx, c.client.B().Strlen().Key(key).Build()); err != nil {
		return Size{}, false, err
	}
	whole, err := m.AsInt64()
	if err != nil {
		return Size{}, false, err
	}
	f := fields{ok: true}
	user, info := f.uint(head[offUser:][:lenUser]), f.uint(head[offInfo:][:lenInfo])
	size = Size{Created: f.time(head[offCreated:]), Info: int(info), Data: int(whole) - lenHeader - int(user) - int(info)}
	return size, f.ok && size.Data >= 0, nil
}

// glob returns a pattern that matches a prefix and no other.
func glob(prefix string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(prefix)
}
