package memcachestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cloakroom-dev/cloakroom/store"
)

// The commands of the protocol that the store uses. There is no set among them:
// whatever is written is written over nothing, or over what was read.

// get reads an item; it returns nil where there is none.
func (s *Store) get(ctx context.Context, key string) (*memcache.Item, error) {
	var item *memcache.Item
	err := s.server(key).do(ctx, true, func(c *memcache.Client) (err error) {
		if item, err = c.Get(key); err == nil {
			err = check(item, key)
		}
		return err
	})
	if errors.Is(err, memcache.ErrCacheMiss) {
		return nil, nil
	}
	return item, err
}

// getMulti reads those items of one server that are there, in one command.
func (s *Store) getMulti(ctx context.Context, srv *server, keys []string) (map[string]*memcache.Item, error) {
	var items map[string]*memcache.Item
	err := srv.do(ctx, true, func(c *memcache.Client) (err error) {
		if items, err = c.GetMulti(keys); err != nil {
			return err
		}
		asked := make(map[string]bool, len(keys))
		for _, key := range keys {
			asked[key] = true
		}
		for key, item := range items {
			if !asked[key] {
				return errors.New("the server answers what was not asked")
			}
			if err := check(item, key); err != nil {
				return err
			}
		}
		return nil
	})
	return items, err
}

// check refuses an answer to another question, of which the client knows nothing,
// and a server without compare-and-swap (memcached -C), which would say of every
// write that nothing was changed in between.
func check(item *memcache.Item, key string) error {
	if item.Key != key {
		return errors.New("the server answers what was not asked")
	}
	if item.CasID == 0 {
		return errors.New("the server has no compare-and-swap: start memcached without -C")
	}
	return nil
}

// add writes an item where there is none, and tells whether it did.
func (s *Store) add(ctx context.Context, key string, value []byte, until time.Time) (bool, error) {
	item := &memcache.Item{Key: key, Value: value, Expiration: expiration(time.Now(), until)}
	err := s.server(key).do(ctx, false, func(c *memcache.Client) error { return c.Add(item) })
	if errors.Is(err, memcache.ErrNotStored) {
		return false, nil
	}
	return err == nil, err
}

// swap writes over an item that was read, and tells whether it was still the
// same. Where it was not, nothing has been written.
func (s *Store) swap(ctx context.Context, old *memcache.Item, value []byte, until time.Time) (bool, error) {
	item := &memcache.Item{Key: old.Key, Value: value, Expiration: expiration(time.Now(), until), CasID: old.CasID}
	err := s.server(old.Key).do(ctx, false, func(c *memcache.Client) error { return c.CompareAndSwap(item) })
	if errors.Is(err, memcache.ErrCASConflict) || errors.Is(err, memcache.ErrCacheMiss) || errors.Is(err, memcache.ErrNotStored) {
		return false, nil
	}
	return err == nil, err
}

// write puts a value in the place of what was read: of nothing, if old is nil.
func (s *Store) write(ctx context.Context, key string, old *memcache.Item, value []byte, until time.Time) (bool, error) {
	if old == nil {
		return s.add(ctx, key, value, until)
	}
	return s.swap(ctx, old, value, until)
}

// remove deletes an item, if it is there.
func (s *Store) remove(ctx context.Context, key string) error {
	err := s.server(key).do(ctx, false, func(c *memcache.Client) error { return c.Delete(key) })
	if errors.Is(err, memcache.ErrCacheMiss) {
		return nil
	}
	return err
}

const (
	// relative is the longest lifetime that the server takes for one, in
	// seconds. Any longer one is the Unix time of a date.
	relative = 30 * 24 * 60 * 60

	// tick makes up for the server's clock, which goes in steps of a second and
	// may be one behind.
	tick = 2 * time.Second

	// dateMargin makes up for a difference between the server's clock and ours,
	// where we have to give a date.
	dateMargin = 24 * time.Hour

	maxInt32 = 1<<31 - 1
)

// expiration returns for how long the server has to keep an item that is good
// until a time: store.Slack longer, and from now on at least so long. Neither 0,
// which is for ever, nor a negative number, which is not at all, may come of a
// calculation; for ever are only those whose date does not fit into the 32 bits
// of the protocol, from 19 January 2038 on.
func expiration(now, until time.Time) int32 {
	life := min(max(until.Sub(now), 0), 100*365*24*time.Hour)
	seconds := int64((life + tick) / time.Second)
	seconds += int64(store.Slack / time.Second)
	if life%time.Second != 0 {
		seconds++
	}
	if seconds <= relative {
		return int32(seconds)
	}
	if date := now.Unix() + seconds + int64(dateMargin/time.Second); date <= maxInt32 {
		return int32(date)
	}
	return 0
}

// wrap says what was being done; what package store and unreadableError say is
// returned as it is.
func wrap(doing string, err error) error {
	switch err {
	case nil, store.ErrNotFound, store.ErrEnded, store.ErrConflict, store.ErrImmutable:
		return err
	}
	if _, ok := err.(*unreadableError); ok {
		return err
	}
	return fmt.Errorf("memcachestore: %s: %w", doing, err)
}
