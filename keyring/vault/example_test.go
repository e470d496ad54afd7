package vault_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/vault"
)

// Keys from Vault by AppRole, followed from then on: whoever rotates them there
// rotates them here.
func ExampleOpen() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	src, err := vault.Open("https://vault.internal:8200/secret/cloakroom?auth=approle&role-id=cloakroom&secret-id-file=/run/secrets/vault", nil)
	if err != nil {
		log.Print(err)
		return
	}
	fmt.Println(src)
	ring, err := keyring.Load(ctx, src)
	if err != nil {
		// A start without keys is none; later the keys in hand go on.
		log.Print(err)
		return
	}
	go ring.Follow(ctx, src, &keyring.FollowOptions{Interval: time.Minute})
	// manager, err := cloakroom.New(store, ring, nil)
}

// All that is wrong with a place is told at once.
func ExampleOpen_faults() {
	_, err := vault.Open("http://vault.internal/secret/data/cloakroom?auth=approle&secret-id-file=/run/secrets/vault", &vault.Options{
		Lookup: func(string) (string, bool) { return "", false }, // an empty environment
	})
	fmt.Println(err)
	// Output:
	// vault: leave out v1/ and data/; write MOUNT/PATH, as vault kv get does; if a path does begin so, say ?kv-mount=MOUNT
	// auth=approle needs role-id, or VAULT_ROLE_ID in the environment
	// a link to another host needs TLS; use https://
}
