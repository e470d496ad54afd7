package gcpsecrets_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/gcpsecrets"
)

// Keys of Secret Manager, looked at once a minute.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	src, err := gcpsecrets.Open("projects/my-project/secrets/cloakroom#keys", nil)
	if err != nil {
		log.Fatal(err)
	}
	ring, err := keyring.Load(ctx, src)
	if err != nil {
		log.Fatal(err) // such as: permission denied: the identity lacks secretmanager.versions.access …
	}
	go ring.Follow(ctx, src, &keyring.FollowOptions{Interval: time.Minute})
}

// Open tells every fault of a place at once, and contacts nobody.
func ExampleOpen() {
	_, err := gcpsecrets.Open("my-project/cloakroom?endpoint=http://secrets.example", nil)
	fmt.Println(err)
	// Output:
	// gcpsecrets: a secret is named like projects/PROJECT/secrets/SECRET, with /locations/LOCATION behind the project if it is a regional one, and /versions/VERSION at the end to stay with one version
	// gcpsecrets: parameter endpoint: plain http to another host; write https (ASVS 12.3.1)
}
