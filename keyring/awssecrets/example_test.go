package awssecrets_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/awssecrets"
)

// Keys of AWS Secrets Manager, looked at once a minute.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	src, err := awssecrets.Open("prod/cloakroom?region=eu-central-1#keys", nil)
	if err != nil {
		log.Fatal(err)
	}
	ring, err := keyring.Load(ctx, src)
	if err != nil {
		log.Fatal(err) // such as: permission denied: the identity is not allowed secretsmanager:GetSecretValue …
	}
	go ring.Follow(ctx, src, &keyring.FollowOptions{Interval: time.Minute})
}

// Open tells every fault of a place at once, and contacts nobody.
func ExampleOpen() {
	_, err := awssecrets.Open("prod cloakroom?region=Frankfurt", nil)
	fmt.Println(err)
	// Output:
	// awssecrets: parameter region: want one like eu-central-1
	// awssecrets: a secret's name has up to 512 letters, digits and /_+=.@-
}
