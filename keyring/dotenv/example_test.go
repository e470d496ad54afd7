package dotenv_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/dotenv"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, ".env")
	text := "DATABASE=app.db\nSESSION_KEYS='" + keyring.Generate().Text() + "'\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		log.Fatal(err)
	}

	src, err := dotenv.Open(path + "#SESSION_KEYS")
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
