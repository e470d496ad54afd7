package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// keysOf returns the IDs of the keys in this state that the service in dir, or with these
// flags, has.
func keysOf(t *testing.T, dir, state string, flags ...string) (ids []string) {
	t.Helper()
	code, out := command(t, dir, append([]string{"key", "list", "--json"}, flags...)...)
	var list []struct{ ID, State string }
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	for _, k := range list {
		if k.State == state {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// must runs a command that must end with 0, and returns what it printed.
func must(t *testing.T, dir string, args ...string) string {
	t.Helper()
	code, out := command(t, dir, args...)
	if code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, out)
	}
	return out
}

// TestPromise10_RetiringStrandsNobody: while people sign in at both instances, the key that
// signs and encrypts their hashes is retired. Everybody's sessions end, and nobody's password
// is wrong for a moment; and the audit log, which all write to, stays genuine. (PostgreSQL has
// its turn in TestASVS_13_3_4_RotationUnderLoad.)
func TestPromise10_RetiringStrandsNobody(t *testing.T) {
	for _, c := range []struct {
		name  string
		where func(t *testing.T) []string
	}{
		{"sqlite", func(*testing.T) []string { return nil }},
		{"mariadb", func(t *testing.T) []string {
			maria := services.MariaDB(t)
			return []string{keyFile(t), "--store", maria, "--users", maria}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			retireUnderLoad(t, t.TempDir(), c.where(t))
		})
	}
}

func retireUnderLoad(t *testing.T, dir string, where []string) {
	with := func(args ...string) []string { return append(args, where...) }
	addUser(t, dir, "ada", with("--pepper=true")...)
	var callers [2]caller
	var before [2]ticket
	for i := range callers {
		s := start(t, dir, with("--pepper=true", "--trusted-proxies=127.0.0.1")...)
		callers[i] = newCaller(s.URL)
		var err error
		if before[i], _, err = callers[i].signIn("ada"); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var logins atomic.Int64
	for i, c := range callers {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				a, err := c.ask("POST", "/auth/login", "", "", credentials("ada", goodPassword), "X-Forwarded-For", strangerNumber(i*1000+n))
				if err != nil || a.status != http.StatusOK {
					t.Errorf("login %d at instance %d: %d %s, %v", n, i, a.status, a.body, err)
					return
				}
				logins.Add(1)
			}
		})
	}
	old := keysOf(t, dir, "active", where...)[0]
	out := must(t, dir, with("key", "retire", "--now", old)...)
	for i, c := range callers {
		for _, k := range before {
			if a, err := c.ask("GET", "/auth/session", k.cookie, "", ""); err != nil || a.status != http.StatusUnauthorized {
				t.Errorf("instance %d takes what a retired key has signed: %d, %v", i, a.status, err)
			}
		}
	}
	close(stop)
	wg.Wait()
	first, then := strings.Index(out, "rewrapped: 1 "), strings.Index(out, "retired: ")
	if first < 0 || then < first || !strings.Contains(out, "followed: all 2 instances") || logins.Load() < 10 {
		t.Errorf("%d logins, and it says %s", logins.Load(), out)
	}
	if out := must(t, dir, with("audit", "verify")...); !strings.Contains(out, "verified: ") {
		t.Error(out)
	}
	if doc := must(t, dir, with("audit", "list", "--kind", "key_retired")...); !strings.Contains(doc, old) || !strings.Contains(doc, "vouched") {
		t.Errorf("the audit log says %s", doc)
	}
}

// TestAttack_A43_AForgedNoteStopsNoRotation: who can write to the database says there that a
// rotation to the key that signs has broken off.
func TestAttack_A43_AForgedNoteStopsNoRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada")
	old := keysOf(t, dir, "active")[0]
	db, err := sqlite.Open(filepath.Join(dir, "cloakroom-data", "cloakroom.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Open(t.Context(), db)
	if err == nil {
		err = f.SetNote(t.Context(), "rotating", fmt.Sprintf("%s %d %s %064x", old, time.Now().Unix(), old, 1))
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if out := must(t, dir, "key", "rotate"); keysOf(t, dir, "active")[0] == old {
		t.Errorf("the key signs still, and it says %s", out)
	}
}
