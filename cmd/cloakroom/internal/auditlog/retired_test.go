package auditlog_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// leak is a key that leaked and the one that signs in its place.
type leak struct {
	db        database
	old, key  keyring.Key
	before    *keyring.Ring // of the time when the old key signed
	retirer   *keyring.Ring // of who takes it away: it is taken here alone
	after     *keyring.Ring // of everybody else from then on
	forgotten *keyring.Ring // once it is gone
}

func newLeak(t *testing.T, db database) *leak {
	old, key := keyring.Generate(), keyring.Generate()
	return &leak{
		db: db, old: old, key: key,
		before:    ringOf(t, old),
		retirer:   ringOf(t, key, old.AsRetiring(time.Now().Add(time.Hour))),
		after:     ringOf(t, key, old.AsRetiring(time.Now().Add(-time.Second))),
		forgotten: ringOf(t, key),
	}
}

// retire hands the log over.
func (l *leak) retire(t *testing.T) error {
	t.Helper()
	log, _ := open(t, l.db, l.retirer)
	return log.Retired(t.Context(), auditlog.Retirement{Key: l.old.ID(), Actor: "console", Count: 7})
}

// green checks that both who still lists the old key and who has forgotten it find all
// entries genuine.
func (l *leak) green(t *testing.T, entries int64) {
	t.Helper()
	for name, keys := range map[string]*keyring.Ring{"retired": l.after, "gone": l.forgotten} {
		if r := verify(t, l.db, keys); !r.Vouched() || r.Entries != entries || r.Strange != 0 {
			t.Errorf("%s: got %+v, %v, want %d entries, all genuine", name, r, r.Broken, entries)
		}
	}
}

// red checks that both find that something is not.
func (l *leak) red(t *testing.T, what string) (r auditlog.Report) {
	t.Helper()
	for name, keys := range map[string]*keyring.Ring{"retired": l.after, "gone": l.forgotten} {
		if r = verify(t, l.db, keys); r.Vouched() {
			t.Errorf("%s, %s: got %+v, want a log that is not verifiable", what, name, r)
		}
	}
	return r
}

// TestASVS_16_4_2_ARetiredKeyHandsOver: a key is taken away from one moment to the next, and
// what it signed stays genuine; also what an instance wrote that heard of it last.
func TestASVS_16_4_2_ARetiredKeyHandsOver(t *testing.T) { each(t, proveHandover) }

func proveHandover(t *testing.T, db database) {
	l := newLeak(t, db)
	fill(t, db, l.before, 3)
	must(t, l.retire(t))
	l.green(t, 4)
	list := find(t, openLog(t, db), auditlog.Query{Kind: event.KeyRetired})
	if len(list) != 1 || list[0].Actor != "console" || list[0].Details["key"] != l.old.ID().String() ||
		list[0].Details["count"] != "7" || list[0].Details["vouched"] != "3" {
		t.Errorf("got %+v", list)
	}
	fill(t, db, l.after, 2)
	l.green(t, 6)
}

// TestLateInstances: between taking the key away and handing over, some instances sign with
// the one and some with the other. What they note about each other is no alarm, and no
// fault once the key has been vouched for.
func TestLateInstances(t *testing.T) {
	l := newLeak(t, file(t))
	fill(t, l.db, l.before, 2)
	fill(t, l.db, l.after, 1)  // and a note
	fill(t, l.db, l.before, 1) // and a note about a key it has not heard of
	fill(t, l.db, l.after, 1)  // and a note
	r := l.red(t, "before the handover")
	if r.Strange != 3 || r.Entries != 8 {
		t.Errorf("got %+v, want three notes", r)
	}
	for _, e := range find(t, openLog(t, l.db), auditlog.Query{Kind: event.AuditFailed}) {
		if e.Suspicious && e.Details["key"] == l.old.ID().String() {
			t.Errorf("an alarm: %+v", e)
		}
	}
	must(t, l.retire(t))
	l.green(t, 9)
	must(t, l.retire(t)) // once more, which does nothing
	l.green(t, 9)
}

// TestASVS_16_4_2_ALeakedKeyForgesNothing: who has the key and the database cannot append
// unnoticed once the key has been taken away, whatever they write and whoever writes behind
// it; nor vouch for themselves, nor have others do it.
func TestASVS_16_4_2_ALeakedKeyForgesNothing(t *testing.T) { each(t, proveForgesNothing) }

func proveForgesNothing(t *testing.T, db database) {
	l := newLeak(t, db)
	fill(t, db, l.before, 2)
	must(t, l.retire(t))
	fill(t, db, l.before, 2)
	if r := l.red(t, "at the end"); r.Retired != 3 || r.RetiredAt != 4 || r.Uncovered != 3 {
		t.Errorf("got %+v, want entries 4 to 6 of a key that had been retired", r)
	}
	fill(t, db, l.after, 1) // which notes it
	if r := l.red(t, "covered"); r.Strange != 2 || r.Retired != 3 || r.Uncovered != 0 {
		t.Errorf("got %+v", r)
	}
	if list := find(t, openLog(t, db), auditlog.Query{Kind: event.AuditFailed, Suspicious: true}); len(list) != 2 || list[0].Details["key"] != l.old.ID().String() {
		t.Errorf("no alarm: %+v", list)
	}
	if err := l.retire(t); err != nil { // again: it has been
		t.Error(err)
	}
	if r := l.red(t, "after another handover"); r.Strange != 2 || r.Retired != 3 {
		t.Errorf("got %+v", r)
	}
	// Nor if who writes behind it has not heard, and takes it for genuine.
	fill(t, db, l.before, 1)
	fill(t, db, l.retirer, 1)
	if r := l.red(t, "covered by who takes it"); r.Retired < 4 {
		t.Errorf("got %+v", r)
	}
	// They vouch for themselves, with the key and with one that they made up.
	was := l.red(t, "before they vouch")
	for _, by := range []*keyring.Ring{l.before, ring(t)} {
		vouch(t, db, by, l.old)
		l.red(t, "vouched for by themselves")
		fill(t, db, l.after, 1)
		r := l.red(t, "vouched for by themselves, covered")
		if r.Strange <= was.Strange { // and this is another one
			t.Errorf("got %+v, of %d strangers", r, was.Strange)
		}
		was = r
	}
}

// vouch writes an entry that looks like one that hands over.
func vouch(t *testing.T, db database, by *keyring.Ring, of keyring.Key) {
	t.Helper()
	l, log := open(t, db, by)
	event.Log(t.Context(), log, slog.LevelInfo, event.KeyRetired, slog.String("key", of.ID().String()), slog.String("vouched", "1"))
	must(t, l.Close())
}

// TestASVS_16_4_2_ALeakedKeySpoilsNoHandover: who has the key vouches for it before others do.
func TestASVS_16_4_2_ALeakedKeySpoilsNoHandover(t *testing.T) {
	l := newLeak(t, file(t))
	fill(t, l.db, l.before, 1)
	vouch(t, l.db, l.before, l.old)
	fill(t, l.db, l.before, 1)
	must(t, l.retire(t))
	fill(t, l.db, l.after, 1)
	l.green(t, 5)
	fill(t, l.db, l.before, 1)
	if r := l.red(t, "behind the handover"); r.RetiredAt != 6 {
		t.Errorf("got %+v, want entry 6 to be the first of nobody", r)
	}
}

// TestASVS_16_4_2_ALeakedKeyChangesNothing: what was written before is bound by the first
// entry of the new key. To write all of it anew takes that entry away, and what is left is
// of no key at hand.
func TestASVS_16_4_2_ALeakedKeyChangesNothing(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first int    // of the entries that are written anew
		want  string // what is broken, if that is how it is found
	}{
		{"and keep what follows", 2, "entry 4: changed"},
		{"and drop what follows", 2, ""},
		{"and begin anew", 1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLeak(t, file(t))
			fill(t, l.db, l.before, 3)
			must(t, l.retire(t))
			fill(t, l.db, l.after, 1)
			l.green(t, 5)
			l.rewrite(t, tc.first, tc.want != "")
			r := l.red(t, "changed")
			if tc.want != "" && (r.Broken == nil || !strings.HasPrefix(r.Broken.Error(), tc.want)) {
				t.Errorf("got %v, want %s", r.Broken, tc.want)
			}
			if tc.want == "" {
				fill(t, l.db, l.after, 1) // by a process that knew nothing of before
				if r := l.red(t, "changed and covered"); r.Strange != 1 {
					t.Errorf("got %+v, want a note about a stranger", r)
				}
				fill(t, l.db, l.forgotten, 1)
				l.red(t, "changed and covered twice")
			}
		})
	}
}

// rewrite writes the entries of before the retirement anew with the key that leaked, from
// the first on, and keeps those that follow or drops them.
func (l *leak) rewrite(t *testing.T, first int, keep bool) {
	t.Helper()
	if keep {
		change(t, l.db, "CREATE TABLE kept AS SELECT * FROM cloakroom_audit WHERE seq > 3")
		change(t, l.db, "CREATE TABLE kept_head AS SELECT * FROM cloakroom_audit_head")
	}
	change(t, l.db, "DELETE FROM cloakroom_audit WHERE seq >= ?", first)
	if first > 1 {
		change(t, l.db, "UPDATE cloakroom_audit_head SET seq = ?, hash = (SELECT hash FROM cloakroom_audit WHERE seq = ?)", first-1, first-1)
	} else {
		change(t, l.db, "UPDATE cloakroom_audit_head SET seq = 0, hash = ?", []byte{})
	}
	fill(t, l.db, ringOf(t, l.old), 4-first)
	if keep {
		change(t, l.db, "INSERT INTO cloakroom_audit SELECT * FROM kept")
		change(t, l.db, "DELETE FROM cloakroom_audit_head")
		change(t, l.db, "INSERT INTO cloakroom_audit_head SELECT * FROM kept_head")
	}
}

// TestASVS_16_4_2_NobodyVouchesForStrangers: an entry that names the key and is not of it,
// written in the moment in which nobody can tell, is told of when the log is handed over.
func TestASVS_16_4_2_NobodyVouchesForStrangers(t *testing.T) {
	l := newLeak(t, file(t))
	fill(t, l.db, l.before, 2)
	change(t, l.db, "UPDATE cloakroom_audit SET tag = ? WHERE seq = 2", []byte(strings.Repeat("x", 32)))
	fill(t, l.db, l.after, 1) // and a note, which is no alarm yet
	err := l.retire(t)
	if err == nil || !strings.Contains(err.Error(), "entry 2 is not signed by the key that it names") {
		t.Errorf("got %v, want a refusal for entry 2", err)
	}
	if list := find(t, openLog(t, l.db), auditlog.Query{Kind: event.KeyRetired}); len(list) != 1 || list[0].Details["vouched"] != "" {
		t.Errorf("got %+v, want an entry that vouches for nothing", list)
	}
	l.red(t, "a stranger")
	// What was found before, and is of neither key, is another matter, and stays.
	o := newLeak(t, file(t))
	fill(t, o.db, o.before, 1)
	fill(t, o.db, ring(t), 1)
	fill(t, o.db, o.before, 1) // and a note
	must(t, o.retire(t))
	if r := o.red(t, "a stranger of before"); r.Strange != 1 {
		t.Errorf("got %+v, want a note about a stranger", r)
	}
	// The newest of all is looked at as well.
	m := newLeak(t, file(t))
	fill(t, m.db, m.before, 2)
	change(t, m.db, "UPDATE cloakroom_audit SET tag = ? WHERE seq = 2", []byte(strings.Repeat("x", 32)))
	_ = m.retire(t)
	m.red(t, "a stranger at the end")
}

// TestRetiredWants: a ring that can verify what it vouches for.
func TestRetiredWants(t *testing.T) {
	l := newLeak(t, file(t))
	fill(t, l.db, l.before, 1)
	for name, keys := range map[string]*keyring.Ring{"retired": l.after, "gone": l.forgotten, "signs": l.before} {
		log, _ := open(t, l.db, keys)
		if err := log.Retired(t.Context(), auditlog.Retirement{Key: l.old.ID()}); err == nil {
			t.Errorf("%s: it vouched", name)
		}
	}
	whole(t, verify(t, l.db, l.before), 1)
}

// TestCountByKey: who asks what a key still protects.
func TestCountByKey(t *testing.T) {
	l := newLeak(t, file(t))
	fill(t, l.db, nil, 1)
	fill(t, l.db, l.before, 3)
	fill(t, l.db, l.retirer, 2)
	got, err := openLog(t, l.db).CountByKey(t.Context())
	must(t, err)
	if want := map[keyring.KeyID]int{l.old.ID(): 3, l.key.ID(): 2}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
