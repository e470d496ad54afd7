package auditlog_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/databases"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

type database = databases.Database

// kinds are those of the databases.
var kinds = databases.Kinds

// each runs a test on a new database of each kind.
func each(t *testing.T, test func(t *testing.T, db database)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) { test(t, k.OpenFor(t, k.Address(t))) })
	}
}

// file is a database of the kind that needs no server.
func file(t testing.TB) database { return kinds[0].OpenFor(t, kinds[0].Address(t)) }

// ring makes a ring of one key.
func ring(t testing.TB) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(keyring.Generate())
	must(t, err)
	return r
}

// must ends the test if something went wrong.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens a log and a logger that feeds it.
func open(t testing.TB, db sqlstore.DB, keys *keyring.Ring) (*auditlog.Log, *slog.Logger) {
	t.Helper()
	l, err := auditlog.Open(t.Context(), db, keys)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l, slog.New(l.Handler(slog.NewTextHandler(io.Discard, nil)))
}

// find returns what a query finds, after all that was reported is kept.
func find(t testing.TB, l *auditlog.Log, q auditlog.Query) []auditlog.Entry {
	t.Helper()
	must(t, l.Flush(t.Context()))
	list, err := l.Find(t.Context(), q)
	must(t, err)
	return list
}

// seqs are the numbers of entries.
func seqs(list []auditlog.Entry) string {
	var n []int64
	for _, e := range list {
		n = append(n, e.Seq)
	}
	return fmt.Sprint(n)
}

func login(log *slog.Logger, user string) {
	event.Log(context.Background(), log, slog.LevelInfo, event.Login, event.User(user), event.Addr("192.0.2.1"))
}

// TestASVS_16_2_1_EntriesHaveWhenWhereWhoAndWhat: in the database, in every kind of one.
func TestASVS_16_2_1_EntriesHaveWhenWhereWhoAndWhat(t *testing.T) { each(t, proveEntries) }

func proveEntries(t *testing.T, db database) {
	l, log := open(t, db, ring(t))
	before := time.Now().Add(-time.Millisecond)
	event.Log(t.Context(), log.With("request", "r1"), slog.LevelInfo, event.RolesSet, event.Addr("2001:db8::1"), slog.String("actor", "id-root"),
		event.User("id-ada"), event.Text("name", "Ada"), slog.Any("roles", []string{"admin", "staff"}), event.Reason("because"), slog.String("session", "h1"))
	list := find(t, l, auditlog.Query{})
	if len(list) != 1 {
		t.Fatalf("%d entries, want 1", len(list))
	}
	e := list[0]
	if e.Time.Before(before) || e.Time.After(time.Now()) || e.Time.Location() != time.UTC || e.Time.Nanosecond()%1e6 != 0 {
		t.Errorf("time %v is not now in whole milliseconds of UTC", e.Time)
	}
	e.Time = time.Time{}
	want := auditlog.Entry{
		Seq: 1, Kind: event.RolesSet, User: "id-ada", Actor: "id-root", Name: "Ada", Addr: "2001:db8::1", Session: "h1",
		Request: "r1", Reason: "because", Count: 1, Details: map[string]string{"roles": "admin, staff"},
	}
	if fmt.Sprintf("%+v", e) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, want %+v", e, want)
	}
	login(log, "id-ada")
	log.Info("something else")
	log.Debug(event.Login)
	if list := find(t, l, auditlog.Query{User: "id-ada"}); seqs(list) != "[2 1]" {
		t.Errorf("found %v, want 2 and 1", seqs(list))
	}
}
