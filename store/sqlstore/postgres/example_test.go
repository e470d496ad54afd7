package postgres_test

import (
	"context"
	"fmt"
	"log"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
)

func Example() {
	ctx := context.Background()
	db, err := postgres.Open(ctx, "postgres://cloakroom:secret@db.example:5432/cloakroom?sslmode=verify-full", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	// db.Store() goes to cloakroom.New, db itself to sqlusers.New.
	known, err := db.Store().KnownKeys(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(known), "keys were used with these sessions")
}

// What goes to another host is encrypted, or not sent.
func ExampleOpen_plaintext() {
	_, err := postgres.Open(context.Background(), "postgres://cloakroom:secret@db.example:5432/cloakroom", nil)
	fmt.Println(err)
	// Output:
	// postgres: the link to "db.example" would not be encrypted and verified: add sslmode=verify-full to the URL, and sslrootcert=/path/ca.pem for a CA of your own
}
