package auditlog_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// leftOut are the events that are about machines and not about anybody: they stand in the
// log alone. An event that is new has to be put on one side or the other.
var leftOut = map[string]bool{
	event.ValueUnreadable: true, event.StoreFailed: true, event.StoreDown: true, event.StoreUp: true, event.TouchFailed: true,
	event.WriteAfterEnd: true, event.CommitFailed: true, event.SweepFailed: true, event.UsersFailed: true, event.RehashFailed: true,
	event.Panic: true, event.PolicyViolated: true, event.KeysFailed: true, event.KeysExpire: true, event.KeysUp: true, event.RotationFailed: true,
}

// TestASVS_16_3_1_EveryEventIsKeptOrLeftOut, and so do 16.3.2 and 16.3.3: none is forgotten.
func TestASVS_16_3_1_EveryEventIsKeptOrLeftOut(t *testing.T) {
	l, log := open(t, file(t), ring(t))
	names := inventory(t)
	kept := 0
	for _, name := range names {
		if auditlog.Kept(name) == leftOut[name] {
			t.Errorf("%s is kept: %v, left out: %v", name, auditlog.Kept(name), leftOut[name])
		}
		event.Log(t.Context(), log, slog.LevelInfo, name)
		if !leftOut[name] && name != event.AuditFailed && name != event.AuditPruned { // these the log makes itself
			kept++
			if list := find(t, l, auditlog.Query{Kind: name}); len(list) != 1 {
				t.Errorf("%s: %d entries, want 1", name, len(list))
			}
		}
	}
	if list := find(t, l, auditlog.Query{Limit: 1000}); len(list) != kept || kept < 30 {
		t.Errorf("%d entries of %d kinds", len(list), kept)
	}
}

// inventory returns the names of all events.
func inventory(t *testing.T) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "..", "..", "internal", "event", "names.go"), nil, 0)
	must(t, err)
	for _, spec := range f.Decls[0].(*ast.GenDecl).Specs {
		name, err := strconv.Unquote(spec.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
		must(t, err)
		names = append(names, name)
	}
	return names
}

// TestFloodsAreSummedUp: when the minute is over, whether anything else happens or not; and then the
// source may be heard again.
func TestFloodsAreSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := kinds[0].Open(t.Context(), kinds[0].Address(t))
		must(t, err)
		defer db.Close()
		l, err := auditlog.Open(t.Context(), db, nil)
		must(t, err)
		defer l.Close()
		log := slog.New(l.Handler(slog.DiscardHandler))
		cookies := func(n, want int) {
			t.Helper()
			for range n {
				event.Log(t.Context(), log, slog.LevelInfo, event.BadCookie, event.Addr("192.0.2.1"))
			}
			if list := find(t, l, auditlog.Query{}); len(list) != want {
				t.Fatalf("%d entries, want %d", len(list), want)
			}
		}
		cookies(100, 30)
		time.Sleep(time.Minute + time.Second)
		cookies(0, 31)
		list := find(t, l, auditlog.Query{Limit: 1})
		if e := list[0]; e.Count != 70 || e.Addr != "192.0.2.1" || e.Kind != event.BadCookie || !e.Suspicious || e.Details["since"] == "" {
			t.Errorf("got %+v, want an entry that counts 70", e)
		}
		cookies(100, 31+29) // the sum counts as well
		time.Sleep(10 * time.Minute)
		cookies(1, 31+30+1)
		time.Sleep(10 * time.Minute)
		cookies(0, 31+30+1)
	})
}

// TestASVS_16_3_3_ATrickleIsBounded: what stays below the bounds of a minute, day and night, is
// bounded as well, and none of it goes uncounted.
func TestASVS_16_3_3_ATrickleIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := kinds[0].Open(t.Context(), kinds[0].Address(t))
		must(t, err)
		defer db.Close()
		l, err := auditlog.Open(t.Context(), db, nil)
		must(t, err)
		defer l.Close()
		log := slog.New(l.Handler(slog.DiscardHandler))
		const minutes = 25 * 60
		for minute := range minutes {
			for range 20 {
				event.Log(t.Context(), log, slog.LevelInfo, event.BadCookie, event.Addr("192.0.2.1"))
			}
			for i := range 60 {
				event.Log(t.Context(), log, slog.LevelWarn, event.CSRFRefused, event.Addr(fmt.Sprintf("10.0.%d.%d", (minute+i)%250, i)))
				event.Log(t.Context(), log, slog.LevelWarn, event.LoginRefused, event.Addr(fmt.Sprintf("10.0.%d.%d", (minute+i)%250, i)), slog.String("account", fmt.Sprint(i)))
			}
			time.Sleep(time.Minute)
		}
		must(t, l.Close())
		for kind, want := range map[string]struct{ events, most int }{
			event.BadCookie:    {20 * minutes, 26 * 101},
			event.CSRFRefused:  {60 * minutes, 10_000 + 2000 + 26*17},
			event.LoginRefused: {60 * minutes, 10_000 + 2000 + 5000 + 1000 + 26*17},
		} {
			entries, events := 0, 0
			for e, err := range l.Each(t.Context(), auditlog.Query{Kind: kind}) {
				must(t, err)
				entries++
				events += e.Count
			}
			if events != want.events || entries > want.most {
				t.Errorf("%s: %d events in %d entries, want %d in at most %d", kind, events, entries, want.events, want.most)
			}
		}
	})
}

// TestFailuresAreForgotten: what was long ago makes nobody suspicious.
func TestFailuresAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := kinds[0].Open(t.Context(), kinds[0].Address(t))
		must(t, err)
		defer db.Close()
		l, err := auditlog.Open(t.Context(), db, nil)
		must(t, err)
		defer l.Close()
		log := slog.New(l.Handler(slog.DiscardHandler))
		for range 12 {
			event.Log(t.Context(), log, slog.LevelWarn, event.LoginRefused, event.User("ada"))
			time.Sleep(3 * time.Minute)
		}
		if list := find(t, l, auditlog.Query{Suspicious: true}); len(list) != 0 {
			t.Errorf("%d of 12 failures in 36 minutes stand out", len(list))
		}
		// So many accounts that nobody can count them stand out by that.
		guess := func(n int) {
			for i := range n {
				event.Log(t.Context(), log, slog.LevelWarn, event.LoginRefused, event.User(fmt.Sprint("u", n, i)), event.Addr(fmt.Sprintf("10.%d.%d.%d", n%250, i/250, i%250)))
			}
			time.Sleep(time.Minute)
		}
		guess(4000)
		guess(200)
		if list := find(t, l, auditlog.Query{Suspicious: true}); !slices.ContainsFunc(list, func(e auditlog.Entry) bool { return e.Count == 1 }) {
			t.Error("nobody of 4200 stands out")
		}
	})
}
