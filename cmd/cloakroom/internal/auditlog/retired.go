package auditlog

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// vouched is the attribute of an entry of the kind key_retired that says up to which
// number the entries of the key have been verified by somebody who had it. Only Retired
// writes it.
const vouched = "vouched"

// Hurry is how long after the end of a key entries of it are no cause for alarm: an
// instance that had not heard of it may have written them. They are noted all the same. It
// is some minutes longer than that takes, as the end of a key that was taken away is set to
// minutes before, for clocks that are behind.
const Hurry = 12 * time.Minute

// A Retirement is a key that was taken away.
type Retirement struct {
	Key   keyring.KeyID
	Actor string
	Count int // sessions that ended with it; below zero where nobody knows

	// Ended is when the key ended, as the keys say: that stands elsewhere than the log. What
	// was signed with it long after that is vouched for by nobody. Zero: but now.
	Ended time.Time

	// Again says that the log was handed over before, as somebody remembers elsewhere. If it
	// does not say so itself, it is not the one that was.
	Again bool

	// Insist vouches all the same: for a key that was taken away by hand long ago, or a log
	// that is an older one.
	Insist bool
}

// Retired appends the entry of the kind key_retired, and hands the log over: what the key
// has signed until now is verified once more, here, by a Log whose ring still takes it,
// and is bound by an entry of the key that signs from now on. Verify then takes for genuine
// what it had signed before, and for nobody's what it signs behind that entry: to append
// there takes no more than the key that leaked. So it is called when no instance signs with
// the key any more.
//
// It vouches for a key once, and does nothing from then on. It does not vouch where entries
// name the key and are not of it; nor, unless r insists, where the log may have been written
// anew with the key since it ended. Then the entry is kept, and the error says why.
func (l *Log) Retired(ctx context.Context, r Retirement) error {
	if err := l.Flush(ctx); err != nil {
		return fmt.Errorf("auditlog: retire a key: %w", err)
	}
	if l.Signs() && (!l.chain.ring.Accepts(r.Key) || l.chain.ring.Active() == r.Key) {
		return fmt.Errorf("auditlog: retire a key: the ring has to hold %v, and to sign with another", r.Key)
	}
	var doubt error
	err := l.db.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		at, err := l.lockHead(ctx, tx)
		if err != nil {
			return err
		}
		e := Entry{Time: stamp(time.Now()), Kind: event.KeyRetired, Actor: r.Actor, Count: 1, Details: map[string]string{"key": r.Key.String()}}
		if r.Count >= 0 {
			e.Details["count"] = strconv.Itoa(r.Count)
		}
		done, odds, err := l.doubts(ctx, tx, r.Key)
		if doubt = odds; err != nil || done {
			return err
		}
		if doubt == nil && !r.Insist {
			if doubt, err = l.late(ctx, tx, r, at); err != nil {
				return err
			}
		}
		if l.Signs() && doubt == nil {
			e.Details[vouched] = strconv.FormatInt(at.Seq, 10)
		}
		entries := []Entry{e}
		// Behind it: what is found now is not vouched for.
		odd, err := l.stranger(ctx, tx, at)
		if err == nil && odd == nil && doubt != nil {
			odd, err = l.unvouched(ctx, tx, at, r.Key) // nor does this entry bind it
		}
		if err != nil {
			return err
		}
		if odd != nil {
			entries = append(entries, *odd)
		}
		_, err = l.insert(ctx, tx, at, entries, []byte{})
		return err
	})
	if err != nil {
		return fmt.Errorf("auditlog: retire a key: %w", err)
	}
	return doubt
}

// doubts looks at what was noted about entries of a key: each has to be of it. done says
// that somebody has vouched for the key before; what was noted since stays.
func (l *Log) doubts(ctx context.Context, tx sqlstore.Queryer, key keyring.KeyID) (done bool, doubt, err error) {
	if done, err = l.handedOver(ctx, tx, key, true); done || err != nil {
		return done, nil, err
	}
	notes, err := l.ofKind(ctx, tx, event.AuditFailed)
	if err != nil {
		return false, nil, err
	}
	for i := range notes {
		if n, ok := noteOf(&notes[i]); !ok || !n.settled(key, l.chain.ring.Active()) {
			continue
		}
		found, err := foundBy(&notes[i])
		if err != nil {
			return false, err, nil
		}
		r := row{hash: found.Hash}
		there, err := l.tagOf(ctx, tx, found.Seq, &r)
		if err != nil {
			return false, nil, err
		}
		if !there {
			continue // pruned, or removed, as Verify sees from the number
		}
		if l.chain.judge(&r) != genuine {
			return false, fmt.Errorf("auditlog: entry %d is not signed by the key that it names: it was added from outside", found.Seq), nil
		}
	}
	return false, nil, nil
}

// ofKind returns all entries of a kind of which there are few.
func (l *Log) ofKind(ctx context.Context, tx sqlstore.Queryer, kind string) ([]row, error) {
	return allRows(ctx, tx, l.sql.ofKind, []byte(kind))
}

// handsOver returns the key that an entry vouches for. It does so for another key than its
// own, else who has a key that leaked could vouch for themselves.
func (c chain) handsOver(r *row) (keyring.KeyID, bool) {
	if r.Kind != event.KeyRetired || len(r.key) == 0 || c.judge(r) == wrong {
		return keyring.KeyID{}, false
	}
	d, err := decodeDetails(r.details)
	if err != nil || d[vouched] == "" {
		return keyring.KeyID{}, false
	}
	id, err := keyring.ParseKeyID(d["key"])
	return id, err == nil && string(id[:]) != string(r.key)
}

// note is what an entry says that tells of a stranger.
type note struct {
	about, by keyring.KeyID // the key that the stranger names, and that of the entry
}

func noteOf(r *row) (n note, ok bool) {
	if r.Kind != event.AuditFailed || r.Reason != strangeReason || len(r.key) != len(n.by) {
		return n, false
	}
	d, err := decodeDetails(r.details)
	if err == nil {
		n.about, err = keyring.ParseKeyID(d["key"])
	}
	n.by = keyring.KeyID(r.key)
	return n, err == nil
}

// settled tells whether somebody who hands over from one key to the next has looked at
// the entry that a note is about: at those of the one, whoever met them, and at those of the
// next where who had the one alone met them.
func (n note) settled(from, to keyring.KeyID) bool {
	return n.about == from || n.about == to && n.by == from
}

// foundBy returns the entry that such an entry is about.
func foundBy(r *row) (Head, error) {
	d, err := decodeDetails(r.details)
	if err == nil {
		var h Head
		if h, err = ParseHead(d["found"]); err == nil {
			return h, nil
		}
	}
	return Head{}, fmt.Errorf("auditlog: entry %d does not say which entry it is about", r.Seq)
}

// hurried tells whether the ring holds the key, and ceased to take it but now.
func (c chain) hurried(key []byte) bool {
	if len(key) != len(keyring.KeyID{}) {
		return false
	}
	for _, k := range c.ring.Keys() {
		if k.ID == keyring.KeyID(key) {
			since := time.Since(k.Until)
			return k.State == keyring.Retiring && since >= 0 && since < Hurry
		}
	}
	return false
}

// strange makes the entry that tells of a newest entry of no key at hand.
func (l *Log) strange(ctx context.Context, tx sqlstore.Queryer, at Head, key []byte) (*Entry, error) {
	e := &Entry{Time: stamp(time.Now()), Kind: event.AuditFailed, Reason: strangeReason, Count: 1, Suspicious: true,
		Details: map[string]string{"found": at.String(), "key": hex.EncodeToString(key[:min(len(key), 8)])}}
	if !l.chain.hurried(key) {
		return e, nil
	}
	// Behind the handover nobody signs with it by mistake.
	done, err := l.handedOver(ctx, tx, keyring.KeyID(key), true)
	e.Suspicious = done
	return e, err
}

// CountByKey returns how many entries each key has signed.
func (l *Log) CountByKey(ctx context.Context) (map[keyring.KeyID]int, error) {
	rows, err := l.db.Reader().QueryContext(ctx, l.sql.byKey)
	if err != nil {
		return nil, fmt.Errorf("auditlog: count by key: %w", err)
	}
	defer rows.Close()
	counts := make(map[keyring.KeyID]int)
	for rows.Next() {
		var key []byte
		var n int
		if err := rows.Scan(&key, &n); err != nil {
			return nil, fmt.Errorf("auditlog: count by key: %w", err)
		}
		if len(key) == len(keyring.KeyID{}) {
			counts[keyring.KeyID(key)] = n
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("auditlog: count by key: %w", err)
	}
	return counts, nil
}
