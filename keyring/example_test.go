package keyring_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// The first start makes the key file, every later one reads it.
func ExampleOpenFile() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	first, err := keyring.OpenFile(filepath.Join(dir, "keys"))
	if err != nil {
		log.Fatal(err)
	}
	second, err := keyring.OpenFile(filepath.Join(dir, "keys"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Active() == second.Active())
	// Output: true
}

// A program of several instances makes no key of its own: it reads the one that
// was deployed, or does not start.
func ExampleMountedFile() {
	_, err := keyring.Load(context.Background(), keyring.MountedFile("/run/secrets/keys-that-nobody-deployed"))
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output: true
}

// Keys may stand in a text that a program reads anyway, such as its configuration. For
// files, variables of the environment and managers of secrets see [keyring.Load].
func ExampleRead() {
	config := fmt.Sprintf(`{"listen": ":8080", "keys": %q}`, keyring.Generate().Text()) // cloakroom key new

	var settings struct{ Listen, Keys string }
	if err := json.Unmarshal([]byte(config), &settings); err != nil {
		log.Fatal(err)
	}
	ring, err := keyring.Read(strings.NewReader(settings.Keys))
	if err != nil {
		log.Fatal(err)
	}
	for _, k := range ring.Keys() {
		fmt.Println(k.State)
	}
	// Output: active
}

// The errors say which line is wrong and what to do, and show nothing of it.
func ExampleRead_faults() {
	_, err := keyring.Read(strings.NewReader("# keys\nour dog is called Bello\n"))
	fmt.Println(err)
	// Output: keyring: read keys: line 2: neither a key line nor random bytes: words make no secret; make a key with cloakroom key new, or a secret with openssl rand -base64 32
}

// What openssl rand and the like print is taken as it is.
func ExampleRead_bareSecret() {
	secret := make([]byte, 32)
	rand.Read(secret)
	ring, err := keyring.Read(strings.NewReader(hex.EncodeToString(secret) + "\n")) // openssl rand -hex 32
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(ring.Keys()), ring.Keys()[0].State, ring.Keys()[0].Created.IsZero())
	// Output: 1 active true
}

// Keys that were deployed as a secret are loaded, and none is made in their place.
func ExampleLoad() {
	ctx := context.Background()
	os.Setenv("APP_KEYS", keyring.Generate().Text()) // cloakroom key new
	defer os.Unsetenv("APP_KEYS")

	ring, err := keyring.Load(ctx, keyring.Env("APP_KEYS"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(ring.Keys()))

	_, err = keyring.Load(ctx, keyring.Env("APP_KEYS_THAT_NOBODY_SET"))
	fmt.Println(err)
	// Output:
	// 1
	// keyring: environment variable APP_KEYS_THAT_NOBODY_SET is not set; put in what cloakroom key new prints
}

// A program that follows its source takes new keys without a restart.
func ExampleRing_Follow() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keys")
	ring, err := keyring.OpenFile(path)
	if err != nil {
		log.Fatal(err)
	}

	taken := make(chan struct{}, 1)
	go ring.Follow(ctx, keyring.File(path), &keyring.FollowOptions{
		Interval: 10 * time.Millisecond,
		Looked: func(changed bool, err error) {
			if err != nil {
				slog.Warn("keys cannot be read, those at hand go on", "err", err)
			}
			if changed {
				taken <- struct{}{}
			}
		},
	})

	// Somebody else, such as cloakroom key rotate:
	next := keyring.Generate()
	_, err = keyring.Edit(ctx, keyring.File(path), func(keys []keyring.Key) ([]keyring.Key, error) {
		return keyring.Announce(keys, next)
	})
	if err != nil {
		log.Fatal(err)
	}
	<-taken
	fmt.Println(ring.Has(next.ID()), ring.Active() == next.ID())
	// Output: true false
}

// A rotation goes in three steps. Between two of them every instance has to have
// followed.
func ExampleEdit() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	src := keyring.File(filepath.Join(dir, "keys"))
	if _, err := keyring.OpenFile(filepath.Join(dir, "keys")); err != nil {
		log.Fatal(err)
	}

	const lifetime = 24 * time.Hour
	for _, step := range []func(keys []keyring.Key) ([]keyring.Key, error){
		func(keys []keyring.Key) ([]keyring.Key, error) {
			return keyring.Announce(keys, keyring.Generate())
		},
		func(keys []keyring.Key) ([]keyring.Key, error) {
			return keyring.Activate(keys, time.Now().Add(lifetime))
		},
		// … and a lifetime later:
		func(keys []keyring.Key) ([]keyring.Key, error) {
			return keyring.Prune(keys, time.Now().Add(lifetime)), nil
		},
	} {
		keys, err := keyring.Edit(ctx, src, step)
		if err != nil {
			log.Fatal(err)
		}
		var states []string
		for _, k := range keys {
			states = append(states, k.State().String())
		}
		fmt.Println(states)
	}
	// Output:
	// [active next]
	// [retiring active]
	// [active]
}

func ExampleParseKey() {
	key := keyring.Generate()
	again, err := keyring.ParseKey(key.Text())
	fmt.Println(err, again.ID() == key.ID())
	// Output: <nil> true
}

// A key that is printed or logged shows its ID alone.
func ExampleKey_Text() {
	key := keyring.Generate()
	fmt.Println(len(fmt.Sprint(key)), fmt.Sprint(key) == "key:"+key.ID().String())
	fmt.Println(len(key.Text()))
	// Output:
	// 12 true
	// 97
}

// Rotating a key without signing anyone out: first every instance learns of the
// next key, then it becomes active, and the old one is accepted for as long as a
// session may live.
func ExampleRing_Replace() {
	old := keyring.Generate()
	ring, err := keyring.New(old)
	if err != nil {
		log.Fatal(err)
	}
	purpose := ring.Purpose("example")
	id, tag := purpose.Sign([]byte("ticket 42"))

	next := keyring.Generate()
	if err := ring.Replace(old, next.AsNext()); err != nil {
		log.Fatal(err)
	}
	// … once all instances have it:
	if err := ring.Replace(next, old.AsRetiring(time.Now().Add(24*time.Hour))); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ring.Active() == next.ID(), purpose.Verify(id, []byte("ticket 42"), tag[:]))

	// Taking a key away ends what it signed.
	if err := ring.Replace(next); err != nil {
		log.Fatal(err)
	}
	fmt.Println(purpose.Verify(id, []byte("ticket 42"), tag[:]))
	// Output:
	// true true
	// false
}

// What was made for one purpose, or one audience, is nothing to another.
func ExampleRing_Purpose() {
	ring, err := keyring.New(keyring.Generate())
	if err != nil {
		log.Fatal(err)
	}
	shop := ring.Purpose("session cookie", "__Host-session", "shop.example")
	blog := ring.Purpose("session cookie", "__Host-session", "blog.example")

	id, tag := shop.Sign([]byte("token"))
	fmt.Println(shop.Verify(id, []byte("token"), tag[:16]))
	fmt.Println(blog.Verify(id, []byte("token"), tag[:16]))
	// Output:
	// true
	// false
}

// The secret of a session and the key ring are both needed to read its data.
func ExamplePurpose_SealFor() {
	ring, err := keyring.New(keyring.Generate())
	if err != nil {
		log.Fatal(err)
	}
	data := ring.Purpose("session data")
	token := []byte("the token in the browser, random")

	sealed := data.SealFor(token, []byte("cart: 3 apples"), []byte("record 7"))
	msg, err := data.OpenFor(token, sealed, []byte("record 7"))
	fmt.Printf("%s %v\n", msg, err)
	_, err = data.OpenFor(token, sealed, []byte("record 8"))
	fmt.Println(err)
	// Output:
	// cart: 3 apples <nil>
	// keyring: sealed message cannot be opened
}

// A program that changes a key file is handed the keys with their secrets, and what it
// returns is written in one step.
func ExampleEdit_file() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keys")
	if _, err := keyring.OpenFile(path); err != nil {
		log.Fatal(err)
	}

	keys, err := keyring.Edit(context.Background(), keyring.File(path), func(keys []keyring.Key) ([]keyring.Key, error) {
		return append(keys, keyring.Generate().AsNext()), nil
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, k := range keys {
		fmt.Println(k.State())
	}
	// Output:
	// active
	// next
}
