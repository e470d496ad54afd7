package auditlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// handedOver tells whether somebody has vouched for a key whose word counts: who signs now,
// or else any key at hand. One that was at hand then and leaked later vouches for keys that
// never ended.
func (l *Log) handedOver(ctx context.Context, tx sqlstore.Queryer, key keyring.KeyID, now bool) (bool, error) {
	retired, err := l.ofKind(ctx, tx, event.KeyRetired)
	for i := range retired {
		r := &retired[i]
		if id, ok := l.chain.handsOver(r); !ok || id != key {
			continue
		}
		if l.chain.ring == nil || l.chain.judge(r) == genuine && (!now || l.chain.signs(r.key)) {
			return true, nil
		}
	}
	return false, err
}

// signs tells whether new entries are signed with a key.
func (c chain) signs(key []byte) bool {
	if c.ring == nil {
		return false
	}
	id := c.ring.Active()
	return bytes.Equal(key, id[:])
}

// over tells whether an entry of a key at hand stands behind the handover of that key, with
// which nobody signs by mistake any more, whoever takes it still.
func (l *Log) over(ctx context.Context, tx sqlstore.Queryer, key []byte) (bool, error) {
	if l.chain.signs(key) {
		return false, nil
	}
	return l.handedOver(ctx, tx, keyring.KeyID(key), true)
}

// ErrLate is why Retired does not vouch for a key unless it is insisted.
var ErrLate = errors.New("auditlog: the log may have been written anew with the key since that ended")

// late returns what keeps somebody from vouching for a key some time after it ended: with the
// key that leaked the log can be written anew, from before the end on, and what then stands
// there is of the key as well. The time of those entries is whatever their writer says; that
// of who met them is not.
func (l *Log) late(ctx context.Context, tx sqlstore.Queryer, r Retirement, at Head) (doubt, err error) {
	if r.Again {
		return fmt.Errorf("%w: it was handed over from the key %v before, and does not say so any more: entries were removed from outside, or a backup was restored", ErrLate, r.Key), nil
	}
	if r.Ended.IsZero() {
		return nil, nil
	}
	last := r.Ended.Add(Hurry)
	failed, err := l.ofKind(ctx, tx, event.AuditFailed)
	if err != nil {
		return nil, err
	}
	for i := range failed {
		e := &failed[i]
		if l.chain.judge(e) != genuine || bytes.Equal(e.key, r.Key[:]) {
			continue
		}
		if n, ok := noteOf(e); ok && n.about == r.Key && e.Time.After(last) {
			return fmt.Errorf("%w: entry %d tells of one of the key %v that came long after its end", ErrLate, e.Seq, r.Key), nil
		}
		if e.Reason == backReason && e.Time.After(r.Ended) {
			return fmt.Errorf("%w: entry %d tells that entries were removed after the end of the key %v, or a backup was restored", ErrLate, e.Seq, r.Key), nil
		}
	}
	var of row
	if found, err := l.tagOf(ctx, tx, at.Seq, &of); err != nil || !found {
		return nil, err
	}
	if bytes.Equal(of.key, r.Key[:]) && time.Now().After(last) {
		return fmt.Errorf("%w: entry %d, the newest, is of the key %v, and nobody has met it before its end", ErrLate, at.Seq, r.Key), nil
	}
	return nil, nil
}

// unvouched makes the entry that tells of a newest entry of a key that nobody vouches for.
func (l *Log) unvouched(ctx context.Context, tx sqlstore.Queryer, at Head, key keyring.KeyID) (*Entry, error) {
	var of row
	if found, err := l.tagOf(ctx, tx, at.Seq, &of); err != nil || !found || !bytes.Equal(of.key, key[:]) {
		return nil, err
	}
	e, err := l.strange(ctx, tx, at, key[:])
	if e != nil {
		e.Suspicious = true
	}
	return e, err
}

// Awaits tells whether entries of a key that has ended are for [Log.Retired] to vouch for:
// with the key gone, nothing would say any more that they are genuine. So it is when the key
// was taken away from one moment to the next, and somebody went on with it or did not follow.
func (l *Log) Awaits(ctx context.Context, id keyring.KeyID) (bool, error) {
	awaits, err := l.awaits(ctx, l.db.Reader(), id)
	if err != nil {
		return false, fmt.Errorf("auditlog: what a key has signed: %w", err)
	}
	return awaits, nil
}

func (l *Log) awaits(ctx context.Context, tx sqlstore.Queryer, id keyring.KeyID) (bool, error) {
	if done, err := l.handedOver(ctx, tx, id, false); done || err != nil {
		return false, err
	}
	retired, err := l.ofKind(ctx, tx, event.KeyRetired)
	if err != nil {
		return false, err
	}
	for i := range retired {
		if d, err := decodeDetails(retired[i].details); err == nil && d["key"] == id.String() && l.chain.judge(&retired[i]) == genuine {
			return true, nil
		}
	}
	notes, err := l.ofKind(ctx, tx, event.AuditFailed)
	if err != nil {
		return false, err
	}
	for i := range notes {
		if n, ok := noteOf(&notes[i]); ok && n.about == id && n.by != id && l.chain.judge(&notes[i]) == genuine {
			return true, nil
		}
	}
	at, err := l.readHead(ctx, tx)
	if errors.Is(err, errNoHead) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var of row
	found, err := l.tagOf(ctx, tx, at.Seq, &of)
	return found && bytes.Equal(of.key, id[:]), err
}

// tagOf reads the key and the tag of an entry, if it is there.
func (l *Log) tagOf(ctx context.Context, tx sqlstore.Queryer, seq int64, r *row) (found bool, err error) {
	rows, err := tx.QueryContext(ctx, l.sql.tagOf, seq)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return false, rows.Err()
	}
	return true, rows.Scan(&r.key, &r.tag)
}
