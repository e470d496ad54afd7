package keys_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Promise 10: neither at the first look nor at a later one are keys taken of which the
// instance has none. It says so, and goes on.
func TestPromise10_NoStrangersKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := source(t, keyring.Generate())
		i := run(t, m, database(), nil)
		before := i.ring.Active()
		text, err := keyring.Text([]keyring.Key{keyring.Generate(), keyring.Generate().AsNext()})
		must(t, err)
		m.mu.Lock()
		m.text = text
		m.mu.Unlock()
		time.Sleep(time.Minute)
		i.log.count(t, event.KeysFailed, 1)
		i.log.count(t, event.KeysChanged, 0)
		if line := i.log.of(event.KeysFailed); len(line) != 1 || !strings.Contains(line[0], "none of the keys in use is among them") {
			t.Errorf("%q", line)
		}
		if i.ring.Active() != before || i.Status().Failing == nil {
			t.Errorf("%v signs, %v", i.ring.Active(), i.Status().Failing)
		}

		// At the look before the first request the same is refused.
		ring, err := keyring.New(keyring.Generate())
		must(t, err)
		before = ring.Active()
		k, err := keys.New(keys.Options{Ring: ring, Source: m, Log: (&journal{}).logger()})
		must(t, err)
		if err := k.Begin(t.Context()); err == nil || !strings.Contains(err.Error(), "none of the keys in use") || ring.Active() != before {
			t.Errorf("%v, %v signs", err, ring.Active())
		}
	})
}

// Where the keys are gone, nobody is told to make others.
func TestKeysThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := source(t, keyring.Generate())
		i := run(t, m, nil, nil)
		before := i.ring.Active()
		file := &fs.PathError{Op: "open", Path: "/data/keys", Err: fs.ErrNotExist}
		m.set(fmt.Errorf("keyring: key file: %w; cloakroom key new prints what to put into it", file))
		time.Sleep(5 * time.Second)
		m.set(fmt.Errorf("vault: there is nothing: %w; put in what cloakroom key new prints", fs.ErrNotExist))
		time.Sleep(5 * time.Second)
		lines := i.log.of(event.KeysFailed)
		if len(lines) != 2 || !strings.Contains(lines[0], "key file: open /data/keys: file does not exist; put it back; the keys in hand go on until a restart") ||
			!strings.Contains(lines[1], "gone from their place; put them back") || strings.Contains(strings.Join(lines, ""), "key new") {
			t.Errorf("%q", lines)
		}
		if i.ring.Active() != before {
			t.Error("it has other keys")
		}
	})
}
