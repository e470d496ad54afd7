package auditlog

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// Report is what [Log.Verify] found.
type Report struct {
	Entries   int64 // how many entries there are
	First     int64 // the number of the oldest; those before it were pruned
	Head      Head  // the newest: worth noting elsewhere
	Signed    int64 // entries whose tag a key at hand has made
	Unsigned  int64 // entries without a tag: written without keys, or by somebody who has none
	Unknown   int64 // entries whose tag cannot be verified, as its key is not at hand
	Uncovered int64 // of the last two, those after the last signed entry: nothing says that they are unchanged

	// Strange counts entries which say that the one before them was signed by no key at
	// hand when they were written: added by somebody who has none, or the key was
	// exchanged without a time in which the old one was retiring. Those are left out for
	// which somebody has vouched who had the key: see [Log.Retired].
	Strange int64

	// Retired counts entries of a key that is not at hand behind the entry that vouched
	// for it when it was taken away: written by somebody whom it has leaked to, or by an
	// instance that was cut off from all others. RetiredAt is the first of them.
	Retired, RetiredAt int64

	// Broken is the first thing that is wrong; nil where nothing is.
	Broken *BrokenError
}

// Vouched tells whether every entry is genuine: signed by a key at hand, or by one that is
// gone and covered by one at hand.
func (r Report) Vouched() bool {
	return r.Broken == nil && r.Unsigned == 0 && r.Uncovered == 0 && r.Strange == 0 && r.Retired == 0
}

// BrokenError says where the chain is broken and how.
type BrokenError struct {
	Seq  int64 // the entry
	What string
}

func (e *BrokenError) Error() string { return fmt.Sprintf("entry %d: %s", e.Seq, e.What) }

// scanned is how many rows Verify reads at a time.
const scanned = 1000

// Verify reads the whole chain and says whether it is what was written. It may run
// beside writers, and judges what there was when it began. marks are heads that
// were noted earlier: each has to be in the chain. An error says that it could not be read.
func (l *Log) Verify(ctx context.Context, marks ...Head) (Report, error) {
	for n := 0; ; n++ {
		v := &verifier{log: l, marks: marks, strange: make(map[note]int64), retired: make(map[keyring.KeyID]bool)}
		err := v.run(ctx)
		if err != nil {
			return Report{}, fmt.Errorf("auditlog: verify: %w", err)
		}
		// Entries that were pruned meanwhile look as if they were removed.
		if v.report.Broken == nil || n == 3 {
			return v.report, nil
		}
		again := &verifier{log: l}
		if err := again.begin(ctx); err != nil {
			return Report{}, fmt.Errorf("auditlog: verify: %w", err)
		}
		if again.at.same(v.from) {
			return v.report, nil
		}
	}
}

// verifier is one run over the chain.
type verifier struct {
	log    *Log
	marks  []Head
	from   Head // the entry before the first
	at     Head // the entry that was looked at last
	report Report

	strange map[note]int64         // of Strange, those that somebody may vouch for
	retired map[keyring.KeyID]bool // keys that were vouched for by one at hand
}

// broken notes what is wrong, once.
func (v *verifier) broken(seq int64, format string, args ...any) {
	if v.report.Broken == nil {
		v.report.Broken = &BrokenError{seq, fmt.Sprintf(format, args...)}
	}
}

// begin finds where the chain begins: at the first entry, or where the last pruning
// says. That its entry is genuine is seen when the run comes to it.
func (v *verifier) begin(ctx context.Context) error {
	pruned, err := v.log.rows(ctx, v.log.sql.beginnings, []byte(event.AuditPruned))
	if err != nil || len(pruned) == 0 {
		return err
	}
	r := &pruned[0]
	details, err := decodeDetails(r.details)
	if err == nil {
		v.at.Seq, err = strconv.ParseInt(details["last"], 10, 64)
	}
	if err == nil {
		v.at.Hash, err = hex.DecodeString(details["hash"])
	}
	if err != nil {
		v.broken(r.Seq, "changed: it does not say where the chain begins")
		v.at = Head{}
	}
	return nil
}

func (v *verifier) run(ctx context.Context) error {
	end, err := v.log.readHead(ctx, v.log.db.Reader())
	if errors.Is(err, errNoHead) {
		v.broken(0, "the row of the head is missing")
		return nil
	}
	if err != nil {
		return err
	}
	if err := v.begin(ctx); err != nil {
		return err
	}
	v.from = v.at
	v.report.First = v.at.Seq + 1
	v.mark(v.at)
	for from := int64(math.MinInt64); v.report.Broken == nil; {
		rows, err := v.log.rows(ctx, v.log.sql.scan, from, end.Seq, scanned)
		if err != nil {
			return err
		}
		for i := range rows {
			v.entry(&rows[i])
		}
		if len(rows) < scanned {
			break
		}
		from = v.at.Seq + 1
	}
	v.end(end)
	return v.beyond(ctx, end)
}

// entry looks at the next row.
func (v *verifier) entry(r *row) {
	if v.report.Broken != nil {
		return
	}
	switch want := v.at.Seq + 1; {
	case r.Seq < want:
		v.broken(r.Seq, "inserted: the chain begins with entry %d", v.report.First)
	case r.Seq == want+1:
		v.broken(want, "removed")
	case r.Seq > want:
		v.broken(want, "removed, and with it all to entry %d", r.Seq-1)
	case r.odd || !bytes.Equal(r.digest(v.at.Hash), r.hash):
		v.broken(r.Seq, "changed, or the one before it is not the one that was")
	}
	if v.report.Broken != nil {
		return
	}
	v.at = Head{r.Seq, r.hash}
	v.report.Entries++
	what := v.log.chain.judge(r)
	v.handover(r, what)
	switch what {
	case genuine:
		v.report.Signed++
		v.report.Uncovered = 0
	case wrong:
		v.broken(r.Seq, "forged: its tag is not of the key that it names")
	case unsigned:
		v.report.Unsigned++
		v.report.Uncovered++
	case unknown:
		v.report.Unknown++
		v.report.Uncovered++
	}
	v.mark(v.at)
}

// handover follows what entries say of each other's keys. A handover that a key at hand has
// signed binds: what the other signs behind it is nobody's. That of a key that is gone may be
// of somebody whom it has leaked to, about the key that came next: it settles notes, and the
// entries behind it are held against those of who met them. That of a key which goes on with
// genuine entries is void.
func (v *verifier) handover(r *row, what verdict) {
	if what == genuine {
		delete(v.retired, keyring.KeyID(r.key))
	}
	if r.Kind == event.AuditFailed && r.Reason == strangeReason {
		v.report.Strange++
		if n, ok := noteOf(r); ok && !v.retired[n.about] && !v.retired[n.by] {
			v.strange[n]++
		}
	}
	if what == unknown && v.retired[keyring.KeyID(r.key)] {
		if v.report.Retired++; v.report.Retired == 1 {
			v.report.RetiredAt = r.Seq
		}
	}
	id, ok := v.log.chain.handsOver(r)
	if !ok || v.retired[keyring.KeyID(r.key)] {
		return
	}
	if what == genuine {
		v.retired[id] = true
	}
	for n, times := range v.strange {
		if n.settled(id, keyring.KeyID(r.key)) {
			v.report.Strange -= times
			delete(v.strange, n)
		}
	}
}

// mark holds noted heads against an entry.
func (v *verifier) mark(at Head) {
	for _, m := range v.marks {
		if m.Seq == at.Seq && m.Seq > 0 && !m.same(at) {
			v.broken(m.Seq, "not the one that was noted")
		}
	}
}

// end holds the last entry against the head, and against what was noted.
func (v *verifier) end(head Head) {
	v.report.Head = v.at
	switch {
	case v.at.Seq < head.Seq:
		v.broken(v.at.Seq+1, "removed, and with it all to entry %d", head.Seq)
	case !v.at.same(head):
		v.broken(head.Seq, "not the one that the head names")
	}
	for _, m := range v.marks {
		if m.Seq > v.at.Seq {
			v.broken(m.Seq, "removed: the chain ends with entry %d", v.at.Seq)
		} else if m.Seq > 0 && m.Seq < v.report.First-1 {
			v.broken(m.Seq, "was noted and has been pruned: note a newer one")
		}
	}
}

// beyond looks for entries behind the head. What was appended meanwhile has moved it.
func (v *verifier) beyond(ctx context.Context, end Head) error {
	if v.report.Broken != nil {
		return nil
	}
	// No number is out of reach: entries are shown by their time, whatever theirs is.
	rows, err := v.log.rows(ctx, v.log.sql.scan, end.Seq+1, int64(math.MaxInt64), 1)
	if err != nil || len(rows) == 0 {
		return err
	}
	now, err := v.log.readHead(ctx, v.log.db.Reader())
	if err == nil && now.Seq < rows[0].Seq {
		v.broken(rows[0].Seq, "inserted behind the head")
	}
	return err
}

// rows runs a query of all columns.
func (l *Log) rows(ctx context.Context, query string, args ...any) ([]row, error) {
	return allRows(ctx, l.db.Reader(), query, args...)
}

// allRows is rows within a transaction, or without.
func allRows(ctx context.Context, q sqlstore.Queryer, query string, args ...any) ([]row, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []row
	for rows.Next() {
		var r row
		if err := scan(rows, &r, true); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}
