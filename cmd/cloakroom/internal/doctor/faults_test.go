package doctor_test

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The settings of a service behind a proxy that ends TLS, and those of one that ends
// TLS itself.
func (s *site) proxied() {
	s.flags["public-url"], s.flags["trusted-proxies"] = "https://login.example.org", "127.0.0.1"
}

func (s *site) atTheFront() {
	s.flags["public-url"] = "https://login.example.org"
	s.tls(certificate{names: []string{"login.example.org"}, from: -time.Hour, until: 60 * 24 * time.Hour})
}

var settingFaults = []fault{
	{"unknown setting", func(s *site) { s.environ = []string{"CLOAKROOM_PUBLIC_ULR=x"} }, []string{"error config"}},
	{"settings of the wrong form", func(s *site) {
		s.flags["listen"], s.flags["log-level"], s.flags["lifetime"] = "8080", "loud", "a day"
		s.flags["audit-retention"], s.flags["pepper"], s.flags["max-sessions"] = "a year", "salt", "many"
		s.flags["max-connections"], s.flags["banned-words"], s.flags["trusted-proxies"] = "0", "\xff", "proxy"
		s.flags["store"], s.flags["users-file"], s.flags["keys"] = "sealed:x", s.dir+"/missing", "vault:"
	}, []string{"error config"}},
	{"URL that the package of the place refuses", func(s *site) {
		s.flags["store"] = "redis://127.0.0.1:1/0/1"
	}, []string{"error config", "warning accounts-local", "error database-reachable"}},
	{"idle timeout over lifetime", func(s *site) { s.flags["idle-timeout"], s.flags["lifetime"] = "2h", "1h" }, []string{"error config"}},
	{"plain http to everybody", func(s *site) { s.flags["listen"] = "0.0.0.0:8080" }, []string{"error config"}},
	{"http beyond this machine", func(s *site) { s.flags["public-url"] = "http://login.example.org" }, []string{"error config"}},
	{"public-url is http", func(s *site) { s.flags["public-url"] = "http://localhost:8080" }, []string{"warning cookie-insecure"}},
	{"no public-url", func(s *site) {
		s.atTheFront()
		delete(s.flags, "public-url")
		s.flags["listen"] = "0.0.0.0:443"
	}, []string{"warning public-url-missing"}},
	{"around the proxy", func(s *site) { s.proxied(); s.flags["listen"] = "0.0.0.0:8080" }, []string{"warning listen-plain"}},
	{"no trusted proxies", func(s *site) { s.proxied(); delete(s.flags, "trusted-proxies") }, []string{"warning proxies-missing"}},
	{"everybody is a proxy", func(s *site) { s.proxied(); s.flags["trusted-proxies"] = "0.0.0.0/0,::/0" }, []string{"error proxies-wide"}},
	{"two listeners, one address", func(s *site) { s.flags["admin-listen"] = "127.0.0.1:8080" }, []string{"error admin-listen"}},
	{"audit log for ever", func(s *site) { s.flags["audit-retention"] = "0" }, []string{"warning audit-retention"}},
	{"audit log for a week", func(s *site) { s.flags["audit-retention"] = "7d" }, []string{"warning audit-retention"}},
	{"plain links to whoever answers elsewhere", func(s *site) {
		s.flags["store"], s.flags["allow-plaintext"], s.flags["allow-anonymous"] = "redis://0.0.0.0:1/0", "true", "true"
	}, []string{"warning plaintext-link", "warning anonymous-store", "warning accounts-local", "error database-reachable"}},
	{"sessions in memory", func(s *site) { s.flags["store"] = "memory:" }, []string{"warning store-volatile"}},
}

var fileFaults = []fault{
	{"data directory is open", func(s *site) { s.must(os.Chmod(s.data, 0o750)) }, []string{"warning data-mode"}},
	{"data directory is writable", func(s *site) { s.must(os.Chmod(s.data, 0o777)) }, []string{"error data-mode"}},
	{"database is open", func(s *site) { s.must(os.Chmod(s.at("cloakroom.db"), 0o644)) }, []string{"warning database-mode"}},
	{"backup is open", func(s *site) { s.write("data/cloakroom.db.bak", "copy", 0o644) }, []string{"warning database-mode"}},
	{"open database in an open directory", func(s *site) {
		s.write("elsewhere/app.db", "", 0o600)
		s.must(os.Rename(s.at("cloakroom.db"), filepath.Join(s.dir, "elsewhere", "app.db")))
		s.flags["store"], s.flags["users"] = "sqlite:"+filepath.Join(s.dir, "elsewhere/app.db"), "sqlite:"+filepath.Join(s.dir, "elsewhere/app.db")
		s.must(os.Chmod(filepath.Join(s.dir, "elsewhere/app.db"), 0o604))
		s.must(os.Chmod(filepath.Join(s.dir, "elsewhere"), 0o755))
	}, []string{"error database-mode"}},
	{"somebody else's data directory", func(s *site) { s.world.UID = os.Geteuid() + 1 }, []string{"error file-owner"}},
	{"data in memory", func(s *site) { s.world.Kind = func(string) (string, bool) { return "tmpfs", true } }, []string{"warning data-place"}},
	{"data in a folder that is emptied", func(s *site) { s.world.Emptied = []string{s.dir} }, []string{"warning data-place"}},
	{"data on NFS", func(s *site) { s.world.Kind = func(string) (string, bool) { return "nfs", true } }, []string{"error data-network"}},
	{"database elsewhere, in memory", func(s *site) {
		path := s.write("elsewhere/app.db", "", 0o600)
		s.must(os.Rename(s.at("cloakroom.db"), path))
		s.flags["store"], s.flags["users"] = "sqlite:"+path, "sqlite:"+path
		s.world.Kind = func(path string) (string, bool) {
			if strings.HasSuffix(path, "elsewhere") {
				return "tmpfs", true
			}
			return "", true
		}
	}, []string{"warning data-place"}},
	{"disk is full", func(s *site) {
		s.world.Room = func(string) (uint64, uint64, bool) { return 1 << 20, 1 << 30, true }
	}, []string{"error disk-space"}},
	{"disk is nearly full", func(s *site) {
		s.world.Room = func(string) (uint64, uint64, bool) { return 100 << 20, 1 << 30, true }
	}, []string{"warning disk-space"}},
	{"few files", func(s *site) { s.world.MaxFiles = func() (uint64, bool) { return 256, true } }, []string{"warning file-limit"}},
	{"clock is not set", func(s *site) {
		s.world.Now = func() time.Time { return time.Date(1970, 1, 1, 0, 10, 0, 0, time.UTC) }
	}, []string{"error clock-set", "warning key-future"}},
	{"key file is open", func(s *site) { s.must(os.Chmod(s.at("keys"), 0o640)) }, []string{"error key-mode"}},
	{"key file in a writable folder", func(s *site) {
		s.moveKeys("open/keys")
		s.must(os.Chmod(filepath.Join(s.dir, "open"), 0o777))
	}, []string{"error key-folder"}},
	{"key file is a link into a writable folder", func(s *site) {
		s.moveKeys("open/keys")
		s.must(os.Chmod(filepath.Join(s.dir, "open"), 0o775))
		delete(s.flags, "keys")
		s.must(os.Symlink(filepath.Join(s.dir, "open/keys"), s.at("keys")))
	}, []string{"error key-folder"}},
	{"key file has two names", func(s *site) { s.must(os.Link(s.at("keys"), filepath.Join(s.dir, "other"))) }, []string{"warning key-links"}},
	{"copies of the key file", func(s *site) {
		s.write("data/keys~", "old", 0o600)
		s.write("data/.keys.swp", "old", 0o600)
	}, []string{"warning key-copies"}},
	{"leftovers beside the key file", func(s *site) {
		s.write("data/.cloakroom-1234.tmp", "fresh: it is being written", 0o600)
		old := s.write("data/.cloakroom-keys-0a1b-99.tmp", "left", 0o600)
		s.must(os.Chtimes(old, time.Time{}, time.Now().Add(-time.Hour)))
	}, []string{"warning key-copies"}},
	{"configuration with a password is open", func(s *site) {
		s.flags["config"] = s.write("cloakroom.toml", "# users = \"postgres://app:Pa55word1@db/app\"\n", 0o644)
	}, []string{"error secret-mode"}},
	{"configuration with a password for a group", func(s *site) {
		s.flags["config"] = s.write("cloakroom.toml", "# users = \"postgres://app:Pa55word1@db/app\"\n", 0o640)
	}, nil},
	{"file of a place that others may change", func(s *site) {
		s.flags["users-file"] = s.write("users", "sqlite:"+s.at("cloakroom.db"), 0o646)
	}, []string{"error config", "error secret-mode"}},
	{"key file in a web server's folder", func(s *site) {
		s.write("public_html/index.html", "<p>hello</p>", 0o644)
		s.moveKeys("public_html/private/keys")
	}, []string{"error web-folder"}},
	{"key file is tracked", func(s *site) { s.git("add", "-f", "data/keys") }, []string{"error git-tracked"}},
	{"key file was committed", func(s *site) {
		s.git("add", "-f", "data/keys")
		s.git("-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", "oops")
	}, []string{"error git-tracked"}},
	{"key file is not ignored", func(s *site) {
		s.git("status")
		s.must(os.WriteFile(filepath.Join(s.dir, ".gitignore"), []byte("*.db\n"), 0o644))
	}, []string{"warning git-ignored"}},
}

// moveKeys puts the key file elsewhere.
func (s *site) moveKeys(to string) {
	path := filepath.Join(s.dir, to)
	s.must(os.MkdirAll(filepath.Dir(path), 0o700))
	s.must(os.Rename(s.at("keys"), path))
	s.flags["keys"] = "file:" + path
}
