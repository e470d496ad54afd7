package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

func TestRoundTrip(t *testing.T) {
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "a b?c#d%41:é.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, ctx := db.Store(), context.Background()
	now := time.Now().Truncate(time.Millisecond).UTC()
	r := store.Record{
		ID: store.ID{1}, UserID: "u", Created: now, Seen: now, Expires: now.Add(time.Minute),
		Deadline: now.Add(time.Hour), Info: []byte("info"), Data: []byte("data"),
	}
	if err := s.Put(ctx, r); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(ctx, r.ID)
	if err != nil || got.Version != 1 || !got.Expires.Equal(r.Expires) || !bytes.Equal(got.Data, r.Data) || got.UserID != "u" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if err := s.Put(ctx, r); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	list, err := s.ListUser(ctx, "u")
	if err != nil || len(list) != 1 || list[0].ID != r.ID {
		t.Fatalf("list %+v, %v", list, err)
	}
	why := store.Ended{Reason: store.Logout, At: now}
	if n, err := s.EndUser(ctx, "u", store.ID{}, why, now); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got, err := s.Get(ctx, r.ID); !errors.Is(err, store.ErrEnded) || got.Ended != why {
		t.Fatal(got, err)
	}
	if err := s.Put(ctx, got); !errors.Is(err, store.ErrEnded) {
		t.Fatal(err)
	}
	if n, err := s.Sweep(ctx, time.Now()); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if err := s.End(ctx, store.ID{9}, 0, why, now); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
}
