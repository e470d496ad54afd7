package sqlite_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := sqlite.Open(filepath.Join(dir, "sessions.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	// A program hands db.Store() to cloakroom.New, which does the following.
	ctx, now := context.Background(), time.Now().Truncate(time.Millisecond)
	session := store.Record{
		ID: store.ID{1}, UserID: "u1", Created: now, Seen: now,
		Expires: now.Add(30 * time.Minute), Deadline: now.Add(24 * time.Hour), Data: []byte("sealed"),
	}
	if err := db.Store().Put(ctx, session); err != nil {
		log.Fatal(err)
	}
	fmt.Println(db.Store().End(ctx, session.ID, 0, store.Ended{Reason: store.Logout, At: now}, session.Deadline))
	fmt.Println(db.Store().Put(ctx, session))
	// Output:
	// <nil>
	// store: session has ended
}
