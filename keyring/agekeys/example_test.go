package agekeys_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"filippo.io/age"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/agekeys"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	sealed, identity := filepath.Join(dir, "keys.age"), filepath.Join(dir, "identity")
	makeKeys(sealed, identity) // cloakroom key new | age -r age1… > keys.age

	src, err := agekeys.Open(sealed+"?identity-file="+identity, nil)
	if err != nil {
		log.Fatal(err)
	}
	keys, err := keyring.Load(context.Background(), src)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(keys.Keys()), keys.Keys()[0].State)
	// Output: 1 active
}

// makeKeys does what age-keygen and age would.
func makeKeys(sealed, identity string) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(identity, []byte(id.String()), 0o600); err != nil {
		log.Fatal(err)
	}
	f, err := os.OpenFile(sealed, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	w, err := age.Encrypt(f, id.Recipient())
	if err != nil {
		log.Fatal(err)
	}
	if _, err := fmt.Fprintln(w, keyring.Generate().Text()); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
}
