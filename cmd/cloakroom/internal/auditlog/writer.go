package auditlog

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// write is the goroutine of a Log: it keeps what is in the queue until Close.
func (l *Log) write() {
	defer close(l.stopped)
	for {
		batch, more := l.take()
		if len(batch) > 0 {
			if !l.persist(batch) {
				return
			}
			continue
		}
		if !more {
			return
		}
		l.rest()
	}
}

// take takes a batch from the queue. The second result says whether there may be
// more to come.
func (l *Log) take() ([]*item, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.closed || l.flood.over(now) {
		l.roll(now)
	}
	if l.lost > 0 && !l.down && len(l.queue) < maxQueue {
		e := Entry{Time: stamp(now), Kind: event.AuditFailed, Reason: "queue full", Count: l.lost, Suspicious: true}
		l.queue = append(l.queue, &item{entry: e, told: make(chan struct{})})
		l.lost = 0
	}
	n := min(len(l.queue), maxBatch)
	batch := l.queue[:n:n]
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil // let go of what was there
	}
	l.room = n
	return batch, !l.closed
}

// rest waits until there is something to do.
func (l *Log) rest() {
	var due <-chan time.Time
	l.mu.Lock()
	if d, ok := l.flood.due(time.Now()); ok {
		t := time.NewTimer(d)
		defer t.Stop()
		due = t.C
	}
	l.mu.Unlock()
	select {
	case <-l.wake:
	case <-l.closing:
	case <-due:
	}
}

// persist keeps a batch, however often it takes, and tells those that wait. While
// the database is away nobody waits. It gives up only some time after Close, and
// then puts the batch back, for Close to count.
func (l *Log) persist(batch []*item) bool {
	id := make([]byte, 8)
	rand.Read(id)
	var giveUp <-chan time.Time
	closing := l.closing
	for n := 0; ; n++ {
		err := l.append(batch, id, n > 0)
		l.mu.Lock()
		for _, i := range batch {
			i.tell(err)
		}
		if err == nil {
			l.down, l.room = false, 0
			l.mu.Unlock()
			return true
		}
		if !l.down {
			l.down = true
			l.fail("append", len(batch)+len(l.queue), err)
			for _, i := range l.queue {
				i.tell(err)
			}
		}
		l.mu.Unlock()
		pause := time.After(min(100*time.Millisecond<<min(n, 10), backoff))
	waiting:
		for {
			select {
			case <-pause:
				break waiting
			case <-closing:
				closing, giveUp = nil, time.After(farewell)
				break waiting // once more at once
			case <-giveUp:
				l.mu.Lock()
				l.queue, l.room = append(batch, l.queue...), 0
				l.fail("close", len(l.queue)+l.lost, err)
				l.mu.Unlock()
				return false
			}
		}
	}
}

// append keeps a batch in one transaction. again says that it may have been kept
// already, by an attempt of which no answer came.
func (l *Log) append(batch []*item, id []byte, again bool) error {
	entries := make([]Entry, 0, len(batch)+1)
	for _, i := range batch {
		if i.entry.Kind != "" {
			entries = append(entries, i.entry)
		}
	}
	if len(entries) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), attempt)
	defer cancel()
	known := l.known
	var done *Head // of the attempt that was kept
	var mine bool  // it is of this attempt
	var back error
	var odd *Entry
	err := l.db.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		back, odd, mine = nil, nil, false
		at, err := l.lockHead(ctx, tx)
		if err != nil {
			return err
		}
		if again {
			if kept, err := l.kept(ctx, tx, known, id); err != nil || kept {
				done = &at
				return err
			}
		}
		all := entries
		if back, err = l.wentBack(ctx, tx, known, at); err != nil {
			return err
		}
		if back != nil {
			all = append([]Entry{{Time: stamp(time.Now()), Kind: event.AuditFailed, Reason: backReason, Count: 1, Suspicious: true,
				Details: map[string]string{"known": known.String(), "found": at.String()}}}, entries...)
		}
		if !at.same(l.signed) {
			odd, err = l.stranger(ctx, tx, at)
			if err != nil {
				return err
			}
			if odd != nil {
				all = append([]Entry{*odd}, all...)
			}
		}
		at, err = l.insert(ctx, tx, at, all, id)
		done, mine = &at, true
		return err
	})
	if err != nil {
		return err
	}
	l.complain(back, odd)
	if l.known = *done; mine {
		l.signed = *done
	}
	return nil
}

// kept tells whether a batch stands behind the entry that was the newest before it.
func (l *Log) kept(ctx context.Context, tx sqlstore.Queryer, known Head, id []byte) (bool, error) {
	var n int
	err := tx.QueryRowContext(ctx, l.sql.batchOf, known.Seq, id).Scan(&n)
	return n > 0, err
}

// complain writes the lines of what was found wrong with the chain, if anything.
func (l *Log) complain(back error, odd *Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if back != nil {
		l.fail("verify", 1, back)
	}
	if odd != nil && odd.Suspicious {
		l.fail("verify", 1, fmt.Errorf("auditlog: entry %s is not signed by a key at hand: it was added from outside, or its key was not kept as retiring", odd.Details["found"]))
	}
}

// strangeReason is why an entry of the kind audit_failed says that others were appended behind
// one whose tag was of no key at hand.
const strangeReason = "newest entry of no key at hand"

// backReason is why one says that the entry is gone that its writer knew as the newest.
const backReason = "head moved back"

// stranger looks at the newest entry, which this process has not written: the
// entries that follow cover it, and it may be of somebody who has no key. One that is
// signed by no key at hand is told of by the entry that it returns; for one without
// a tag there is no need, as Verify counts it for ever.
func (l *Log) stranger(ctx context.Context, tx sqlstore.Queryer, at Head) (*Entry, error) {
	if l.chain.ring == nil || at.Seq == 0 {
		return nil, nil
	}
	r := row{hash: at.Hash}
	found, err := l.tagOf(ctx, tx, at.Seq, &r)
	if err != nil || !found {
		return nil, err // removed, as Verify sees from the number
	}
	switch l.chain.judge(&r) {
	case unsigned:
		return nil, nil
	case genuine:
		if over, err := l.over(ctx, tx, r.key); err != nil || !over {
			return nil, err
		}
	}
	return l.strange(ctx, tx, at, r.key)
}

// insert appends entries behind at, and returns the new head.
func (l *Log) insert(ctx context.Context, tx sqlstore.Queryer, at Head, entries []Entry, batch []byte) (Head, error) {
	var args []any
	for i, e := range entries {
		details, err := encodeDetails(e.Details)
		if err != nil {
			return at, err
		}
		e.Seq = at.Seq + 1
		r := row{Entry: e, details: details, batch: batch}
		l.chain.seal(&r, at.Hash)
		at = Head{r.Seq, r.hash}
		args = append(args, r.Seq, r.Time.UnixMilli(), []byte(r.Kind), number(r.Suspicious),
			[]byte(r.User), []byte(r.Account), []byte(r.Actor), []byte(r.Name), []byte(r.Addr), []byte(r.Session),
			[]byte(r.Request), []byte(r.Reason), int64(r.Count), r.details, r.batch, r.key, r.hash, r.tag)
		if n := len(args) / columns; n == perInsert || i == len(entries)-1 {
			if _, err := tx.ExecContext(ctx, l.sql.insert[n], args...); err != nil {
				return at, err
			}
			args = args[:0]
		}
	}
	_, err := tx.ExecContext(ctx, l.sql.setHead, at.Seq, at.Hash)
	return at, err
}

// errNoHead says that somebody has removed the row of the head.
var errNoHead = errors.New("auditlog: the row of the head is missing: restore the table cloakroom_audit_head")

// lockHead reads the head, and keeps every other writer waiting until the
// transaction ends. The update comes before the read: of two that read first, a
// database would have to undo one.
func (l *Log) lockHead(ctx context.Context, tx sqlstore.Queryer) (Head, error) {
	if _, err := tx.ExecContext(ctx, l.sql.lock); err != nil {
		return Head{}, err
	}
	return l.readHead(ctx, tx)
}

func (l *Log) readHead(ctx context.Context, q sqlstore.Queryer) (h Head, err error) {
	err = q.QueryRowContext(ctx, l.sql.head).Scan(&h.Seq, &h.Hash)
	if errors.Is(err, sql.ErrNoRows) {
		return h, errNoHead
	}
	return h, err
}

// wentBack returns what is wrong if the chain no longer has the entry that this
// process knew as the newest one.
func (l *Log) wentBack(ctx context.Context, tx sqlstore.Queryer, known, at Head) (back, err error) {
	if known.Seq == 0 || at.same(known) {
		return nil, nil
	}
	if at.Seq > known.Seq {
		found := Head{Seq: known.Seq}
		err := tx.QueryRowContext(ctx, l.sql.hashOf, known.Seq).Scan(&found.Hash)
		if err == nil && found.same(known) {
			return nil, nil
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		var oldest int64
		if err := tx.QueryRowContext(ctx, l.sql.oldest).Scan(&oldest); err != nil {
			return nil, err
		}
		if found.Hash == nil && oldest > known.Seq {
			return nil, nil // pruned
		}
	}
	return fmt.Errorf("auditlog: entry %s is no longer in the chain, which ends with %s: entries were changed or removed from outside, or a backup was restored", known, at), nil
}
