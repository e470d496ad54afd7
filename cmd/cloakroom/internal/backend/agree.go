package backend

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// Instances that start at the same moment on a new store have to agree on one key, and a
// registry can do no more than keep the latest time for each key. That is enough for a race
// (J. Aspnes, "Fast deterministic consensus in a noisy environment", 2002, with a counter
// for each key in place of its bits): every key has a level, noted as a time in the first
// hours of 1970. Who starts raises its key by one level at a time and looks after each:
//
//   - A key that is two levels ahead of every other has won. Nobody can raise another one
//     to its level any more, as whoever tries has to look first, and finds it.
//   - Who finds another key above its own gives up, or goes on for that one if it has it.
//     The first level is open to everybody, and no key wins there.
//
// So two keys never win, whoever is killed wherever: what was noted stays, and says no more
// than what was so. An instance that died on its way, before its key has won, is in nobody's
// way, as others pass it. One that died right after that has decided, and can start again.

// claims end here: keys that are in use are noted with later times.
const claims = 1 << 22 // milliseconds, some 70 minutes

// claim returns the level of a key that somebody would like to use, or 0 for one that was
// in use.
func claim(k store.KnownKey) int {
	if ms := k.LastUsed.UnixMilli(); ms < claims {
		return int(max(1, ms))
	}
	return 0
}

// inUse returns a time at which a key is in use. A clock that was never set gives none that
// looks like a claim.
func inUse(now time.Time) time.Time {
	if now.UnixMilli() < claims {
		return time.UnixMilli(claims)
	}
	return now
}

// looks is how often an instance looks, at most. The one with the higher id waits when both
// are level, so that a few are enough.
var looks = 64

// pause is how long it waits the first time; then twice as long, up to a second.
var pause = 20 * time.Millisecond

// agree returns the key that the instances that start now agree on. It is one of the ring.
// What is agreed on in one registry is what this instance is for in the next one.
func (b *Backend) agree(ctx context.Context, ring *keyring.Ring) (string, error) {
	id := ring.Active().String()
	for _, r := range b.registries {
		var err error
		if id, err = b.race(ctx, r, ring, id); err != nil {
			return "", err
		}
	}
	return id, nil
}

// race runs for the key with this id in one registry, and returns the one that has won.
func (b *Backend) race(ctx context.Context, r store.KeyRegistry, ring *keyring.Ring, id string) (string, error) {
	wait, waited := pause, false
	for range looks {
		known, err := r.KnownKeys(ctx)
		if err != nil {
			return "", err
		}
		level, rival := standing(known, id)
		ahead := claim(rival)
		switch {
		case rival.ID != "" && ahead == 0: // it is in use: all is decided
			if !has(ring, rival.ID) {
				return "", b.lacks(rival, false)
			}
			return rival.ID, nil
		case level >= 2 && ahead < level-1:
			return id, nil
		case ahead >= 2 && ahead > level: // it may have won
			if !has(ring, rival.ID) {
				return "", b.lacks(rival, false)
			}
			id = rival.ID
			continue
		case level > 0 && ahead == level && rival.ID < id && !waited:
			if err := sleep(ctx, wait); err != nil {
				return "", err
			}
			wait, waited = min(2*wait, time.Second), true
			continue
		}
		waited = false
		next := min(int64(level)+1, claims-1) // what is no claim says that the key is in use
		if err := r.RememberKey(ctx, id, time.UnixMilli(next)); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("keys: the instances that start now have not agreed on a key in %d looks: start this one again", looks)
}

// standing returns the level of the key with this id, and the key to compare it with: the
// one that was in use last, whichever it is, or else the other one with the highest level,
// and of those the one with the lowest id. It is zero if there is none.
func standing(known []store.KnownKey, id string) (level int, rival store.KnownKey) {
	known = slices.Clone(known)
	slices.SortFunc(known, func(a, b store.KnownKey) int {
		return cmp.Or(b.LastUsed.Compare(a.LastUsed), cmp.Compare(a.ID, b.ID))
	})
	for _, k := range known {
		switch {
		case claim(k) == 0:
			return 0, k
		case k.ID == id:
			level = claim(k)
		case rival.ID == "":
			rival = k
		}
	}
	return level, rival
}

// Wanted returns the key of a registry for want of which an instance with this ring does not
// start; its ID is "" where there is none. Claimed says that the key never was in use:
// another instance that starts for the first time is about to win with it, or was killed
// when it had won.
func Wanted(known []store.KnownKey, ring *keyring.Ring) (k store.KnownKey, claimed bool) {
	level, rival := standing(known, ring.Active().String())
	ahead := claim(rival)
	switch {
	case rival.ID == "" || has(ring, rival.ID):
	case ahead == 0:
		return rival, false
	case ahead >= 2 && ahead > level: // as in race
		return rival, true
	}
	return store.KnownKey{}, false
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
