package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A rotation takes three steps, between which every instance has to have read what
// the one before wrote (ASVS 13.3.4):
//
//	Announce   a new key is accepted everywhere, and signs nowhere
//	Activate   it signs; the old one is accepted until its last session is over
//	Prune      the old one is gone
//
// So at no moment does an instance meet a cookie under a key that it does not know.
// [Rollback] goes back from the second to the first. Each function returns the keys
// of the next state, and leaves those that it is given as they are.

// Announce returns the keys with a new one in the state [Next]. It is an error where
// there is one already.
func Announce(keys []Key, k Key) ([]Key, error) {
	if i := slices.IndexFunc(keys, inState(Next)); i >= 0 {
		return nil, fmt.Errorf("keyring: %v is next already; activate it, or retire it", keys[i])
	}
	return append(slices.Clone(keys), k.AsNext()), nil
}

// Activate returns the keys with the next one active, and the active one retiring
// until the given time: at least a lifetime of a session away, and nobody is signed
// out. Of several next keys it takes the one that was made first.
func Activate(keys []Key, until time.Time) ([]Key, error) {
	next := oldest(keys, Next)
	if next < 0 {
		return nil, errors.New("keyring: no key is next; announce one first")
	}
	out := slices.Clone(keys)
	for i, k := range out {
		if k.state == Active {
			out[i] = k.AsRetiring(until)
		}
	}
	out[next] = out[next].AsActive()
	return out, nil
}

// Rollback returns the keys with the key active that was before the present one, and
// the present one next: sessions that it has signed meanwhile go on.
func Rollback(keys []Key, now time.Time) ([]Key, error) {
	last := -1
	for i, k := range keys {
		if k.state == Retiring && now.Before(k.until) && (last < 0 || k.created.After(keys[last].created)) {
			last = i
		}
	}
	if last < 0 {
		return nil, errors.New("keyring: no key is retiring; there is nothing to go back to")
	}
	out := slices.Clone(keys)
	for i, k := range out {
		if k.state == Active {
			out[i] = k.AsNext()
		}
	}
	out[last] = out[last].AsActive()
	return out, nil
}

// Retire returns the keys with one of them accepted no more from the given time on:
// for the day that it leaks. In the place of the active key the next one signs, or a
// new one where there is none.
func Retire(keys []Key, id KeyID, now time.Time) ([]Key, error) {
	at := slices.IndexFunc(keys, func(k Key) bool { return k.ID() == id })
	if at < 0 {
		return nil, fmt.Errorf("keyring: there is no key %v; see cloakroom key list", id)
	}
	out := slices.Clone(keys)
	if keys[at].state == Active {
		if next := oldest(keys, Next); next >= 0 {
			out[next] = out[next].AsActive()
		} else {
			out = append(out, Generate())
		}
	}
	out[at] = out[at].AsRetiring(now)
	return out, nil
}

// Prune returns the keys without those that are accepted no more.
func Prune(keys []Key, now time.Time) []Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k Key) bool {
		return k.state == Retiring && !now.Before(k.until)
	})
}

func inState(s State) func(Key) bool { return func(k Key) bool { return k.state == s } }

// oldest returns the index of the key in this state that was made first, or -1.
func oldest(keys []Key, s State) int {
	first := -1
	for i, k := range keys {
		if k.state == s && (first < 0 || k.created.Before(keys[first].created)) {
			first = i
		}
	}
	return first
}

// Text returns what a key file with these keys holds, secrets included. It judges
// them as [New] does first.
func Text(keys []Key) ([]byte, error) {
	var b strings.Builder
	b.WriteString(heading)
	for _, k := range keys {
		b.WriteString(k.Text() + "\n")
	}
	if _, err := Read(strings.NewReader(b.String())); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// heading is the first line of what we write.
const heading = "# Keys of cloakroom, one a line. They are secret: keep them apart from the database's backups.\n"

// Edit changes the keys of a source: it reads them, has f change them, and writes
// what f returns; where somebody else was faster, again from the start. It returns
// the keys that the source holds now. If f returns the keys as they were, nothing is
// written.
func Edit(ctx context.Context, w Writer, f func([]Key) ([]Key, error)) ([]Key, error) {
	for range 10 {
		old, err := w.Read(ctx)
		if err != nil {
			return nil, err
		}
		keys, err := ReadKeys(bytes.NewReader(old))
		if err != nil {
			return nil, err
		}
		changed, err := f(slices.Clone(keys))
		if err != nil {
			return nil, err
		}
		if slices.EqualFunc(keys, changed, func(a, b Key) bool { return a.Text() == b.Text() }) {
			return changed, nil
		}
		text, err := Text(changed)
		if err != nil {
			return nil, err
		}
		if err = w.Write(ctx, old, text); err == nil {
			return changed, nil
		} else if !errors.Is(err, ErrChanged) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w, again and again; see who does", ErrChanged)
}
