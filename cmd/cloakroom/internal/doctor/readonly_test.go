package doctor_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// snapshot is every file below a directory, with mode, time of change and contents.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files[path] = fmt.Sprint(info.Mode(), info.ModTime())
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files[path] += fmt.Sprintf(" %x", sha256.Sum256(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func unchanged(t *testing.T, dir string, run func()) {
	t.Helper()
	before := snapshot(t, dir)
	run()
	after := snapshot(t, dir)
	for _, path := range slices.Sorted(maps.Keys(after)) {
		if before[path] != after[path] {
			t.Errorf("%s was %q, and is %q", path, before[path], after[path])
		}
	}
	for path := range before {
		if _, ok := after[path]; !ok {
			t.Errorf("%s is gone", path)
		}
	}
}

// Not a byte changes, and nothing is made: of a service that is stopped, of one that
// runs, of one that was killed, and of none.
func TestDoctorChangesNothing(t *testing.T) {
	t.Parallel()
	t.Run("stopped", func(t *testing.T) {
		s := newSite(t)
		s.put(3, 100, 0)
		unchanged(t, s.dir, func() { s.run() })
	})
	t.Run("in a git work tree", func(t *testing.T) {
		s := newSite(t)
		s.git("add", "-f", "data/keys")
		unchanged(t, s.dir, func() { s.run() })
	})
	t.Run("never started", func(t *testing.T) {
		s := newSite(t)
		s.must(os.RemoveAll(s.data))
		unchanged(t, s.dir, func() { s.run() })
	})
	t.Run("old tables", func(t *testing.T) {
		s := newSite(t)
		s.exec("UPDATE cloakroom_schema SET version = 1 WHERE component = CAST('user' AS BLOB)")
		unchanged(t, s.dir, func() { s.run() })
	})
	t.Run("killed", func(t *testing.T) {
		s := newSite(t)
		s.killed()
		unchanged(t, s.dir, func() {
			// What stands in the log alone is seen: there is no administrator any more.
			if r := s.run(); !slices.Contains(found(r), "warning no-admin") {
				t.Errorf("the log beside the database was not read: %+v", r)
			}
		})
	})
}

// killed leaves the database as a service does that is killed: with a log beside it.
func (s *site) killed() {
	s.t.Helper()
	db, err := sqlite.Open(s.at("cloakroom.db"), nil)
	s.must(err)
	_, err = db.Exec(context.Background(), "UPDATE cloakroom_user SET admin = 0")
	s.must(err)
	files := make(map[string][]byte)
	for _, end := range []string{"", "-wal", "-shm"} {
		b, err := os.ReadFile(s.at("cloakroom.db" + end))
		s.must(err)
		files["cloakroom.db"+end] = b
	}
	s.must(db.Close())
	for name, b := range files {
		s.must(os.WriteFile(s.at(name), b, 0o600))
	}
}

// openElsewhere names the database that the test program is to hold open, in place of
// running tests: within one process SQLite shares what it maps.
const openElsewhere = "DOCTOR_TEST_DATABASE"

func TestMain(m *testing.M) {
	if path := os.Getenv(openElsewhere); path != "" {
		holdOpen(path)
		return
	}
	os.Exit(m.Run())
}

// holdOpen has the database open as a running service, and runs each line of its
// input on it.
func holdOpen(path string) {
	db, err := sqlite.Open(path, nil)
	for in := bufio.NewScanner(os.Stdin); err == nil && in.Scan(); {
		if _, err = db.Exec(context.Background(), in.Text()); err == nil {
			fmt.Println("done")
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	db.Close()
}

// While the service has the database open, the doctor sees what is in the log, and
// leaves no trace in it either.
func TestDoctorSeesARunningDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), openElsewhere+"="+s.at("cloakroom.db"))
	in, err := cmd.StdinPipe()
	s.must(err)
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	answers := bufio.NewReader(out)
	exec := func(statement string) {
		t.Helper()
		fmt.Fprintln(in, statement)
		if line, err := answers.ReadString('\n'); line != "done\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	exec("UPDATE cloakroom_user SET admin = 0")
	unchanged(t, s.dir, func() {
		if got := found(s.run()); !slices.Equal(got, []string{"warning no-admin"}) {
			t.Errorf("found %q", got)
		}
	})
	exec("UPDATE cloakroom_user SET admin = 1") // and it goes on
	unchanged(t, s.dir, func() {
		if got := found(s.run()); len(got) > 0 {
			t.Errorf("found %q", got)
		}
	})
	s.must(in.Close())
	s.must(cmd.Wait())
}

// The connections to servers refuse to write by themselves.
func (w *servers) readOnly(t *testing.T) {
	pg, err := postgres.OpenReadOnly(t.Context(), w.postgresURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close()
	maria, err := mariadb.OpenReadOnly(t.Context(), w.mariaURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer maria.Close()
	for name, db := range map[string]sqlstore.DB{"postgres": pg, "mariadb": maria} {
		for _, statement := range []string{
			"CREATE TABLE cloakroom_new (id INTEGER)", "DROP TABLE cloakroom_session", "DELETE FROM cloakroom_user",
			"UPDATE cloakroom_user SET admin = 0", "INSERT INTO cloakroom_epoch (id, epoch) VALUES (7, 7)",
		} {
			if _, err := db.Exec(t.Context(), statement); err == nil {
				t.Errorf("%s took: %s", name, statement)
			}
			err := db.Write(t.Context(), func(ctx context.Context, tx sqlstore.Queryer) error {
				_, err := tx.ExecContext(ctx, statement)
				return err
			})
			if err == nil {
				t.Errorf("%s took in a transaction: %s", name, statement)
			}
		}
		if err := makeTables(db); err == nil {
			t.Errorf("%s: accounts were made", name)
		}
	}
}

// What hangs, or panics, holds nothing else.
func TestOnePartDoesNotHoldTheOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hang := make(chan struct{})
	defer close(hang)
	s.world.Kind = func(string) (string, bool) { <-hang; return "", true } // a file system that is away
	s.world.MaxFiles = func() (uint64, bool) { panic("a fault of ours") }
	s.world.Patience = 300 * time.Millisecond
	s.flags["audit-retention"] = "0"
	s.exec("UPDATE cloakroom_user SET admin = 0")
	start := time.Now()
	r := s.run()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if got := found(r); !slices.Equal(got, []string{"warning audit-retention", "warning no-admin"}) {
		t.Errorf("found %q", got)
	}
	reasons := make(map[string]string)
	for _, n := range r.NotChecked {
		reasons[n.Check] = n.Reason
	}
	if !strings.Contains(reasons["key-mode"], "no answer within") || !strings.Contains(reasons["file-limit"], "a fault of this program") {
		t.Errorf("not checked: %v", reasons)
	}
	if why := reasons["file-limit"]; !strings.Contains(why, "string at readonly_test.go:") || strings.Contains(why, "of ours") {
		t.Errorf("%q does not say where it panicked, or says what is in the panic", why)
	}
}

// A source of keys that hangs is said to hang.
func TestSourceThatHangs(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := newSite(t)
	s.vault()
	s.flags["keys"] = strings.Replace(s.flags["keys"], "127.0.0.1:1", silent.Addr().String(), 1)
	s.world.Patience = 300 * time.Millisecond
	for _, f := range s.run().Findings {
		if f.Check == "key-source" {
			if !strings.Contains(f.What, "no answer in time") || !strings.HasPrefix(f.Do, "see whether the server runs") {
				t.Errorf("%+v", f)
			}
			return
		}
	}
	t.Error("not found")
}

// A configuration that cannot be read, keys that cannot and a database that is away:
// each says so, all faults of it, and the rest is looked at.
func TestFaultsEverywhereAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.flags["lifetime"], s.flags["trusted-proxies"], s.flags["users"] = "never", "all", "mongodb://x"
	s.environ = []string{"CLOAKROOM_COLOUR=blue"}
	s.write("data/keys", "changeme\n", 0o644)
	s.must(os.Chmod(s.data, 0o755))
	r := s.run()
	n := 0
	for _, f := range r.Findings {
		if f.Check == "config" {
			n++
		}
	}
	if n != 4 {
		t.Errorf("%d faults of the configuration, want 4: %+v", n, r.Findings)
	}
	if got, want := found(r), []string{"error config", "error key-mode", "error key-source", "warning data-mode"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// The document is what programs read: findings with five texts each, and lists of
// names, never null.
func TestJSON(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must(os.Chmod(s.at("keys"), 0o644))
	s.flags["users"] = "mongodb://x"
	for _, r := range []*doctor.Report{s.run(), newSite(t).run()} {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Findings   []map[string]string `json:"findings"`
			Checked    []string            `json:"checked"`
			NotChecked []map[string]string `json:"not_checked"`
		}
		dec := json.NewDecoder(strings.NewReader(string(b)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if doc.Findings == nil || doc.Checked == nil || doc.NotChecked == nil {
			t.Errorf("a list is null: %s", b)
		}
		for _, f := range doc.Findings {
			if got := slices.Sorted(maps.Keys(f)); !slices.Equal(got, []string{"check", "do", "level", "what", "why"}) {
				t.Errorf("a finding has %q", got)
			}
			for name, text := range f {
				if text == "" || strings.Contains(text, "\n") {
					t.Errorf("%s is %q", name, text)
				}
			}
			if f["level"] != "error" && f["level"] != "warning" && f["level"] != "ok" {
				t.Errorf("level %q", f["level"])
			}
		}
		for _, n := range doc.NotChecked {
			if n["check"] == "" || n["reason"] == "" || len(n) != 2 {
				t.Errorf("not checked: %v", n)
			}
		}
	}
}
