package auditlog

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// pruned is how many entries go in one transaction, so that no other waits long.
const pruned = 2000

// Prune removes the oldest entries, up to the first that is not older than before, and
// returns how many that were. An entry of the kind audit_pruned takes the place of
// those that go at once: it says with which number and hash they ended, so that the chain
// remains verifiable. Several processes may prune. The newest entry always stays.
func (l *Log) Prune(ctx context.Context, before time.Time) (int, error) {
	total := 0
	for {
		n, err := l.prune(ctx, before)
		if err != nil {
			return total, fmt.Errorf("auditlog: prune: %w", err)
		}
		if total += n; n < pruned {
			break
		}
	}
	if total > 0 {
		l.mu.Lock()
		next := l.next
		l.mu.Unlock()
		if next != nil {
			event.Log(ctx, slog.New(next), slog.LevelInfo, event.AuditPruned, slog.Int("count", total))
		}
	}
	return total, nil
}

// prune removes a few.
func (l *Log) prune(ctx context.Context, before time.Time) (n int, err error) {
	// Whether there is anything to do is asked without keeping writers waiting.
	if n, _, err := l.old(ctx, l.db.Reader(), before); err != nil || n == 0 {
		return 0, err
	}
	var gone int
	err = l.db.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		gone = 0
		at, err := l.lockHead(ctx, tx)
		if err != nil {
			return err
		}
		n, last, err := l.old(ctx, tx, before)
		if err != nil || n == 0 {
			return err
		}
		gone = n
		e := Entry{Time: stamp(time.Now()), Kind: event.AuditPruned, Count: 1, Details: map[string]string{
			"count": strconv.Itoa(n), "last": strconv.FormatInt(last.Seq, 10), "hash": fmt.Sprintf("%x", last.Hash),
		}}
		entries := []Entry{e}
		odd, err := l.stranger(ctx, tx, at)
		if err != nil {
			return err
		}
		if odd != nil {
			entries = []Entry{*odd, e}
		}
		if _, err := l.insert(ctx, tx, at, entries, []byte{}); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, l.sql.remove, last.Seq)
		return err
	})
	if err != nil {
		return 0, err
	}
	return gone, nil
}

// old returns how many entries at the beginning of the chain are older, at most those
// of one turn, and the last of them.
func (l *Log) old(ctx context.Context, q sqlstore.Queryer, before time.Time) (n int, last Head, err error) {
	rows, err := q.QueryContext(ctx, l.sql.first, pruned+1)
	if err != nil {
		return 0, last, err
	}
	defer rows.Close()
	var prev Head
	for rows.Next() {
		var h Head
		var ms int64
		if err := rows.Scan(&h.Seq, &ms, &h.Hash); err != nil {
			return 0, last, err
		}
		if prev.Seq != 0 {
			// The last one that was read may be the newest: it stays.
			n, last = n+1, prev
		}
		if ms >= before.UnixMilli() {
			return n, last, rows.Err()
		}
		prev = h
	}
	return n, last, rows.Err()
}
