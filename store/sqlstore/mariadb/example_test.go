package mariadb_test

import (
	"context"
	"fmt"
	"log"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
)

func Example() {
	ctx := context.Background()
	db, err := mariadb.Open(ctx, "mysql://cloakroom:secret@db.example:3306/cloakroom?tls=true", nil)
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
	_, err := mariadb.Open(context.Background(), "mysql://cloakroom:secret@db.example:3306/cloakroom", nil)
	fmt.Println(err)
	// Output:
	// mariadb: the link to "db.example" would not be encrypted: add tls=true to the URL, and ca=/path/ca.pem for a CA of your own
}
