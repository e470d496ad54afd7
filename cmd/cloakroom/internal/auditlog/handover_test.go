package auditlog_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// TestASVS_16_4_2_ALeakedKeySpoilsNotTheNext: who has a key, and nobody knows yet, writes that
// the next one has been handed over. The next goes on all the same, is exchanged in its time,
// and is handed over when it leaks itself.
func TestASVS_16_4_2_ALeakedKeySpoilsNotTheNext(t *testing.T) { each(t, proveSpoilsNotTheNext) }

func proveSpoilsNotTheNext(t *testing.T, db database) {
	l := newLeak(t, db)
	fill(t, db, l.before, 2)
	vouch(t, db, l.before, l.key)
	fill(t, db, l.after, 1) // an instance that has heard of the end before, and its note
	must(t, l.retire(t))
	fill(t, db, l.after, 3)
	l.green(t, 9)
	// The next is exchanged.
	third := keyring.Generate()
	both := ringOf(t, third, l.key.AsRetiring(time.Now().Add(time.Hour)))
	fill(t, db, both, 2)
	for name, keys := range map[string]*keyring.Ring{"retiring": both, "gone": ringOf(t, third)} {
		if r := verify(t, db, keys); !r.Vouched() || r.Entries != 11 {
			t.Errorf("%s: got %+v, %v, want 11 entries, all genuine", name, r, r.Broken)
		}
	}
	// Who has the first key still writes, and is found as before.
	fill(t, db, l.before, 1)
	vouch(t, db, l.before, l.key)
	fill(t, db, both, 1)
	for name, keys := range map[string]*keyring.Ring{"retiring": both, "gone": ringOf(t, third)} {
		if r := verify(t, db, keys); r.Vouched() {
			t.Errorf("%s: got %+v, want a log that is not verifiable", name, r)
		}
	}
}

// TestASVS_16_4_2_ANextKeyThatWasSpoiltIsHandedOver: somebody who had the key before has
// written that it has been already.
func TestASVS_16_4_2_ANextKeyThatWasSpoiltIsHandedOver(t *testing.T) {
	db := file(t)
	first := keyring.Generate()
	fill(t, db, ringOf(t, first), 1)
	l := newLeak(t, db)
	vouch(t, db, ringOf(t, first), l.old)
	fill(t, db, ringOf(t, l.old, first.AsRetiring(time.Now().Add(time.Hour))), 2)
	must(t, l.retire(t))
	list := find(t, openLog(t, db), auditlog.Query{Kind: event.KeyRetired})
	if len(list) != 2 || list[0].Details["vouched"] != "4" {
		t.Errorf("got %+v, want a handover of 4 entries", list)
	}
	l.green(t, 5)
	fill(t, db, l.before, 1)
	if r := l.red(t, "behind the handover"); r.RetiredAt != 6 {
		t.Errorf("got %+v, want entry 6 to be the first of nobody", r)
	}
}

// TestASVS_16_4_2_NobodyTakesWhatStandsBehindTheHandover: who writes behind an entry of the
// key that leaked, and has not heard of its end, hears of it from the log.
func TestASVS_16_4_2_NobodyTakesWhatStandsBehindTheHandover(t *testing.T) {
	l := newLeak(t, file(t))
	fill(t, l.db, l.before, 2)
	must(t, l.retire(t))
	fill(t, l.db, l.before, 1)
	fill(t, l.db, l.retirer, 1) // which takes it
	if list := find(t, openLog(t, l.db), auditlog.Query{Kind: event.AuditFailed, Suspicious: true}); len(list) == 0 || list[0].Details["key"] != l.old.ID().String() {
		t.Errorf("no alarm: %+v", list)
	}
}

// again hands the log over as somebody does who knows when the key ended, and maybe that it
// has been handed over before.
func (l *leak) again(t *testing.T, r auditlog.Retirement) error {
	t.Helper()
	r.Key, r.Actor = l.old.ID(), "console"
	log, _ := open(t, l.db, l.retirer)
	return log.Retired(t.Context(), r)
}

// TestASVS_16_4_2_NobodyVouchesForALogWrittenAnew: who has the key that leaked cuts off the
// log before the handover and goes on with another history. To retire the key again does not
// make that genuine, unless the operator says so.
func TestASVS_16_4_2_NobodyVouchesForALogWrittenAnew(t *testing.T) {
	longAgo := time.Now().Add(-time.Hour)
	for _, tc := range []struct {
		name   string
		behind int // genuine entries behind the forged ones
		again  auditlog.Retirement
		want   string
	}{
		{"remembered", 1, auditlog.Retirement{Again: true}, "was handed over from the key"},
		{"met long after its end", 1, auditlog.Retirement{Ended: longAgo}, "came long after its end"},
		{"not met by anybody", 0, auditlog.Retirement{Ended: longAgo}, "entry 3, the newest, is of the key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLeak(t, file(t))
			fill(t, l.db, l.before, 3)
			must(t, l.retire(t))
			fill(t, l.db, l.after, 2)
			l.green(t, 6)
			l.rewrite(t, 2, false)
			fill(t, l.db, l.after, tc.behind)
			l.red(t, "written anew")
			if err := l.again(t, tc.again); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a refusal: %s", err, tc.want)
			}
			l.red(t, "retired again")
			tc.again.Insist = true
			must(t, l.again(t, tc.again))
			for name, keys := range map[string]*keyring.Ring{"retired": l.after, "gone": l.forgotten} {
				if r := verify(t, l.db, keys); !r.Vouched() {
					t.Errorf("%s: got %+v, %v, though somebody insists", name, r, r.Broken)
				}
			}
		})
	}
}

// TestASVS_16_4_2_WhoSawTheLogGoBackSaysSo: a process that runs all the while has noted that
// entries were cut off.
func TestASVS_16_4_2_WhoSawTheLogGoBackSaysSo(t *testing.T) {
	l := newLeak(t, file(t))
	fill(t, l.db, l.before, 3)
	must(t, l.retire(t))
	running, log := open(t, l.db, l.after)
	event.Log(t.Context(), log, slog.LevelInfo, event.Login)
	must(t, running.Flush(t.Context()))
	l.rewrite(t, 2, false)
	event.Log(t.Context(), log, slog.LevelInfo, event.Login)
	must(t, running.Flush(t.Context()))
	if err := l.again(t, auditlog.Retirement{Ended: time.Now().Add(-5 * time.Minute)}); err == nil || !strings.Contains(err.Error(), "entries were removed after the end") {
		t.Errorf("got %v, want a refusal", err)
	}
	l.red(t, "retired again")
}

// TestRetiredInTime: what an instance signed that heard of it late is vouched for, by who
// knows when the key ended as well.
func TestRetiredInTime(t *testing.T) {
	l := newLeak(t, file(t))
	fill(t, l.db, l.before, 2)
	fill(t, l.db, l.after, 1)
	fill(t, l.db, l.before, 1)
	must(t, l.again(t, auditlog.Retirement{Ended: time.Now().Add(-5 * time.Minute)}))
	must(t, l.again(t, auditlog.Retirement{Ended: time.Now().Add(-5 * time.Minute), Again: true})) // once more
	l.green(t, 7)
}

// TestAwaits: who would take the key out of the ring asks first.
func TestAwaits(t *testing.T) { each(t, proveAwaits) }

func proveAwaits(t *testing.T, db database) {
	l := newLeak(t, db)
	awaits := func(keys *keyring.Ring, want bool, what string) {
		t.Helper()
		log, _ := open(t, db, keys)
		got, err := log.Awaits(t.Context(), l.old.ID())
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", what, got, err, want)
		}
	}
	awaits(l.after, false, "nothing yet")
	fill(t, db, l.before, 2)
	awaits(l.after, true, "its entry is the newest")
	fill(t, db, l.retirer, 1)
	awaits(l.after, false, "bound by one that took it")
	fill(t, db, l.before, 1)
	fill(t, db, l.after, 1)
	awaits(l.after, true, "somebody went on with it")
	vouch(t, db, ring(t), l.old)
	fill(t, db, l.after, 1)
	awaits(l.after, true, "handed over by nobody")
	must(t, l.retire(t))
	awaits(l.after, false, "handed over")

	m := newLeak(t, db) // one whose end is told of, and no more yet
	keys := ringOf(t, m.key, l.key.AsRetiring(time.Now().Add(time.Hour)), m.old.AsRetiring(time.Now().Add(-time.Second)))
	fill(t, db, keys, 1)
	log, lines := open(t, db, keys)
	event.Log(t.Context(), lines, slog.LevelInfo, event.KeyRetired, slog.String("key", m.old.ID().String()))
	must(t, log.Flush(t.Context()))
	if got, err := log.Awaits(t.Context(), m.old.ID()); err != nil || !got {
		t.Errorf("told of: got %v, %v, want true", got, err)
	}
}

// TestASVS_16_4_2_AKeyThatGoesOnWasNotHandedOver: one that is accepted still, and nobody knows
// that it leaked, says so of the key that signs, which goes on and hands over another one.
func TestASVS_16_4_2_AKeyThatGoesOnWasNotHandedOver(t *testing.T) {
	l, spy := newLeak(t, file(t)), keyring.Generate().AsRetiring(time.Now().Add(time.Hour))
	vouch(t, l.db, ringOf(t, spy.AsActive()), l.key)
	fill(t, l.db, ringOf(t, l.old, spy), 1)
	ended := l.old.AsRetiring(time.Now().Add(-time.Second))
	fill(t, l.db, ringOf(t, l.key, spy, ended), 1) // and a note
	l.retirer = ringOf(t, l.key, spy, l.old.AsRetiring(time.Now().Add(time.Hour)))
	must(t, l.retire(t))
	l.after = ringOf(t, l.key, spy, ended)
	l.green(t, 5)
}
