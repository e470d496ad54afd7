package auditlog_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// verify verifies the chain.
func verify(t testing.TB, db database, keys *keyring.Ring, marks ...auditlog.Head) auditlog.Report {
	t.Helper()
	l, err := auditlog.Open(t.Context(), db, keys)
	must(t, err)
	defer l.Close()
	r, err := l.Verify(t.Context(), marks...)
	must(t, err)
	return r
}

// whole checks that the chain is whole and signed.
func whole(t testing.TB, r auditlog.Report, entries int64) {
	t.Helper()
	if !r.Vouched() || r.Entries != entries {
		t.Fatalf("got %+v, %v, want %d entries, all signed", r, r.Broken, entries)
	}
}

// fill keeps n logins, each in a transaction of its own.
func fill(t testing.TB, db database, keys *keyring.Ring, n int) {
	t.Helper()
	l, log := open(t, db, keys)
	for i := range n {
		login(log, fmt.Sprint("user", i))
	}
	must(t, l.Close())
}

// change runs a statement of somebody who can write to the database.
func change(t testing.TB, db database, statement string, args ...any) {
	t.Helper()
	n, err := db.Exec(t.Context(), db.Dialect().SQL(statement), args...)
	must(t, err)
	if n == 0 {
		t.Fatalf("%s changed nothing", statement)
	}
}

// TestASVS_16_4_2_ChangesAreFound: whoever writes to the database without a key is
// found, and where.
func TestASVS_16_4_2_ChangesAreFound(t *testing.T) { each(t, proveChangesAreFound) }

func proveChangesAreFound(t *testing.T, db database) {
	keys := ring(t)
	fill(t, db, keys, 9)
	noted := verify(t, db, keys)
	whole(t, noted, 9)
	copyTable := func(from, to string) {
		for _, table := range []string{"cloakroom_audit", "cloakroom_audit_head"} {
			if _, err := db.Exec(t.Context(), "CREATE TABLE "+table+to+" AS SELECT * FROM "+table+from); err != nil {
				t.Fatal(err)
			}
		}
	}
	copyTable("", "_kept")
	restore := func() {
		for _, table := range []string{"cloakroom_audit", "cloakroom_audit_head"} {
			if _, err := db.Exec(t.Context(), "DELETE FROM "+table); err != nil {
				t.Fatal(err)
			}
			change(t, db, "INSERT INTO "+table+" SELECT * FROM "+table+"_kept")
		}
	}
	const insertAs = `INSERT INTO cloakroom_audit SELECT %s, time_ms, kind, suspicious, user_id, account, actor, name, addr, session_id,
		request_id, reason, times, details, batch, key_id, hash, tag FROM cloakroom_audit_kept WHERE seq = %d`
	for _, tc := range []struct {
		name, want string
		statements []string
	}{
		{"delete", "entry 5: removed", []string{"DELETE FROM cloakroom_audit WHERE seq = 5"}},
		{"delete several", "entry 5: removed, and with it all to entry 6", []string{"DELETE FROM cloakroom_audit WHERE seq IN (5, 6)"}},
		{"delete the first", "entry 1: removed", []string{"DELETE FROM cloakroom_audit WHERE seq = 1"}},
		{"truncate", "entry 8: removed, and with it all to entry 9", []string{"DELETE FROM cloakroom_audit WHERE seq > 7"}},
		{"delete all", "entry 1: removed, and with it all to entry 9", []string{"DELETE FROM cloakroom_audit"}},
		{"insert", "entry 10: inserted behind the head", []string{fmt.Sprintf(insertAs, "10", 9)}},
		{"insert before", "entry 0: inserted", []string{fmt.Sprintf(insertAs, "0", 9)}},
		{"insert long before", "entry -7: inserted", []string{fmt.Sprintf(insertAs, "-7", 9)}},
		{"insert as the first of all numbers", "entry -9223372036854775808: inserted", []string{fmt.Sprintf(insertAs, "-9223372036854775808", 9)}},
		{"insert as the last of all numbers", "entry 9223372036854775807: inserted behind the head", []string{fmt.Sprintf(insertAs, "9223372036854775807", 9)}},
		{"reorder", "entry 4: changed", []string{
			"UPDATE cloakroom_audit SET seq = 100 WHERE seq = 4", "UPDATE cloakroom_audit SET seq = 4 WHERE seq = 5", "UPDATE cloakroom_audit SET seq = 5 WHERE seq = 100"}},
		{"close the gap", "entry 5: changed", []string{"DELETE FROM cloakroom_audit WHERE seq = 5", "UPDATE cloakroom_audit SET seq = 5 WHERE seq = 6"}},
		{"head lost", "entry 0: the row of the head is missing", []string{"DELETE FROM cloakroom_audit_head"}},
		{"head ahead", "entry 10: removed", []string{"UPDATE cloakroom_audit_head SET seq = 11"}},
		{"head's hash", "entry 9: not the one that the head names", []string{"UPDATE cloakroom_audit_head SET hash = (SELECT hash FROM cloakroom_audit WHERE seq = 3)"}},
		{"truncate with the head", "entry 9: removed: the chain ends with entry 7", []string{
			"DELETE FROM cloakroom_audit WHERE seq > 7",
			"UPDATE cloakroom_audit_head SET seq = 7, hash = (SELECT hash FROM cloakroom_audit WHERE seq = 7)"}},
		{"a tag of another", "entry 4: forged", []string{"UPDATE cloakroom_audit SET tag = (SELECT tag FROM cloakroom_audit_kept WHERE seq = 5) WHERE seq = 4"}},
		{"a tag of none", "entry 4: ", []string{"UPDATE cloakroom_audit SET tag = '' WHERE seq = 4"}},
	} {
		for _, s := range tc.statements {
			change(t, db, s)
		}
		r := verify(t, db, keys, noted.Head)
		if r.Broken == nil || !strings.HasPrefix(r.Broken.Error(), tc.want) {
			t.Errorf("%s: got %v, want %s", tc.name, r.Broken, tc.want)
		}
		restore()
	}
	for _, column := range []string{"kind", "user_id", "account", "actor", "name", "addr", "session_id", "request_id", "reason", "details", "batch", "key_id", "hash"} {
		change(t, db, "UPDATE cloakroom_audit SET "+column+" = ? WHERE seq = 4", []byte("x"))
		changedAt(t, verify(t, db, keys), 4, column)
		restore()
	}
	for _, column := range []string{"time_ms", "suspicious", "times"} {
		change(t, db, "UPDATE cloakroom_audit SET "+column+" = "+column+" + 2 WHERE seq = 4")
		changedAt(t, verify(t, db, keys), 4, column)
		restore()
	}
	whole(t, verify(t, db, keys, noted.Head, auditlog.Head{}), 9)
}

func changedAt(t *testing.T, r auditlog.Report, seq int64, what string) {
	t.Helper()
	if r.Broken == nil || r.Broken.Seq != seq || !strings.HasPrefix(r.Broken.What, "changed") {
		t.Errorf("%s: got %v, want entry %d changed", what, r.Broken, seq)
	}
}

// SQLite keeps any type in any column: a text in the place of bytes is found by no query.
func TestASVS_16_4_2_OtherTypesAreFound(t *testing.T) {
	db, keys := file(t), ring(t)
	fill(t, db, keys, 3)
	change(t, db, "UPDATE cloakroom_audit SET user_id = CAST(user_id AS TEXT) WHERE seq = 2")
	changedAt(t, verify(t, db, keys), 2, "text for bytes")
	change(t, db, "UPDATE cloakroom_audit SET user_id = CAST(user_id AS BLOB), times = 1.5 WHERE seq = 2")
	changedAt(t, verify(t, db, keys), 2, "fraction")
}

// TestASVS_16_4_2_ForgersNeedTheKey: who knows how the chain is made, and makes all of it
// anew, has no tags.
func TestASVS_16_4_2_ForgersNeedTheKey(t *testing.T) {
	db, keys := file(t), ring(t)
	fill(t, db, keys, 3)
	noted := verify(t, db, keys).Head
	for name, forger := range map[string]*keyring.Ring{"another key": ring(t), "none": nil} {
		other := file(t)
		fill(t, other, forger, 3)
		r := verify(t, other, keys)
		if r.Vouched() || r.Signed != 0 || r.Unknown+r.Unsigned != 3 || r.Uncovered != 3 {
			t.Errorf("%s: got %+v, want no entry signed", name, r)
		}
		// Another instance's log, in the place of this one.
		if r := verify(t, other, keys, noted); r.Broken == nil || r.Broken.What != "not the one that was noted" {
			t.Errorf("%s: got %v, want an entry that was not noted", name, r.Broken)
		}
	}
	// Behind the genuine ones: counted apart, and covered as soon as a genuine one follows.
	fill(t, db, nil, 2)
	fill(t, db, ring(t), 1)
	if r := verify(t, db, keys); r.Vouched() || r.Broken != nil || r.Signed != 3 || r.Unsigned != 2 || r.Unknown != 1 || r.Uncovered != 3 {
		t.Errorf("got %+v", r)
	}
	fill(t, db, keys, 1)
	if r := verify(t, db, keys); r.Vouched() || r.Broken != nil || r.Signed != 5 || r.Uncovered != 0 || r.Strange != 1 {
		t.Errorf("got %+v", r)
	}
	// One that was signed with a key that is gone is bound by those that follow.
	change(t, db, "UPDATE cloakroom_audit SET user_id = ? WHERE seq = 6", []byte("x"))
	changedAt(t, verify(t, db, keys), 6, "an entry of a key that is gone")
}

// TestRotation: entries outlive the keys of their time, and are genuine still, also where two
// instances take the new key one after the other.
func TestRotation(t *testing.T) { each(t, proveRotation) }

func proveRotation(t *testing.T, db database) {
	a, b := keyring.Generate(), keyring.Generate()
	before := ringOf(t, a, b.AsNext())
	during := ringOf(t, b, a.AsRetiring(time.Now().Add(time.Hour)))
	after := ringOf(t, b)
	fill(t, db, before, 2)
	fill(t, db, during, 1)
	fill(t, db, before, 1) // of another instance
	fill(t, db, during, 1)
	whole(t, verify(t, db, during), 5)
	fill(t, db, after, 1)
	if r := verify(t, db, after); !r.Vouched() || r.Unknown != 3 || r.Signed != 3 || r.Uncovered != 0 {
		t.Errorf("got %+v, want three entries of a key that is gone, and all genuine", r)
	}
	if r := verify(t, db, nil); r.Vouched() || r.Broken != nil || r.Unknown != 6 || r.Uncovered != 6 {
		t.Errorf("without keys: got %+v, want six entries of keys that are not at hand", r)
	}
	change(t, db, "UPDATE cloakroom_audit SET user_id = ? WHERE seq = 1", []byte("x"))
	changedAt(t, verify(t, db, after), 1, "an entry of a key that is gone")
}

// ringOf makes a ring of these keys.
func ringOf(t testing.TB, active keyring.Key, others ...keyring.Key) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(active, others...)
	must(t, err)
	return r
}

// TestASVS_16_4_2_WhatIsCoveredIsNotGenuine: who adds an entry at the end without a key cannot wait
// until it is covered, nor until the key that they name is gone; whoever covers it, and only the first.
func TestASVS_16_4_2_WhatIsCoveredIsNotGenuine(t *testing.T) { each(t, proveStrangers) }

func proveStrangers(t *testing.T, db database) {
	old, key := keyring.Generate(), keyring.Generate()
	keys := ringOf(t, old, key.AsNext())
	fill(t, db, keys, 2)
	fill(t, db, ring(t), 2) // of a key that is made up: two, and one that says what is before them
	fill(t, db, keys, 2)
	r := verify(t, db, keys)
	if r.Vouched() || r.Broken != nil || r.Uncovered != 0 || r.Strange != 2 || r.Signed != 2+1+2 {
		t.Errorf("got %+v, want an entry that tells of a stranger", r)
	}
	list := find(t, openLog(t, db), auditlog.Query{Kind: event.AuditFailed})
	if len(list) != 2 || list[0].Seq != 6 || !list[0].Suspicious || !strings.HasPrefix(list[0].Details["found"], "5:") {
		t.Errorf("got %+v, want an entry about entry 5", list)
	}
	// Under the name of a key which others have, and without its tag: while that key is at
	// hand this is a forgery, and when it is gone the entry behind it tells.
	fill(t, db, keys, 1)
	change(t, db, "UPDATE cloakroom_audit SET tag = ? WHERE seq = 9", bytes.Repeat([]byte{1}, 32))
	fill(t, db, ringOf(t, key, old.AsRetiring(time.Now().Add(time.Hour))), 1)
	if r := verify(t, db, ringOf(t, key)); r.Vouched() || r.Broken != nil || r.Strange != 3 {
		t.Errorf("got %+v, want another entry that tells of a stranger", r)
	}
}

// TestASVS_16_4_2_AStrangerBeforePruning: pruning covers entries, too.
func TestASVS_16_4_2_AStrangerBeforePruning(t *testing.T) {
	db, keys := file(t), ring(t)
	fill(t, db, keys, 2)
	l, _ := open(t, db, keys)
	fill(t, db, ring(t), 1)
	if n, err := l.Prune(t.Context(), time.Now().Add(time.Hour)); n != 3 || err != nil {
		t.Fatalf("pruned %d, %v, want 3", n, err)
	}
	if r := verify(t, db, keys); r.Vouched() || r.Broken != nil || r.Strange != 1 {
		t.Errorf("got %+v, want an entry that tells of a stranger", r)
	}
}

// TestASVS_16_4_2_UnsignedIsNeverGenuine, wherever it stands.
func TestASVS_16_4_2_UnsignedIsNeverGenuine(t *testing.T) {
	db, keys := file(t), ring(t)
	fill(t, db, keys, 1)
	fill(t, db, nil, 1)
	fill(t, db, keys, 1)
	if r := verify(t, db, keys); r.Vouched() || r.Broken != nil || r.Unsigned != 1 || r.Uncovered != 0 || r.Strange != 0 || r.Entries != 3 {
		t.Errorf("got %+v, want one entry that is not signed", r)
	}
}

// TestPruneKeepsTheChain: the beginning goes, the rest stays verifiable.
func TestPruneKeepsTheChain(t *testing.T) { each(t, provePrune) }

func provePrune(t *testing.T, db database) {
	keys := ring(t)
	fill(t, db, keys, 5)
	noted := verify(t, db, keys).Head
	time.Sleep(5 * time.Millisecond)
	border := time.Now()
	time.Sleep(5 * time.Millisecond)
	l, log := open(t, db, keys)
	login(log, "late")
	n, err := l.Prune(t.Context(), border)
	must(t, err)
	if n != 5 {
		t.Fatalf("pruned %d entries, want 5", n)
	}
	if n, err := l.Prune(t.Context(), border); n != 0 || err != nil {
		t.Errorf("pruned %d once more, %v", n, err)
	}
	r := verify(t, db, keys, noted) // the last one that was pruned is known still
	whole(t, r, 2)
	if r.First != 6 || r.Head.Seq != 7 {
		t.Errorf("got %+v, want entries 6 and 7", r)
	}
	if list := find(t, l, auditlog.Query{Kind: event.AuditPruned}); len(list) != 1 || list[0].Details["count"] != "5" {
		t.Errorf("got %v, want an entry about 5", list)
	}
	// All but the newest go, and the entry of before with them.
	login(log, "later")
	if n, err := l.Prune(t.Context(), time.Now().Add(time.Hour)); n != 2 || err != nil {
		t.Errorf("pruned %d, %v, want 2", n, err)
	}
	whole(t, verify(t, db, keys), 2)
	change(t, db, "DELETE FROM cloakroom_audit WHERE seq = 8")
	if r := verify(t, db, keys); r.Broken == nil || r.Broken.Seq != 8 {
		t.Errorf("got %v, want entry 8 removed", r.Broken)
	}
	if r := verify(t, db, keys, auditlog.Head{Seq: 2, Hash: noted.Hash}); r.Broken == nil {
		t.Error("a head that was pruned long ago was taken")
	}
}

// TestPruneInTurns: many entries go in several transactions.
func TestPruneInTurns(t *testing.T) {
	db, keys := file(t), ring(t)
	l, log := open(t, db, keys)
	var wg sync.WaitGroup
	const n, writers = 4400, 40
	for range writers {
		wg.Go(func() {
			for range n / writers {
				login(log, "ada")
			}
		})
	}
	wg.Wait()
	must(t, l.Flush(t.Context()))
	got, err := l.Prune(t.Context(), time.Now().Add(time.Hour))
	must(t, err)
	if got < n-1 {
		t.Errorf("pruned %d, want %d or so", got, n)
	}
	if r := verify(t, db, keys); !r.Vouched() || r.Entries > 3 {
		t.Errorf("got %+v, %v", r, r.Broken)
	}
}

// TestManyWritersOneChain: two instances write at once, and a third prunes and verifies.
func TestManyWritersOneChain(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			address, keys := k.Address(t), ring(t)
			const n, writers = 50, 8
			var wg sync.WaitGroup
			var instances []*auditlog.Log
			for i := range 2 {
				l, log := open(t, k.OpenFor(t, address), keys)
				instances = append(instances, l)
				for w := range writers {
					wg.Go(func() {
						for j := range n {
							event.Log(context.Background(), log, 0, event.Login, event.User(fmt.Sprintf("%d-%d-%d", i, w, j)))
						}
					})
				}
			}
			third := k.OpenFor(t, address)
			l, _ := open(t, third, keys)
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			for running := true; running; {
				select {
				case <-done:
					running = false
				case <-time.After(20 * time.Millisecond):
				}
				if r, err := l.Verify(t.Context()); err != nil || !r.Vouched() {
					t.Fatalf("meanwhile: %+v, %v, %v", r, r.Broken, err)
				}
			}
			for _, l := range instances {
				must(t, l.Close())
			}
			whole(t, verify(t, third, keys), 2*writers*n)
			seen := make(map[string]bool)
			for e, err := range l.Each(t.Context(), auditlog.Query{}) {
				must(t, err)
				seen[e.User] = true
			}
			if len(seen) != 2*writers*n {
				t.Errorf("%d of %d events are in the log", len(seen), 2*writers*n)
			}
		})
	}
}
