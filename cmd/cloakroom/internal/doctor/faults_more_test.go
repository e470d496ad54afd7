package doctor_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

const day = 24 * time.Hour

// git makes the site's directory a work tree, in which everything is ignored, and runs
// git there.
func (s *site) git(args ...string) {
	s.t.Helper()
	if _, err := os.Stat(filepath.Join(s.dir, ".git")); err != nil {
		s.command("git", "init", "-q")
		s.must(os.WriteFile(filepath.Join(s.dir, ".gitignore"), []byte("data/\n"), 0o644))
	}
	s.command("git", args...)
}

func (s *site) command(name string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "HOME="+s.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// secretOf returns the secret of a key, as openssl rand -hex 32 would print it.
func (s *site) secretOf(k keyring.Key) string {
	s.t.Helper()
	f := strings.Fields(k.Text())
	b, err := base64.RawURLEncoding.DecodeString(f[len(f)-1])
	s.must(err)
	return hex.EncodeToString(b)
}

var keyFaults = []fault{
	{"no key file", func(s *site) { s.must(os.Remove(s.at("keys"))) }, []string{"error key-source"}},
	{"key file is garbage", func(s *site) { s.write("data/keys", "hello\nworld\n", 0o600) }, []string{"error key-source"}},
	{"sample key", func(s *site) { s.write("data/keys", "your-very-secret-key\n", 0o600) }, []string{"error key-source"}},
	{"sample key of a tutorial", func(s *site) {
		s.write("data/keys", "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7\n", 0o600)
	}, []string{"error key-source"}},
	{"no active key", func(s *site) { s.keys(s.key.AsNext()) }, []string{"error key-source"}},
	{"key in a variable that is not set", func(s *site) { s.flags["keys"] = "env:SECRET_KEYS" }, []string{"error config"}},
	{"key of two years", func(s *site) { s.keys(s.aged(s.key, 2*365*day)) }, []string{"warning key-age"}},
	{"key that rotation forgot", func(s *site) {
		s.flags["key-rotation"] = "30d"
		s.keys(s.aged(s.key, 40*day))
	}, []string{"warning key-age"}},
	{"key of unknown age", func(s *site) { s.write("data/keys", s.secretOf(s.key)+"\n", 0o600) }, []string{"ok key-age-unknown"}},
	{"key from the future", func(s *site) { s.keys(s.aged(s.key, -3*day)) }, []string{"warning key-future"}},
	{"next for months", func(s *site) { s.keys(s.key, s.aged(keyring.Generate(), 60*day).AsNext()) }, []string{"warning key-next"}},
	{"retired long ago", func(s *site) {
		s.keys(s.key, s.aged(keyring.Generate(), 90*day).AsRetiring(time.Now().Add(-60*day)))
	}, []string{"warning key-retired"}},
	{"retires too early", func(s *site) {
		s.keys(s.key, s.aged(keyring.Generate(), 90*day).AsRetiring(time.Now().Add(time.Hour)))
	}, []string{"warning key-retires-early"}},
	{"healthy after the key that took over has leaked", func(s *site) {
		leaked := s.aged(keyring.Generate(), 2*time.Hour).AsRetiring(time.Now().Add(-6 * time.Minute))
		s.keys(s.key, leaked, s.aged(keyring.Generate(), 90*day).AsRetiring(time.Now().Add(23*time.Hour)))
	}, nil},
	{"retires too late", func(s *site) {
		s.keys(s.key, s.aged(keyring.Generate(), 90*day).AsRetiring(time.Now().Add(60*day)))
	}, []string{"warning key-retires-late"}},
	{"fifty keys", func(s *site) {
		list := []keyring.Key{s.key}
		for range 50 {
			list = append(list, keyring.Generate().AsRetiring(time.Now().Add(-time.Hour)))
		}
		s.keys(list...)
	}, []string{"warning key-count"}},
	{"another key than yesterday's", func(s *site) {
		s.remember(keyring.Generate(), time.Now())
	}, []string{"error key-registry"}},
	{"a first start with another key was killed as it won", func(s *site) {
		s.remember(s.key, time.UnixMilli(1))
		s.remember(keyring.Generate(), time.UnixMilli(3))
	}, []string{"error key-registry"}},
	{"healthy after a first start with another key that was killed", func(s *site) {
		s.remember(keyring.Generate(), time.UnixMilli(1))
	}, nil},
	{"healthy after a race for the key", func(s *site) {
		s.remember(keyring.Generate(), time.UnixMilli(3))
		s.remember(s.key, time.Now())
	}, nil},
	{"another program's variable has our key", func(s *site) { s.environ = []string{"SECRET_KEY=" + s.secretOf(s.key)} }, []string{"error key-shared"}},
	{"another program's .env has our key", func(s *site) {
		s.write(".env", "DEBUG=1\nSECRET_KEY=\""+s.secretOf(s.key)+"\"\n", 0o600)
	}, []string{"error key-shared"}},
}

// sourceFaults are those of keys that come from elsewhere than the key file.
var sourceFaults = []fault{
	{"healthy with keys in a variable", func(s *site) {
		s.must(os.Remove(s.at("keys")))
		s.flags["keys"], s.environ = "env:SECRET_KEYS", []string{"SECRET_KEYS=" + s.key.Text()}
	}, nil},
	{"mounted secret that others may change", func(s *site) {
		s.must(os.Remove(s.at("keys")))
		s.flags["keys-file"] = s.write("run/secret", s.key.Text(), 0o446)
	}, []string{"error key-mode"}},
	{"healthy with keys in a .env file", func(s *site) { s.dotenv(0o600, "") }, nil},
	{"healthy with keys in a .env file behind a #", func(s *site) {
		s.must(os.Remove(s.at("keys")))
		s.flags["keys"] = "dotenv:" + s.write("a#b/.env", "KEYS=\""+s.key.Text()+"\"\n", 0o600) + "#KEYS"
	}, nil},
	{".env file of another name has our key twice", func(s *site) {
		s.dotenv(0o600, "")
		s.flags["keys"] = "dotenv:" + s.write("a#b/secrets", "OTHER=\""+s.key.Text()+"\"\nKEYS=\""+s.key.Text()+"\"\n", 0o600) + "#KEYS"
		s.must(os.Remove(filepath.Join(s.dir, ".env")))
	}, []string{"error key-shared"}},
	{".env file is open", func(s *site) { s.dotenv(0o644, "") }, []string{"error key-mode"}},
	{".env file has our key twice", func(s *site) { s.dotenv(0o600, "SECRET_KEY="+s.secretOf(s.key)+"\n") }, []string{"error key-shared"}},
	{".env file is tracked", func(s *site) { s.dotenv(0o600, ""); s.git("add", "-f", ".env") }, []string{"error git-tracked"}},
	{".env file lacks the variable", func(s *site) {
		s.dotenv(0o600, "")
		s.write(".env", "OTHER=1\n", 0o600)
	}, []string{"error key-source"}},
	{"Vault's token is open and tracked", func(s *site) {
		s.vault()
		s.must(os.Chmod(filepath.Join(s.dir, "vault-token"), 0o646))
		s.git("add", "-f", "vault-token")
	}, []string{"error git-tracked", "error key-mode"}},
	{"Vault is away", func(s *site) { s.vault() }, []string{"error key-source"}},
}

// dotenv keeps the key in a .env file.
func (s *site) dotenv(mode os.FileMode, more string) {
	s.must(os.Remove(s.at("keys")))
	s.flags["keys"] = "dotenv:" + s.write(".env", more+"KEYS=\""+s.key.Text()+"\"\n", mode) + "#KEYS"
}

// vault keeps the key where nobody answers.
func (s *site) vault() {
	s.must(os.Remove(s.at("keys")))
	token := s.write("vault-token", "c4nary-of-a-token", 0o600)
	s.flags["keys"] = "vault:http://127.0.0.1:1/secret/login?auth=token&token-file=" + token
}

// remember notes when a key was in use. Times of the first hour of 1970 are claims to it.
func (s *site) remember(k keyring.Key, at time.Time) {
	s.sqlite(func(db sqlstore.DB) error {
		st, err := sqlstore.New(context.Background(), db)
		if err != nil {
			return err
		}
		return st.RememberKey(context.Background(), k.ID().String(), at)
	})
}

// put stores sessions of so many bytes, made so long ago.
func (s *site) put(n, size int, age time.Duration) {
	s.sqlite(func(db sqlstore.DB) error {
		st, err := sqlstore.New(context.Background(), db)
		if err != nil {
			return err
		}
		now := time.Now().UTC().Truncate(time.Millisecond)
		for range n {
			r := store.Record{Created: now.Add(-age), Seen: now, Expires: now.Add(time.Hour), Deadline: now.Add(day), Data: make([]byte, size)}
			rand.Read(r.ID[:])
			if err := st.Put(context.Background(), r); err != nil {
				return err
			}
		}
		return nil
	})
}

// instance reports a running instance with these keys.
func (s *site) instance(id, version, url string, keys ...keyring.KeyInfo) {
	s.sqlite(func(db sqlstore.DB) error {
		f, err := fleet.Open(context.Background(), db)
		if err != nil {
			return err
		}
		return f.Report(context.Background(), fleet.Instance{ID: id, Started: time.Now(), Version: version, Addr: "127.0.0.1:80", URL: url, Keys: fleet.Describe(keys)})
	})
}

func (s *site) infos(k keyring.Key) []keyring.KeyInfo {
	ring, err := keyring.New(k)
	s.must(err)
	return ring.Keys()
}

var databaseFaults = []fault{
	{"no database", func(s *site) { s.must(os.Remove(s.at("cloakroom.db"))) }, []string{"warning database-missing"}},
	{"database is garbage", func(s *site) {
		s.write("data/cloakroom.db", strings.Repeat("no database at all ", 100), 0o600)
	}, []string{"error database-reachable"}},
	{"database without tables", func(s *site) { s.write("data/cloakroom.db", "", 0o600) }, []string{"warning schema"}},
	{"tables are newer", func(s *site) {
		s.exec("UPDATE cloakroom_schema SET version = 99 WHERE component = CAST('user' AS BLOB)")
	}, []string{"error schema"}},
	{"tables are older", func(s *site) {
		s.exec("UPDATE cloakroom_schema SET version = 1 WHERE component = CAST('user' AS BLOB)")
	}, []string{"warning schema"}},
	{"large sessions", func(s *site) { s.put(3, 40<<10, 0) }, []string{"warning session-size"}},
	{"growing sessions", func(s *site) { s.put(15, 500, time.Minute); s.put(15, 9000, 10*time.Hour) }, []string{"warning session-growth"}},
	{"nobody sweeps", func(s *site) {
		s.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
			INSERT INTO cloakroom_session SELECT randomblob(32), 1, 0, 0, 1000, 1000, 1000, 0, 0, x'', x'', x'' FROM n`)
	}, []string{"warning sweep"}},
	{"no administrator", func(s *site) { s.exec("UPDATE cloakroom_user SET admin = 0") }, []string{"warning no-admin"}},
	{"no enabled administrator", func(s *site) { s.exec("UPDATE cloakroom_user SET disabled = 1") }, []string{"warning no-admin"}},
	{"one administrator", func(s *site) { s.exec("UPDATE cloakroom_user SET disabled = 1 WHERE canonical = CAST('ann' AS BLOB)") }, []string{"ok one-admin"}},
	{"hashes without pepper", func(s *site) { s.flags["pepper"] = "true" }, []string{"warning pepper-plain"}},
	{"hashes under a key that is gone", func(s *site) {
		lost, err := keyring.New(keyring.Generate())
		s.must(err)
		h, err := password.New(&password.Options{Pepper: lost.Purpose("password")})
		s.must(err)
		sealed, err := h.Hash(context.Background(), "the password that nobody types")
		s.must(err)
		s.exec(fmt.Sprintf("UPDATE cloakroom_user SET password = CAST('%s' AS BLOB)", sealed))
	}, []string{"error pepper-key"}},
	{"hashes that name no key", func(s *site) {
		s.exec("UPDATE cloakroom_user SET password = CAST('$sealed$v=1$AQ' AS BLOB)")
	}, []string{"error pepper-key"}},
	{"instances with two keys", func(s *site) {
		s.instance("one", "v1", "https://a.example", s.infos(s.key)...)
		s.instance("two\u202e", "v1", "https://a.example", s.infos(keyring.Generate())...) // a name that turns what follows it
	}, []string{"error fleet-keys"}},
	{"instances with other keys than ours", func(s *site) { s.instance("one", "v1", "", s.infos(keyring.Generate())...) }, []string{"warning fleet-keys"}},
	{"instances of two versions and addresses", func(s *site) {
		s.instance("one", "v1", "https://a.example", s.infos(s.key)...)
		s.instance("two", "v2", "https://b.example", s.infos(s.key)...)
	}, []string{"warning fleet-version", "error fleet-url"}},
	{"instance that cannot look", func(s *site) {
		s.sqlite(func(db sqlstore.DB) error {
			f, err := fleet.Open(context.Background(), db)
			if err != nil {
				return err
			}
			return f.Report(context.Background(), fleet.Instance{ID: "one", Started: time.Now(), Version: "v1", Keys: fleet.Describe(s.infos(s.key)), Failing: "vault: sealed"})
		})
	}, []string{"warning fleet-failing"}},
}

var tlsFaults = []fault{
	{"certificate is missing", func(s *site) { s.atTheFront(); s.must(os.Remove(s.flags["tls-cert"])) }, []string{"error tls-files"}},
	{"certificate and key do not match", func(s *site) {
		s.atTheFront()
		cert, err := os.ReadFile(s.flags["tls-cert"])
		s.must(err)
		s.atTheFront()
		s.must(os.WriteFile(s.flags["tls-cert"], cert, 0o600))
	}, []string{"error tls-files"}},
	{"certificate has expired", func(s *site) {
		s.atTheFront()
		s.tls(certificate{names: []string{"login.example.org"}, from: -90 * day, until: -day})
	}, []string{"error tls-expired"}},
	{"certificate expires soon", func(s *site) {
		s.atTheFront()
		s.tls(certificate{names: []string{"login.example.org"}, from: -85 * day, until: 5 * day})
	}, []string{"warning tls-expiring"}},
	{"certificate for another host", func(s *site) {
		s.atTheFront()
		s.tls(certificate{names: []string{"www.example.org"}, from: -day, until: 60 * day})
	}, []string{"error tls-host"}},
	{"certificate without its chain", func(s *site) {
		s.atTheFront()
		s.tls(certificate{names: []string{"login.example.org"}, from: -day, until: 60 * day, issuerURL: "http://ca.example/between.der"})
	}, []string{"warning tls-chain"}},
	{"chain in the wrong order", func(s *site) {
		s.atTheFront()
		other, err := os.ReadFile(s.flags["tls-cert"])
		s.must(err)
		s.atTheFront()
		f, err := os.OpenFile(s.flags["tls-cert"], os.O_APPEND|os.O_WRONLY, 0)
		s.must(err)
		_, err = f.Write(other)
		s.must(err)
		s.must(f.Close())
	}, []string{"warning tls-chain"}},
	{"weak certificate", func(s *site) {
		s.atTheFront()
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		s.must(err)
		s.tls(certificate{names: []string{"login.example.org"}, from: -day, until: 60 * day, key: key})
	}, []string{"error tls-weak"}},
	{"certificate's key is open", func(s *site) { s.atTheFront(); s.must(os.Chmod(s.flags["tls-key"], 0o644)) }, []string{"error tls-key-mode"}},
}
