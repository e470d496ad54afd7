package keyring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Announce returns the keys with a new one in the state [Next]. It is an error where
// there is one already, and where there are [MaxKeys]: none is dropped to make room, as
// sessions may depend on each.
func Announce(keys []Key, k Key) ([]Key, error) {
	if i := slices.IndexFunc(keys, inState(Next)); i >= 0 {
		return nil, fmt.Errorf("keyring: %v is next already; activate it, or retire it", keys[i])
	}
	if len(keys) >= MaxKeys {
		return nil, fmt.Errorf("keyring: there are %d keys, as many as may be; prune those that have retired, and rotate less often", len(keys))
	}
	return append(slices.Clone(keys), k.AsNext()), nil
}

// Activate returns the keys with the next one active, and the active one retiring
// until the given time: at least a lifetime of a session away, and as much more as the
// instances take to read it, and nobody is signed out. Of several next keys it takes the
// one that was made first.
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
// the present one next: sessions that it has signed meanwhile go on. It goes back to
// the youngest of the keys that are retiring and still accepted.
func Rollback(keys []Key, now time.Time) ([]Key, error) {
	last := -1
	for i, k := range keys {
		if k.state != Retiring || k.Info().Ended(now) {
			continue
		}
		// Of two that were made in the same second the later one retires for longer.
		if last < 0 || cmp.Or(k.created.Compare(keys[last].created), k.until.Compare(keys[last].until)) > 0 {
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

// maxSkew is how far the clocks of instances may be apart.
const maxSkew = 5 * time.Minute

// Retire returns the keys with one of them accepted no more: for the day that it
// leaks. It retires until five minutes before now, so that it has ended at an instance
// whose clock is behind as well. In the place of the active key the next one signs, or
// a new one where there is none. The key stays among the others until [Prune], so that
// a ring still knows whose it was. Where there are [MaxKeys] none of which has ended, the
// one that ends first makes room for the new one.
func Retire(keys []Key, id KeyID, now time.Time) ([]Key, error) {
	at := slices.IndexFunc(keys, func(k Key) bool { return k.ID() == id })
	if at < 0 {
		return nil, fmt.Errorf("keyring: there is no key %v; see cloakroom key list", id)
	}
	out := slices.Clone(keys)
	until := now.Add(-maxSkew)
	switch k := keys[at]; {
	case k.state == Retiring && k.until.Before(until):
		return out, nil // it has ended before
	case k.state == Active:
		if next := oldest(keys, Next); next >= 0 {
			out[next] = out[next].AsActive()
		} else {
			out = append(out, Generate())
		}
	}
	out[at] = out[at].AsRetiring(until)
	// A full ring is no reason to keep a key that leaked: what has ended goes, else what
	// ends first.
	if len(out) > MaxKeys {
		out = slices.DeleteFunc(out, func(k Key) bool { return k.ID() != id && k.Info().Ended(now) })
	}
	if len(out) > MaxKeys {
		first := -1
		for i, k := range out {
			if k.state == Retiring && k.ID() != id && (first < 0 || k.until.Before(out[first].until)) {
				first = i
			}
		}
		if first >= 0 {
			out = slices.Delete(out, first, first+1)
		}
	}
	return out, nil
}

// Prune returns the keys without those that are accepted no more: for programs that rotate
// with [Edit]. The service asks first whether anything needs a key, and leaves it some minutes
// more for clocks that differ.
func Prune(keys []Key, now time.Time) []Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k Key) bool { return k.Info().Ended(now) })
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
func Text(keys []Key) ([]byte, error) { return rewrite([]byte(heading), keys) }

// heading is the first line of what we write.
const heading = "# Keys of cloakroom, one a line. They are secret: keep them apart from the database's backups.\n"

// rewrite returns the text with these keys in it, judged. A key that it held stays
// where it was, new ones come behind; comments and empty lines stay.
func rewrite(old []byte, keys []Key) ([]byte, error) {
	rest := slices.Clone(keys)
	var b strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(string(old), "\ufeff")) {
		line = strings.Trim(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			b.WriteString(line + "\n")
			continue
		}
		// Of what was no key line, a bare secret, nothing stays.
		was, err := parseKey(line)
		i := slices.IndexFunc(rest, func(k Key) bool { return k.ID() == was.ID() })
		if err == nil && i >= 0 {
			b.WriteString(rest[i].Text() + "\n")
			rest = slices.Delete(rest, i, i+1)
		}
	}
	for _, k := range rest {
		b.WriteString(k.Text() + "\n")
	}
	if _, err := Read(strings.NewReader(b.String())); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// editTries is how often Edit begins anew before it gives up: in all it waits for a
// quarter of a minute.
const editTries = 40

// Edit changes the keys of a source: it reads them, has f change them, and writes
// what f returns. Where somebody else was faster it begins anew, after a moment, and
// calls f again with what they are now. It returns the keys that the source holds then,
// in the order of f. If f returns the keys as they were, nothing is written. Comments
// stay. A bare secret becomes a key line.
func Edit(ctx context.Context, w Writer, f func([]Key) ([]Key, error)) ([]Key, error) {
	for try := range editTries {
		if try > 0 {
			// Each waits differently long, so that they do not meet again.
			pause := min(time.Millisecond<<try, 500*time.Millisecond)
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("%w: %w", ErrChanged, ctx.Err())
			case <-time.After(pause/2 + rand.N(pause)):
			}
		}
		old, err := w.Read(ctx)
		if err != nil {
			return nil, err
		}
		keys, err := readKeysOf(w, old)
		if err != nil {
			return nil, err
		}
		changed, err := f(slices.Clone(keys))
		if err != nil {
			return nil, err
		}
		if slices.EqualFunc(keys, changed, equal) {
			return changed, nil
		}
		text, err := rewrite(old, changed)
		if err != nil {
			return nil, err
		}
		if err = w.Write(ctx, old, text); err == nil {
			return changed, nil
		} else if !errors.Is(err, ErrChanged) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w, at each of %d attempts; see what else writes there", ErrChanged, editTries)
}
