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
