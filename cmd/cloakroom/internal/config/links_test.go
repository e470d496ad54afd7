package config_test

import (
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
)

// checks are those of all packages whose stores are on servers.
var checks = map[string]struct {
	schemes []string
	check   func(url string) (link.Login, error)
}{
	"postgres": {[]string{"postgres", "postgresql"}, func(url string) (link.Login, error) { return postgres.CheckURL(url, nil) }},
	"mariadb":  {[]string{"mysql", "mariadb"}, func(url string) (link.Login, error) { return mariadb.CheckURL(url, nil) }},
	"redisstore": {[]string{"redis", "rediss", "redis+unix"},
		func(url string) (link.Login, error) { return redisstore.CheckURL(url, nil) }},
	"memcachestore": {[]string{"memcache", "memcaches"},
		func(url string) (link.Login, error) { return memcachestore.CheckURL(url, nil) }},
}

// TestPromise11_PiecesOfAPassword: a password with a sign that has a meaning in a
// URL makes parts of it look like something else. Every package refuses such a
// URL, in one line with its name in front, and repeats nothing of it; so does the
// service.
func TestPromise11_PiecesOfAPassword(t *testing.T) {
	t.Setenv("PGPASSFILE", "/nonexistent")
	rests := []string{
		"u:hunter2/@h/db", "u:hunter2/x@h/db", "u:12/hunter2@h/db", "u:12/34?hunter2@h/db", "u:/hunter2@h",
		"u:hunter2?@h/db", "u:12?hunter2@h/db", "u:12?hunter2=1@h", "u:12?ca=hunter2@h", "u:12?sslrootcert=hunter2@h/db", "u:a@b?cert=hunter2@h/db",
		"u:1@hunter2@h/db", "u:hunter2@hunter3@h", "u@hunter2,h@h",
		"u:hunter2#@h/db", "u:12#hunter2@h/db", "12#hunter2@h",
		"u:%zzhunter2@h/db", "u:hunter2%@h/db", "u:hunter2%2@h",
		"u:hunter2", "u:hunter2,h2", "u:12,u:hunter2/0", "h/db?hunter2=1", "h/db?hunter2", "h/?prefix=a&hunter2%40h", "h:hunter2/db",
		"u:hunter2[@h]/db", "u:hunter2@[h/db", "u:hunter2@h:0/db", "u:hunter2@h:99999/db", "u:hunter2@:x/db", ":hunter2@h h/db",
	}
	for name, c := range checks {
		for _, scheme := range c.schemes {
			for _, rest := range rests {
				url := scheme + "://" + rest
				_, err := c.check(url)
				if err == nil {
					t.Errorf("%s takes %s", name, url)
					continue
				}
				if text := err.Error(); strings.Contains(text, "hunter") || strings.Contains(text, "\n") || !strings.HasPrefix(text, name+": ") {
					t.Errorf("%s: %q, want one line of %s without the password", url, text, name)
				}
				c, err := load(t, "", map[string]string{"store": url})
				if err == nil || strings.Contains(err.Error(), "hunter") {
					t.Errorf("%s: the service says %v of %v", url, err, c)
				}
			}
		}
	}
}

// TestASVS_12_3_1_OneMeaningOfThisMachine: all packages mean the same by it.
func TestASVS_12_3_1_OneMeaningOfThisMachine(t *testing.T) {
	t.Setenv("PGPASSFILE", "/nonexistent")
	forms := map[string]string{
		"postgres": "postgres://u:secret@HOST/db?sslmode=disable", "mariadb": "mysql://u:secret@HOST/db",
		"redisstore": "redis://u:secret@HOST/0", "memcachestore": "memcache://u:secret@HOST/p",
	}
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.9.9.9": true, "[::1]": true, "[::ffff:127.0.0.1]": true,
		"localhost.": false, "localhost.example": false, "127.1": false, "2130706433": false, "0x7f000001": false, "0177.0.0.1": false,
		"0.0.0.0": false, "[::]": false, "[::1%25lo]": false, "[fe80::1%25lo]": false, "db": false,
	} {
		for name, form := range forms {
			l, err := checks[name].check(strings.Replace(form, "HOST", host, 1))
			if (err == nil) != want || l.Local != want {
				t.Errorf("%s takes %s for this machine: %t, %v, want %t", name, host, l.Local, err, want)
			}
		}
	}
}
