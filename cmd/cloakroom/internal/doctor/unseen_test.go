package doctor_test

import (
	"context"
	dbsql "database/sql"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// missing are the reasons of what was not checked.
func missing(r *doctor.Report) map[string]string {
	reasons := make(map[string]string)
	for _, n := range r.NotChecked {
		reasons[n.Check] = n.Reason
	}
	return reasons
}

// What could not be looked at is not among what was, and the reason is told.
func TestWhatCannotBeLookedAt(t *testing.T) {
	t.Parallel()
	loop := func(s *site, path string) {
		s.must(os.RemoveAll(path))
		s.must(os.Symlink(path, path)) // the system says neither what it is nor that it is not there
	}
	for _, c := range []struct {
		name   string
		plant  func(s *site)
		reason string
		checks []string
	}{
		{"key file", func(s *site) { loop(s, s.at("keys")) }, "keys cannot be looked at: ", []string{"key-mode", "key-folder", "key-links", "key-copies", "file-owner", "web-folder", "git-tracked", "git-ignored"}},
		{"database", func(s *site) { loop(s, s.at("cloakroom.db")) }, "cloakroom.db cannot be looked at: ", []string{"database-mode", "git-tracked"}},
		{"log of the database", func(s *site) { loop(s, s.at("cloakroom.db-wal")) }, "db-wal cannot be looked at: ", []string{"database-mode"}},
		{"data directory", func(s *site) { loop(s, s.data) }, "data cannot be looked at: ", []string{"data-mode", "data-place", "data-network", "disk-space"}},
		{"folder of a database", func(s *site) {
			loop(s, filepath.Join(s.dir, "loop"))
			s.flags["store"] = "sqlite:" + filepath.Join(s.dir, "loop", "db")
		}, "loop cannot be looked at: ", []string{"data-place", "data-network"}},
		{"file system", func(s *site) { s.world.Kind = func(string) (string, bool) { return "", false } }, "the system does not say", []string{"data-place", "data-network"}},
		{"configuration", func(s *site) { s.flags["config"] = s.dir }, "not a regular file", []string{"secret-mode"}},
		{"large configuration", func(s *site) {
			s.flags["config"] = s.write("cloakroom.toml", strings.Repeat("# nothing\n", 110_000), 0o644)
		}, "larger than 1 MiB", []string{"secret-mode"}},
		{".env is a directory", func(s *site) { s.must(os.Mkdir(s.at(".env"), 0o700)) }, ".env cannot be read: not a regular file", []string{"key-shared"}},
		{".env is something else", func(s *site) { s.write("data/.env", "a 'b\n", 0o600) }, ".env is not a .env file", []string{"key-shared"}},
		{"certificate's key", func(s *site) { s.atTheFront(); loop(s, s.flags["tls-key"]) }, "cannot be looked at: ", []string{"tls-key-mode"}},
		{"rest of the chain", func(s *site) {
			s.atTheFront()
			chain, err := os.ReadFile(s.flags["tls-cert"])
			s.must(err)
			s.write(s.flags["tls-cert"], string(chain)+"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o644)
		}, "there is a certificate that cannot be read", []string{"tls-expired", "tls-expiring", "tls-host", "tls-chain", "tls-weak"}},
		{"settings", func(s *site) {
			s.proxied()
			s.flags["trusted-proxies"], s.flags["audit-retention"] = "all", "a year"
		}, "the setting ", []string{"proxies-missing", "proxies-wide", "audit-retention"}},
		{"settings of places", func(s *site) { s.flags["keys"], s.flags["users"] = "vault:", "mongodb://x" }, "the setting ",
			[]string{"key-mode", "key-copies", "database-mode", "git-tracked", "plaintext-link", "accounts-local"}},
		{"keys of the instances", func(s *site) {
			s.write("data/keys", "changeme\n", 0o600)
			s.sqlite(func(db sqlstore.DB) error {
				f, err := fleet.Open(t.Context(), db)
				if err != nil {
					return err
				}
				return f.Report(t.Context(), fleet.Instance{ID: "one", Keys: "ab12cd34 active", Started: time.Now(), URL: "http://%zz"})
			})
		}, "", []string{"fleet-keys", "fleet-url"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c.plant(s)
			r := s.run()
			reasons := missing(r)
			for _, check := range c.checks {
				if why, ok := reasons[check]; !ok || !strings.Contains(why, c.reason) {
					t.Errorf("%s: not checked %t, because %q, want %q", check, ok, why, c.reason)
				}
				if slices.Contains(r.Checked, check) {
					t.Errorf("%s is said to be checked", check)
				}
			}
		})
	}
}

// answers is a database that answers questions with what is asked of SQLite instead.
type answers struct {
	*dbsql.DB
	to map[string]string // by how they begin
}

func (a answers) instead(query string) string {
	for begins, q := range a.to {
		if strings.HasPrefix(query, begins) {
			return q
		}
	}
	return query
}

func (a answers) QueryContext(ctx context.Context, query string, _ ...any) (*dbsql.Rows, error) {
	return a.DB.QueryContext(ctx, a.instead(query))
}

func (a answers) QueryRowContext(ctx context.Context, query string, _ ...any) *dbsql.Row {
	return a.DB.QueryRowContext(ctx, a.instead(query))
}

// Of rights of which half has arrived nothing is told, and neither of an engine that is
// not known.
func TestMariaDBThatBreaksOff(t *testing.T) {
	t.Parallel()
	db, err := dbsql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const set, engine, grants = "SELECT @@", "SELECT coalesce(max(engine)", "SHOW GRANTS"
	for _, c := range []struct {
		name, check string
		to          map[string]string
	}{
		{"healthy", "", nil},
		{"engine", "durability", map[string]string{engine: "SELECT nothing"}},
		{"grants", "rights", map[string]string{grants: "SELECT nothing"}},
		{"a line that is none", "rights", map[string]string{grants: "SELECT 'GRANT USAGE ON *.* TO x' UNION ALL SELECT NULL"}},
		{"broken off", "rights", map[string]string{grants: "SELECT 'GRANT USAGE ON *.* TO x' UNION ALL SELECT abs(-9223372036854775807 - 1)"}},
	} {
		to := map[string]string{set: "SELECT 1, 0, 1, 0, 'app'", engine: "SELECT 'InnoDB'", grants: "SELECT 'GRANT ALL PRIVILEGES ON `app`.* TO `x`'"}
		maps.Copy(to, c.to)
		r := doctor.MariaDB(t.Context(), answers{db, to})
		if got := slices.Sorted(maps.Keys(missing(r))); strings.Join(got, " ") != c.check || len(r.Findings) > 0 {
			t.Errorf("%s: not checked %q, want %q; found %v", c.name, got, c.check, r.Findings)
		}
	}
}
