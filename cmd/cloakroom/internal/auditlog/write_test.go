package auditlog_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// faulty is a database that does what a test wants before or after a write.
type faulty struct {
	sqlstore.DB
	before, after func() error
	writes        atomic.Int64
}

func (f *faulty) Write(ctx context.Context, g func(context.Context, sqlstore.Queryer) error) error {
	f.writes.Add(1)
	if f.before != nil {
		if err := f.before(); err != nil {
			return err
		}
	}
	err := f.DB.Write(ctx, g)
	if err == nil && f.after != nil {
		err = f.after()
	}
	return err
}

// lines is a log to read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestASVS_16_3_1_AnsweredIsKept: when the event of a login has been reported, its entry is
// there to be read, and the line as well.
func TestASVS_16_3_1_AnsweredIsKept(t *testing.T) { each(t, proveAnsweredIsKept) }

func proveAnsweredIsKept(t *testing.T, db database) {
	l, err := auditlog.Open(t.Context(), db, ring(t))
	must(t, err)
	defer l.Close()
	var out lines
	log := slog.New(l.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})))
	for i, name := range []string{event.Login, event.Logout, event.PasswordChanged, event.Reauthenticated, event.LinkUsed, event.UserAdded, event.EveryoneEnded} {
		event.Log(t.Context(), log, slog.LevelInfo, name, event.User("u"))
		list, err := l.Find(t.Context(), auditlog.Query{})
		must(t, err)
		if len(list) != i+1 || list[0].Kind != name {
			t.Errorf("%s is not kept when its caller goes on", name)
		}
	}
	if out.String() != "" {
		t.Errorf("lines below the level of the log: %s", out.String())
	}
}

// TestASVS_16_4_3_LossOfTheDatabase: sign-ins go on, the log tells once, and when the database is
// back all that found room is there, once.
func TestASVS_16_4_3_LossOfTheDatabase(t *testing.T) {
	db, keys := file(t), ring(t)
	var away atomic.Bool
	broken := &faulty{DB: db, before: func() error {
		if away.Load() {
			return errors.New("no route to the database")
		}
		return nil
	}}
	l, err := auditlog.Open(t.Context(), broken, keys)
	must(t, err)
	var out lines
	log := slog.New(l.Handler(slog.NewTextHandler(&out, nil)))
	login(log, "before")
	away.Store(true)
	start := time.Now()
	for i := range 5000 {
		login(log, fmt.Sprint("meanwhile", i))
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("5000 sign-ins took %v while the database was away", took)
	}
	if n := strings.Count(out.String(), "msg=login "); n != 5001 {
		t.Errorf("%d of 5001 lines in the log", n)
	}
	if n := strings.Count(out.String(), "msg=audit_failed"); n != 2 {
		t.Errorf("%d lines about it, want one that entries fail and one that they have no room:\n%s", n, out.String()[:1000])
	}
	away.Store(false)
	must(t, l.Close())
	r := verify(t, db, keys)
	if !r.Vouched() || r.Entries != 1+4096+1 {
		t.Errorf("got %+v, %v, want 4096 that found room, one of before and one that counts", r, r.Broken)
	}
	list := find(t, openLog(t, db), auditlog.Query{Kind: event.AuditFailed})
	if len(list) != 1 || list[0].Count != 5000-4096 || !list[0].Suspicious {
		t.Errorf("got %+v, want an entry that counts %d", list, 5000-4096)
	}
}

func openLog(t *testing.T, db sqlstore.DB) *auditlog.Log {
	t.Helper()
	l, _ := open(t, db, nil)
	return l
}

// TestASVS_16_4_3_CloseEnds: also if the database never comes back; it tells.
func TestASVS_16_4_3_CloseEnds(t *testing.T) {
	db := file(t)
	broken := &faulty{DB: db, before: func() error { return errors.New("away") }}
	l, err := auditlog.Open(t.Context(), broken, nil)
	must(t, err)
	var out lines
	log := slog.New(l.Handler(slog.NewTextHandler(&out, nil)))
	login(log, "a")
	login(log, "b")
	start := time.Now()
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "2 entries") {
		t.Errorf("close: %v, want that 2 entries are lost", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("close took %v", took)
	}
	login(log, "after")
	if err := l.Close(); err != nil {
		t.Errorf("the second close: %v", err)
	}
	if !strings.Contains(out.String(), "op=close") || !strings.Contains(out.String(), "op=add") {
		t.Errorf("the log does not tell:\n%s", out.String())
	}
}

// TestNoBatchTwice: a batch of which no answer came may have been kept.
func TestNoBatchTwice(t *testing.T) { each(t, proveNoBatchTwice) }

func proveNoBatchTwice(t *testing.T, db database) {
	keys := ring(t)
	fill(t, db, keys, 3)
	var lost atomic.Int64
	l, err := auditlog.Open(t.Context(), &faulty{DB: db, after: func() error {
		if lost.Add(1) <= 2 {
			return errors.New("the answer was lost")
		}
		return nil
	}}, keys)
	must(t, err)
	log := slog.New(l.Handler(slog.DiscardHandler))
	login(log, "once")
	must(t, l.Flush(t.Context()))
	login(log, "next")
	must(t, l.Close())
	whole(t, verify(t, db, keys), 5)
}

// TestKilledBetweenStatements: a transaction that is cut anywhere leaves all of a batch
// or none.
func TestKilledBetweenStatements(t *testing.T) { each(t, proveKilled) }

func proveKilled(t *testing.T, db database) {
	keys := ring(t)
	fill(t, db, keys, 2)
	const statements = 4 // lock the head, insert, insert, move the head
	for at := range statements + 1 {
		cut := &cutting{DB: db, at: at}
		l, err := auditlog.Open(t.Context(), cut, keys)
		must(t, err)
		log := slog.New(l.Handler(slog.DiscardHandler))
		var wg sync.WaitGroup
		for range 50 { // in two statements
			wg.Go(func() { login(log, "x") })
		}
		wg.Wait()
		r := verify(t, db, keys)
		whole(t, r, r.Entries)
		cut.healed.Store(true)
		must(t, l.Close())
		whole(t, verify(t, db, keys), int64(2+50*(at+1)))
		if cut.cuts.Load() == 0 {
			t.Errorf("nothing was cut before statement %d", at)
		}
	}
}

// cutting is a database on which every transaction ends before a statement, or before its
// commit.
type cutting struct {
	sqlstore.DB
	at     int
	healed atomic.Bool
	cuts   atomic.Int64
}

var errKilled = errors.New("killed")

func (c *cutting) Write(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	if c.healed.Load() {
		return c.DB.Write(ctx, f)
	}
	return c.DB.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		if err := f(ctx, &mortal{Queryer: tx, db: c}); err != nil {
			return err
		}
		c.cuts.Add(1)
		return errKilled
	})
}

type mortal struct {
	sqlstore.Queryer
	db *cutting
	n  int
}

func (m *mortal) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if m.n++; m.n > m.db.at {
		m.db.cuts.Add(1)
		return nil, errKilled
	}
	return m.Queryer.ExecContext(ctx, query, args...)
}

// TestAHeadThatMovesBack: a running instance notices that what it wrote has gone.
func TestAHeadThatMovesBack(t *testing.T) { each(t, proveMovesBack) }

func proveMovesBack(t *testing.T, db database) {
	keys := ring(t)
	l, err := auditlog.Open(t.Context(), db, keys)
	must(t, err)
	defer l.Close()
	var out lines
	log := slog.New(l.Handler(slog.NewTextHandler(&out, nil)))
	for range 3 {
		login(log, "ada")
	}
	change(t, db, "DELETE FROM cloakroom_audit WHERE seq = 3")
	change(t, db, "UPDATE cloakroom_audit_head SET seq = 2, hash = (SELECT hash FROM cloakroom_audit WHERE seq = 2)")
	login(log, "ada")
	login(log, "ada")
	list := find(t, l, auditlog.Query{Suspicious: true})
	if len(list) != 1 || list[0].Kind != event.AuditFailed || list[0].Reason != "head moved back" {
		t.Errorf("got %+v, want one entry about it", list)
	}
	if strings.Count(out.String(), "audit_failed") != 1 {
		t.Errorf("the log does not tell, or more than once:\n%s", out.String())
	}
	// Also when another instance has written on, past where it was.
	fill(t, db, keys, 1)
	login(log, "ada")
	mine := verify(t, db, keys).Head.Seq
	change(t, db, "DELETE FROM cloakroom_audit WHERE seq = ?", mine)
	change(t, db, "UPDATE cloakroom_audit_head SET seq = ?, hash = (SELECT hash FROM cloakroom_audit WHERE seq = ?)", mine-1, mine-1)
	fill(t, db, keys, 2)
	login(log, "ada")
	if n := strings.Count(out.String(), "audit_failed"); n != 2 {
		t.Errorf("%d lines about it, want 2:\n%s", n, out.String())
	}
}

// TestASVS_16_3_3_FloodsAreBounded: of a kind that anybody can cause only so many become entries,
// the rest is counted.
func TestASVS_16_3_3_FloodsAreBounded(t *testing.T) {
	db, keys := file(t), ring(t)
	l, log := open(t, db, keys)
	const floods = 5000
	for i := range floods {
		event.Log(t.Context(), log, slog.LevelInfo, event.BadCookie, event.Addr("192.0.2.1"))
		event.Log(t.Context(), log, slog.LevelWarn, event.CSRFRefused, event.Addr(fmt.Sprintf("10.0.%d.%d", i/250, i%250)))
		event.Log(t.Context(), log, slog.LevelWarn, event.LoginRefused, event.Addr(fmt.Sprintf("2001:db8::%x", i)), event.User(fmt.Sprint("u", i)))
	}
	start := time.Now()
	login(log, "honest")
	if took := time.Since(start); took > 200*time.Millisecond {
		t.Errorf("a login waited %v behind the flood", took)
	}
	must(t, l.Close())
	whole(t, verify(t, db, keys), verify(t, db, keys).Entries)
	count := make(map[string]int)
	entries := make(map[string]int)
	l = openLog(t, db)
	for e, err := range l.Each(t.Context(), auditlog.Query{}) {
		must(t, err)
		count[e.Kind] += e.Count
		entries[e.Kind]++
	}
	for kind, most := range map[string]int{event.BadCookie: 31, event.CSRFRefused: 240 + 17, event.LoginRefused: 31} {
		if count[kind] != floods || entries[kind] > most {
			t.Errorf("%s: %d events in %d entries, want %d in at most %d", kind, count[kind], entries[kind], floods, most)
		}
	}
	if entries[event.Login] != 1 {
		t.Error("the login is not there")
	}
	s, err := l.Summary(t.Context(), time.Now().Add(-time.Hour))
	must(t, err)
	if s.Total < 3*floods-30 || len(s.Kinds) != 3 || s.Sources[0].What != "192.0.2.1" || s.Sources[0].Count != floods || len(s.Accounts) == 0 {
		t.Errorf("summary: %+v", s)
	}
}

// TestASVS_16_3_1_NoiseHidesNoAccount: what is refused to an account, or to whoever is signed in
// to it, is found by it, however many others come in the same minute, from wherever; to attack
// many accounts is bounded too, and what was cut says how many accounts and sources that were.
func TestASVS_16_3_1_NoiseHidesNoAccount(t *testing.T) {
	db := file(t)
	l, log := open(t, db, ring(t))
	refused := func(kind string, i int, name string, attrs ...slog.Attr) {
		attrs = append(attrs, event.Addr(fmt.Sprintf("10.0.%d.%d", i/250, i%250)), event.User(name))
		event.Log(t.Context(), log, slog.LevelWarn, kind, attrs...)
	}
	for i := range 1000 {
		refused(event.LoginRefused, i, fmt.Sprint("nobody", i))
		event.Log(t.Context(), log, slog.LevelWarn, event.AccessRefused, event.Addr(fmt.Sprintf("10.0.%d.%d", i/250, i%250)))
	}
	for i := range 50 {
		refused(event.LoginRefused, 2000+i, "ada", slog.String("account", "ID of ada"))
		refused(event.AccessRefused, 2000+i, "ID of bob", slog.String("session", "s"))
	}
	must(t, l.Flush(t.Context()))
	for who, kind := range map[string]string{"ID of ada": event.LoginRefused, "ID of bob": event.AccessRefused} {
		if list := find(t, l, auditlog.Query{User: who, Kind: kind}); len(list) != 30 {
			t.Errorf("%d entries of %s about the account that was attacked, want 30", len(list), kind)
		}
	}
	for i := range 1000 {
		refused(event.LoginRefused, 3000+i, fmt.Sprint("somebody", i), slog.String("account", fmt.Sprint("ID ", i%500)))
	}
	must(t, l.Flush(t.Context()))
	if list := find(t, l, auditlog.Query{Kind: event.LoginRefused, Limit: 1000}); len(list) != 240+240 {
		t.Errorf("%d entries, want the accounts bounded", len(list))
	}
	must(t, l.Close())
	l = openLog(t, db)
	list := find(t, l, auditlog.Query{Kind: event.LoginRefused, Limit: 17})
	if i := slices.IndexFunc(list, func(e auditlog.Entry) bool { return e.Addr == "" }); i < 0 || list[i].Count < 1000 ||
		list[i].Details["accounts"] != "more than 256" || list[i].Details["sources"] != "more than 256" {
		t.Errorf("got %+v, want a sum that says of how many", list)
	}
	list = find(t, l, auditlog.Query{Kind: event.AccessRefused, Limit: 17})
	if i := slices.IndexFunc(list, func(e auditlog.Entry) bool { return e.Addr == "" }); i < 0 || list[i].Details["accounts"] != "1" {
		t.Errorf("got %+v, want a sum that says of how many accounts", list)
	}
}

// A flood that ends is summed up when its minute is over, with nobody's help. And nobody's
// entry is lost where the database is slow.
func TestNobodyWaitsLong(t *testing.T) {
	hang := make(chan struct{})
	slow := &faulty{DB: file(t), before: func() error { <-hang; return nil }}
	l, err := auditlog.Open(t.Context(), slow, nil)
	must(t, err)
	log := slog.New(l.Handler(slog.NewTextHandler(io.Discard, nil)))
	start := time.Now()
	login(log, "slow")
	if took := time.Since(start); took < 200*time.Millisecond || took > 2*time.Second {
		t.Errorf("a login waited %v for its entry, want a quarter of a second", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start = time.Now()
	event.Log(ctx, log, slog.LevelInfo, event.Logout)
	event.Log(t.Context(), log, slog.LevelInfo, event.BadCookie)
	if took := time.Since(start); took > 200*time.Millisecond {
		t.Errorf("who has gone, or need not wait, waited %v", took)
	}
	close(hang)
	must(t, l.Flush(t.Context()))
	if list, err := l.Find(t.Context(), auditlog.Query{}); err != nil || len(list) != 3 {
		t.Errorf("%d entries, %v, want 3", len(list), err)
	}
	must(t, l.Close())
	if slow.writes.Load() > 2 {
		t.Errorf("%d transactions for 3 entries: what gathers goes together", slow.writes.Load())
	}
}
