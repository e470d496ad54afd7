package sqlusers_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sqlite.Open(filepath.Join(dir, "users.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	ctx := context.Background()
	users, err := sqlusers.New(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	// The first administrator comes with a link that works once.
	token, err := users.NewSetupToken(ctx, time.Now(), 30*time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	admin, err := users.ClaimSetup(ctx, token, time.Now(), sqlusers.NewUser{Name: "Alice"})
	fmt.Println(admin.Name, admin.Roles, err)
	_, err = users.ClaimSetup(ctx, token, time.Now(), sqlusers.NewUser{Name: "Mallory"})
	fmt.Println(errors.Is(err, sqlusers.ErrSetupGone))

	_, err = users.Create(ctx, sqlusers.NewUser{Name: "ALICE"})
	fmt.Println(errors.Is(err, sqlusers.ErrNameTaken))
	fmt.Println(errors.Is(users.SetDisabled(ctx, admin.ID, true), sqlusers.ErrLastAdmin))
	// Output:
	// Alice [admin] <nil>
	// true
	// true
	// true
}

// A user is invited by a link, and so chooses a password that nobody else knows.
func ExampleUsers_NewLink() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sqlite.Open(filepath.Join(dir, "users.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	users, err := sqlusers.New(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	hasher, err := password.New(nil)
	if err != nil {
		log.Fatal(err)
	}

	bob, err := users.Create(ctx, sqlusers.NewUser{Name: "Bob"})
	if err != nil {
		log.Fatal(err)
	}
	token, err := users.NewLink(ctx, bob.ID, sqlusers.LinkInvite, time.Now(), 24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}

	// The page that the link leads to shows whose it is, and claims nothing.
	link, err := users.CheckLink(ctx, token, time.Now())
	fmt.Println(link.Kind, link.User.Name, err)

	// What the form sends is hashed, and claims the link.
	phc, err := hasher.Hash(ctx, "a password of Bob's own")
	if err != nil {
		log.Fatal(err)
	}
	_, err = users.ClaimLink(ctx, token, time.Now(), phc)
	fmt.Println(err)
	_, err = users.ClaimLink(ctx, token, time.Now(), phc)
	fmt.Println(errors.Is(err, sqlusers.ErrLinkGone))
	// Output:
	// invite Bob <nil>
	// <nil>
	// true
}
