package main_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// printed returns the keys that a command prints, and what it says beside them.
func printed(t *testing.T, args ...string) ([]keyring.Key, string) {
	t.Helper()
	stdout, stderr, code := runCommand(t, args...)
	list, err := keyring.ReadKeys(strings.NewReader(stdout))
	if code != 0 || err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, stderr)
	}
	return list, stderr
}

// TestPromise10_PrintedKeysLastAsLongAsSessions: what is printed lets the key before retire for
// as long as the service's sessions live, whatever the command was given; where there are
// more sessions than it looks at it says so.
func TestPromise10_PrintedKeysLastAsLongAsSessions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada")
	must(t, dir, "key", "rotate", "--next")
	db := peopleOf(t, dir).db
	f, err := fleet.Open(t.Context(), db)
	if err == nil {
		err = f.SetNote(t.Context(), "lifetime", "2000h")
	}
	if err != nil {
		t.Fatal(err)
	}
	print := []string{"key", "rotate", "--print", "--lifetime=1h", "--data=" + filepath.Join(dir, "cloakroom-data")}
	for _, store := range []string{"--store=memory:", "--store=sealed:"} {
		list, said := printed(t, append(print, store)...)
		for _, k := range list {
			if k.State() == keyring.Retiring && time.Until(k.Until()) < 2000*time.Hour {
				t.Errorf("%s: the key before goes at %v, and sessions live for 2000h", store, k.Until())
			}
		}
		if !strings.Contains(said, "step 2 of 2: ") || strings.Contains(said, "not all sessions") {
			t.Errorf("%s: %s", store, said)
		}
	}
	if _, err := db.Exec(t.Context(), `INSERT INTO cloakroom_session
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200001)
		SELECT CAST(printf('%032d', i) AS BLOB), 1, ?, ?, ?, ?, ?, 0, 0, CAST('' AS BLOB), x'', x'' FROM n`, soon(0), soon(0), soon(1), soon(2), soon(2)); err != nil {
		t.Fatal(err)
	}
	if _, said := printed(t, print...); !strings.Contains(said, "not all sessions were looked at, but 200000 of them: ") {
		t.Errorf("nothing is said of the others: %s", said)
	}
}

// soon is some hours from now, as the database has it.
func soon(hours int) int64 {
	return time.Now().Add(time.Duration(hours) * time.Hour).UnixMilli()
}

// TestPromise10_TheKeyThatIsPrintedIsTheOneThatIsVouchedFor: of several that are next the oldest
// becomes active, and it is that one of which is said that it signs.
func TestPromise10_TheKeyThatIsPrintedIsTheOneThatIsVouchedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	older, younger := keyring.Generate().AsNext(), keyring.Generate().AsNext()
	first := regexp.MustCompile(`\b20\d\d-\S+Z`).ReplaceAllString(older.Text(), "2024-01-02T03:04:05Z")
	path := filepath.Join(dir, "keys")
	if err := writeFile(path, []byte(strings.Join([]string{younger.Text(), keyring.Generate().Text(), first, ""}, "\n"))); err != nil {
		t.Fatal(err)
	}
	list, said := printed(t, "key", "rotate", "--print", "--data="+dir, "--keys=file:"+path)
	for _, k := range list {
		if k.State() == keyring.Active && (k.ID() != older.ID() || !strings.Contains(said, "step 2 of 2: key:"+k.ID().String()+" signs")) {
			t.Errorf("%v signs, the oldest is %v, and it says: %s", k, older, said)
		}
	}
}
