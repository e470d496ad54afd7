package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	scsmem "github.com/alexedwards/scs/v2/memstore"

	"github.com/cloakroom-dev/cloakroom/store"
)

const maxEndUser = time.Millisecond

// endings is how many users are signed out in a round, where it takes microseconds.
const endings = 1000

// endUser measures to end all sessions of one user, two, among a million.
func endUser(c config) ([]line, error) {
	floor, err := endInMap(c)
	if err != nil {
		return nil, err
	}
	ours, err := endOurs(c)
	if err != nil {
		return nil, err
	}
	peer, err := endSCS(c)
	if err != nil {
		return nil, err
	}
	rounds := ""
	if len(peer) < c.rounds {
		rounds = fmt.Sprintf(" (%d run)", len(peer))
	}
	return []line{{
		what: "end one user's two sessions among a million", floor: took(median(floor)), ours: took(median(ours)), peer: "scs " + took(median(peer)) + rounds,
		overFloor: times(ratio(ours, floor)), overPeer: times(ratio(ours, peer)),
		goal: fmt.Sprintf("< %v", maxEndUser), holds: yes(median(ours) < float64(maxEndUser)), name: "scs" + rounds,
	}}, nil
}

// each times f for users that nobody has ended yet, and returns nanoseconds a user
// for each round.
func each(c config, f func(user string) error) ([]float64, error) {
	var all []float64
	for round := range c.rounds {
		per := min(endings, c.count/2/c.rounds)
		start := time.Now()
		for i := range per {
			if err := f(sessionUser(2 * (round*per + i))); err != nil {
				return nil, err
			}
		}
		all = append(all, float64(time.Since(start))/float64(per))
	}
	return all, nil
}

// endInMap is the floor: a map of users to their sessions, and one of sessions.
func endInMap(c config) ([]float64, error) {
	var mu sync.Mutex
	sessions, users := map[store.ID][]byte{}, map[string][]store.ID{}
	for i := range c.count {
		sessions[sessionID(i)] = sessionData
		users[sessionUser(i)] = append(users[sessionUser(i)], sessionID(i))
	}
	return each(c, func(user string) error {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range users[user] {
			delete(sessions, id)
		}
		delete(users, user)
		return nil
	})
}

func endOurs(c config) ([]float64, error) {
	st, err := ourMillion(c.count, time.Now().Add(time.Hour))
	if err != nil {
		return nil, err
	}
	m, err := newManager(st)
	if err != nil {
		return nil, err
	}
	return each(c, func(user string) error {
		n, err := m.EndUser(context.Background(), user, store.ID{})
		if err == nil && n != 2 {
			err = fmt.Errorf("%d sessions of %s ended, want 2", n, user)
		}
		return err
	})
}

// endSCS goes through all sessions, which is how scs finds those of a user.
func endSCS(c config) ([]float64, error) {
	st := scsmem.NewWithCleanupInterval(0)
	m := newSCS(st, 0)
	at := time.Now().Add(24 * time.Hour)
	for i := range c.count {
		b, err := m.Codec.Encode(at, map[string]any{"user": sessionUser(i)})
		if err != nil {
			return nil, err
		}
		if err := st.Commit(sessionToken(i), b, at); err != nil {
			return nil, err
		}
	}
	var all []float64
	for round := range min(c.slow, c.rounds) {
		user, n := sessionUser(2*round), 0
		start := time.Now()
		err := m.Iterate(context.Background(), func(ctx context.Context) error {
			if m.GetString(ctx, "user") != user {
				return nil
			}
			n++
			return m.Destroy(ctx)
		})
		all = append(all, float64(time.Since(start)))
		if err != nil {
			return nil, err
		}
		if n != 2 {
			return nil, fmt.Errorf("%d sessions of %s ended, want 2", n, user)
		}
	}
	return all, nil
}
