package config_test

import (
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// TestASVS_13_2_1_WhoIsLetInOnOtherHosts: a store on another host that would take
// anybody is refused before anything is sent there; this machine's own are not.
func TestASVS_13_2_1_WhoIsLetInOnOtherHosts(t *testing.T) {
	t.Setenv("PGPASSFILE", "/nonexistent")
	const (
		anybody = "takes whoever comes"
		tried   = "everybody tries first"
	)
	for _, tc := range []struct{ setting, url, want string }{ // want "": fine
		{"store", "redis://192.0.2.1/0", anybody},
		{"store", "rediss://redis.example:6380/0", anybody},
		{"store", "redis://[2001:db8::1]:6379/0", anybody},
		{"store", "redis://:" + secret + "@192.0.2.1/0", ""},
		{"store", "redis://app:" + secret + "@192.0.2.1/0", ""},
		{"store", "redis://:redis@192.0.2.1/0", tried},
		{"store", "redis://:default@192.0.2.1/0", tried},
		{"store", "redis://default:default@192.0.2.1/0", tried},
		{"store", "redis://app:APP@192.0.2.1/0", tried},
		{"store", "redis://a%70p:%61pp@192.0.2.1/0", tried},
		{"store", "redis://127.0.0.1/0", ""},
		{"store", "redis://127.8.9.10/0", ""},
		{"store", "redis://[::1]:6379/0", ""},
		{"store", "redis://localhost/0", ""},
		{"store", "redis://redis:redis@localhost/0", ""},
		{"store", "redis://localhost.example/0", anybody},
		{"store", "redis+unix:///run/redis.sock", ""},
		{"store", "memcache://192.0.2.1", anybody},
		{"store", "memcache://127.0.0.1,127.0.0.2:11212/p", ""},
		{"store", "memcache://127.0.0.1:11211,192.0.2.1:11211/p", anybody},
		{"store", "memcache://app:" + secret + "@192.0.2.1,192.0.2.2", ""},
		{"store", "memcache://app:memcached@192.0.2.1", tried},
		{"store", "memcache:///p?socket=/run/memcached.sock", ""},
		{"store", "postgres://app@192.0.2.1/db", anybody},
		{"users", "postgres://app@192.0.2.1/db", anybody},
		{"users", "postgres://postgres:postgres@192.0.2.1/db", tried},
		{"users", "postgres://app:" + secret + "@192.0.2.1/db", ""},
		{"users", "postgres://app@192.0.2.1/db?password=" + secret, ""},
		{"users", "postgres://app@127.0.0.1:5432,192.0.2.1:5432/db", anybody},
		{"users", "postgres:///db?host=192.0.2.1&user=app", anybody},
		{"users", "postgres:///db?host=/run/postgresql&user=app", ""},
		{"users", "postgres://app@localhost/db", ""},
		{"users", "mysql://root@192.0.2.1/db", anybody},
		{"users", "mysql://root:root@192.0.2.1/db", tried},
		{"users", "mysql://app:" + secret + "@192.0.2.1/db", ""},
		{"users", "mysql://app@/db?socket=/run/mysqld.sock", ""},
		{"users", "mariadb://root:root@127.0.0.1/db", ""},
	} {
		flags := map[string]string{tc.setting: tc.url, "allow-plaintext": "true"}
		_, err := load(t, "", flags)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s %s: %v", tc.setting, tc.url, err)
		case tc.want == "":
		case err == nil:
			t.Errorf("%s %s is taken", tc.setting, tc.url)
		case !strings.HasPrefix(err.Error(), tc.setting+": ") || !strings.Contains(err.Error(), tc.want) ||
			!strings.Contains(err.Error(), "allow-anonymous=true") || strings.Contains(err.Error(), "\n"):
			t.Errorf("%s %s: %v", tc.setting, tc.url, err)
		}
		flags["allow-anonymous"] = "true"
		if _, err := load(t, "", flags); err != nil {
			t.Errorf("%s %s, allowed: %v", tc.setting, tc.url, err)
		}
	}

	// The password may come from where libpq looks for it, and so may a bad one.
	t.Setenv("PGPASSWORD", secret)
	if _, err := load(t, "", map[string]string{"users": "postgres://app@192.0.2.1/db", "allow-plaintext": "true"}); err != nil {
		t.Error(err)
	}
	t.Setenv("PGPASSWORD", "app")
	if _, err := load(t, "", map[string]string{"users": "postgres://app@192.0.2.1/db", "allow-plaintext": "true"}); err == nil {
		t.Error("the user's name for a password is taken from the environment")
	}
}

// TestASVS_13_2_1_ACertificateIsProof: who shows a client certificate is not
// anonymous.
func TestASVS_13_2_1_ACertificateIsProof(t *testing.T) {
	dir := services.TLS(t)
	for setting, urls := range map[string][]string{
		"store": {
			"rediss://192.0.2.1/0?cert=" + dir + "/cert.pem&key=" + dir + "/key.pem",
			"memcaches://192.0.2.1?cert=" + dir + "/cert.pem&key=" + dir + "/key.pem",
		},
		"users": {
			"mysql://app@192.0.2.1/db?tls=true&cert=" + dir + "/cert.pem&key=" + dir + "/key.pem",
			"postgres://app@192.0.2.1/db?sslmode=verify-full&sslrootcert=" + dir + "/ca.pem&sslcert=" + dir + "/cert.pem&sslkey=" + dir + "/key.pem",
		},
	} {
		for _, url := range urls {
			if _, err := load(t, "", map[string]string{setting: url}); err != nil {
				t.Errorf("%s: %v", url, err)
			}
			url = url[:strings.Index(url, "cert=")] // none of the rest
			url = strings.TrimRight(strings.TrimSuffix(url, "ssl"), "?&")
			if strings.HasPrefix(url, "postgres") {
				url = "postgres://app@192.0.2.1/db?sslmode=verify-full&sslrootcert=" + dir + "/ca.pem"
			}
			if _, err := load(t, "", map[string]string{setting: url}); err == nil {
				t.Errorf("%s is taken", url)
			}
		}
	}
}
