package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
)

// load loads with a TOML file of this text, "" for none.
func load(t *testing.T, toml string, flags map[string]string, environ ...string) (*config.Config, error) {
	t.Helper()
	all := map[string]string{}
	if toml != "" {
		path := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(path, []byte(toml), 0o600); err != nil {
			t.Fatal(err)
		}
		all["config"] = path
	}
	for k, v := range flags {
		all[k] = v
	}
	return config.Load(all, environ)
}

func TestDefaults(t *testing.T) {
	c, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	db := config.Place{Scheme: "sqlite", Path: filepath.Join("cloakroom-data", "cloakroom.db")}
	if c.Listen != "127.0.0.1:8080" || c.Prefix != "/auth" || c.Store != db || c.Users != db ||
		c.Keys.Path() != filepath.Join("cloakroom-data", "keys") || c.KeysInterval != time.Second || c.KeyRotation != 0 || c.IdleTimeout != 30*time.Minute ||
		c.Lifetime != 24*time.Hour || c.LogFormat != "text" || c.LogLevel != "info" ||
		c.PublicURL != nil || c.TrustedProxies != nil || c.AdminListen != "" || c.TLS() || c.HTTPS() || c.PlainCookie() {
		t.Errorf("%+v", c)
	}
	if c, err := load(t, "", map[string]string{"lifetime": "10m"}); err != nil || c.IdleTimeout != 10*time.Minute {
		t.Errorf("a short lifetime must shorten the default idle timeout: %v, %v", c, err)
	}
}

func TestFlagBeforeEnvironmentBeforeFile(t *testing.T) {
	const file = "prefix = \"/file\"\nlog-level = \"warn\"\nlog-format = \"json\""
	c, err := load(t, file, map[string]string{"prefix": "/flag"}, "CLOAKROOM_PREFIX=/env", "CLOAKROOM_LOG_LEVEL=error", "PATH=/bin")
	if err != nil {
		t.Fatal(err)
	}
	if c.Prefix != "/flag" || c.LogLevel != "error" || c.LogFormat != "json" {
		t.Errorf("prefix %s, level %s, format %s", c.Prefix, c.LogLevel, c.LogFormat)
	}
}

func TestConfigFileByEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte(`data = "elsewhere"`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(nil, []string{"CLOAKROOM_CONFIG=" + path})
	if err != nil || c.Data != "elsewhere" || c.Keys.String() != "file:"+filepath.Join("elsewhere", "keys") {
		t.Errorf("%+v, %v", c, err)
	}
}

// Every setting is in the flags, in the environment and in the file.
func TestSameNamesEverywhere(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	if err := os.WriteFile(store, []byte("redis://:"+secret+"@127.0.0.1:6379/3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := map[string]string{
		"listen": "127.0.0.1:1", "data": "d", "prefix": "/p/q", "store-file": store, "users": "sqlite:u.db", "allow-plaintext": "true", "allow-anonymous": "true", "store-timeout": "1s", "max-connections": "7",
		"keys": "file:k", "keys-interval": "5s", "key-rotation": "90d", "public-url": "https://a.example", "trusted-proxies": "10.0.0.1,fd00::/8",
		"tls-cert": "c", "tls-key": "k", "idle-timeout": "1m", "lifetime": "2m", "log-format": "json",
		"max-sessions": "5", "reauth-after": "7m", "banned-words": "acme, acme-labs", "pepper": "true", "audit-retention": "30d",
		"log-level": "debug", "admin-listen": "[::1]:9",
	}
	var file strings.Builder
	var environ []string
	for _, s := range config.Settings() {
		v, ok := good[s.Name]
		if !ok && (s.Name == "store" || s.Name == "users-file" || s.Name == "keys-file") {
			continue // the other one of the two is here: see TestPlacesByTextAndFile
		}
		if !ok {
			t.Fatalf("setting %s has no case here", s.Name)
		}
		file.WriteString(s.Name + " = \"" + v + "\"\n")
		environ = append(environ, "CLOAKROOM_"+strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))+"="+v)
	}
	if len(good)+3 != len(config.Settings()) {
		t.Fatalf("%d settings, %d cases", len(config.Settings()), len(good))
	}
	check := func(from string, c *config.Config, err error) {
		if err != nil {
			t.Fatalf("%s: %v", from, err)
		}
		if c.Listen != "127.0.0.1:1" || c.Data != "d" || c.Prefix != "/p/q" || c.Store != (config.Place{Scheme: "redis", URL: "redis://:" + secret + "@127.0.0.1:6379/3"}) ||
			!c.AllowPlaintext || !c.AllowAnonymous || c.StoreTimeout != time.Second || c.MaxConnections != 7 ||
			c.Users.Path != "u.db" || c.Keys.Path() != "k" || c.KeysInterval != 5*time.Second || c.KeyRotation != 90*24*time.Hour || c.Origin() != "https://a.example" ||
			len(c.TrustedProxies) != 2 || c.TLSCert != "c" || c.TLSKey != "k" || c.IdleTimeout != time.Minute ||
			c.Lifetime != 2*time.Minute || c.LogFormat != "json" || c.LogLevel != "debug" ||
			c.MaxSessions != 5 || c.ReauthAfter != 7*time.Minute || !slices.Equal(c.BannedWords, []string{"acme", "acme-labs"}) || !c.Pepper || c.AuditRetention != 30*24*time.Hour || c.AdminListen != "[::1]:9" {
			t.Errorf("%s: %+v", from, c)
		}
	}
	c, err := load(t, "", good)
	check("flags", c, err)
	c, err = load(t, "", nil, environ...)
	check("environment", c, err)
	c, err = load(t, file.String(), nil)
	check("file", c, err)
	c, err = load(t, "trusted-proxies = [\"10.0.0.1\", \"fd00::/8\"]\nallow-plaintext = true\nallow-anonymous = true\nmax-connections = 7\nmax-sessions = 3\npepper = true\nbanned-words = [\"acme\", \"labs\"]", nil)
	if err != nil || c.MaxSessions != 3 || !c.Pepper || len(c.BannedWords) != 2 || len(c.TrustedProxies) != 2 || !c.AllowPlaintext || !c.AllowAnonymous || c.MaxConnections != 7 {
		t.Errorf("a list: %v, %v", c, err)
	}
}

// TestPlacesByTextAndFile: a place as text and from a file, from each source.
func TestPlacesByTextAndFile(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("sqlite:u.db"), 0o600); err != nil {
		t.Fatal(err)
	}
	given := map[string]string{"store": "memory:", "users-file": users, "keys-file": "k"}
	for _, c := range []func() (*config.Config, error){
		func() (*config.Config, error) { return load(t, "", given) },
		func() (*config.Config, error) {
			return load(t, "", nil, "CLOAKROOM_STORE=memory:", "CLOAKROOM_USERS_FILE="+users, "CLOAKROOM_KEYS_FILE=k")
		},
		func() (*config.Config, error) {
			return load(t, fmt.Sprintf("store = %q\nusers-file = %q\nkeys-file = %q", "memory:", users, "k"), nil)
		},
	} {
		if c, err := c(); err != nil || c.Store.Scheme != "memory" || c.Users.Path != "u.db" || c.Keys.Path() != "k" || c.Keys.Scheme != keysource.Mounted {
			t.Errorf("%+v, %v", c, err)
		}
	}
}

// secret stands wherever a value may be one: no message may repeat it.
const secret = "hunter2hunter2"

func TestPromise12_EveryFaultIsNamed(t *testing.T) {
	for _, tc := range []struct {
		name  string
		toml  string
		flags map[string]string
		env   []string
		want  []string // one for each line of the error
	}{
		{name: "listen without a port", flags: map[string]string{"listen": "127.0.0.1"}, want: []string{"--listen: not an address"}},
		{name: "listen with a service name", flags: map[string]string{"listen": "127.0.0.1:http"}, want: []string{"--listen: no port"}},
		{name: "listen too high", flags: map[string]string{"listen": "127.0.0.1:65536"}, want: []string{"--listen: no port"}},
		{name: "beyond loopback", flags: map[string]string{"listen": ":8080"}, want: []string{"listen: not a loopback address, and no TLS: set tls-cert and tls-key"}},
		{name: "all addresses", flags: map[string]string{"listen": "0.0.0.0:8080"}, want: []string{"listen: not a loopback"}},
		{name: "a host name", flags: map[string]string{"listen": "example.org:8080"}, want: []string{"listen: not a loopback"}},
		{name: "beyond loopback, http", flags: map[string]string{"listen": ":80", "public-url": "http://localhost"}, want: []string{"public-url: http, but listen"}},
		{name: "empty data", flags: map[string]string{"data": ""}, want: []string{"--data: empty"}},
		{name: "prefix without slash", flags: map[string]string{"prefix": "auth"}, want: []string{"--prefix: no path"}},
		{name: "prefix of the root", flags: map[string]string{"prefix": "/"}, want: []string{"--prefix: an empty"}},
		{name: "prefix with slash at end", flags: map[string]string{"prefix": "/auth/"}, want: []string{"--prefix: an empty"}},
		{name: "prefix with dots", flags: map[string]string{"prefix": "/a/../b"}, want: []string{"--prefix: an empty or relative"}},
		{name: "prefix with a pattern", flags: map[string]string{"prefix": "/{x}"}, want: []string{"--prefix: a character"}},
		{name: "store of later", flags: map[string]string{"store": "redis+cluster://u:" + secret + "@h/0"}, want: []string{`--store: "redis+cluster:" is not supported: this version takes sqlite:PATH, memory:`}},
		{name: "store without scheme", flags: map[string]string{"store": secret}, want: []string{"--store: no scheme"}},
		{name: "store with options", flags: map[string]string{"store": "sqlite:a.db?mode=memory"}, want: []string{"--store: not a path"}},
		{name: "store as a URL", flags: map[string]string{"store": "sqlite://a.db"}, want: []string{"--store: not a path"}},
		{name: "users in memory", flags: map[string]string{"users": "memory:"}, want: []string{`--users: "memory:" is not supported`}},
		{name: "public URL with path", flags: map[string]string{"public-url": "https://a.example/x"}, want: []string{"--public-url: more than"}},
		{name: "public URL with password", flags: map[string]string{"public-url": "https://u:" + secret + "@a.example"}, want: []string{"--public-url: more than"}},
		{name: "public URL, port", flags: map[string]string{"public-url": "https://a.example:99999"}, want: []string{"--public-url: not a host"}},
		{name: "public URL, port 0", flags: map[string]string{"public-url": "https://a.example:0"}, want: []string{"--public-url: not a host"}},
		{name: "public URL, no port", flags: map[string]string{"public-url": "https://a.example:"}, want: []string{"--public-url: not a host"}},
		{name: "public URL, not ASCII", flags: map[string]string{"public-url": "https://exämple.org"}, want: []string{"--public-url: not a host"}},
		{name: "public URL, signs", flags: map[string]string{"public-url": "https://a*b.org"}, want: []string{"--public-url: not a host"}},
		{name: "public URL, zone", flags: map[string]string{"public-url": "https://[fe80::1%25eth0]"}, want: []string{"--public-url: not a host"}},
		{name: "prefix without end", flags: map[string]string{"prefix": "/" + strings.Repeat("a", 300)}, want: []string{"--prefix: over 200"}},
		{name: "proxies, IPv4 in IPv6", flags: map[string]string{"trusted-proxies": "::ffff:10.0.0.0/104"}, want: []string{"--trusted-proxies: an IPv4 network"}},
		{name: "public URL, http", flags: map[string]string{"public-url": "http://a.example"}, want: []string{"--public-url: http beyond loopback"}},
		{name: "public URL, ftp", flags: map[string]string{"public-url": "ftp://a.example"}, want: []string{"--public-url: neither https"}},
		{name: "proxies", flags: map[string]string{"trusted-proxies": "all"}, want: []string{"--trusted-proxies: neither"}},
		{name: "proxies with host bits", flags: map[string]string{"trusted-proxies": "10.1.2.3/8"}, want: []string{"--trusted-proxies: a network with bits"}},
		{name: "half of TLS", flags: map[string]string{"tls-cert": "c"}, want: []string{"tls-cert and tls-key: only one"}},
		{name: "TLS and http", flags: map[string]string{"tls-cert": "c", "tls-key": "k", "public-url": "http://localhost"}, want: []string{"public-url: http, but tls-cert"}},
		{name: "idle", flags: map[string]string{"idle-timeout": "half an hour"}, want: []string{"--idle-timeout: not a duration"}},
		{name: "idle of nothing", flags: map[string]string{"idle-timeout": "0s"}, want: []string{"--idle-timeout: out of bounds"}},
		{name: "lifetime too long", flags: map[string]string{"lifetime": "9601h"}, want: []string{"--lifetime: out of bounds"}},
		{name: "idle over lifetime", flags: map[string]string{"idle-timeout": "2h", "lifetime": "1h"}, want: []string{"idle-timeout: longer than lifetime"}},
		{name: "sessions", flags: map[string]string{"max-sessions": "-1"}, want: []string{"--max-sessions: not a number from 1"}},
		{name: "sessions in cookies", flags: map[string]string{"max-sessions": "3", "store": "sealed:"}, want: []string{"max-sessions: sessions in cookies"}},
		{name: "proof of seconds", flags: map[string]string{"reauth-after": "5s"}, want: []string{"--reauth-after: out of bounds"}},
		{name: "proof without unit", flags: map[string]string{"reauth-after": "15"}, want: []string{"--reauth-after: not a duration"}},
		{name: "retention", flags: map[string]string{"audit-retention": "1h"}, want: []string{"--audit-retention: out of bounds"}},
		{name: "retention in years", flags: map[string]string{"audit-retention": "1y"}, want: []string{"--audit-retention: not a duration"}},
		{name: "words", flags: map[string]string{"banned-words": "ok,a"}, want: []string{"--banned-words: a word of less than 3"}},
		{name: "pepper", flags: map[string]string{"pepper": "salt"}, want: []string{"--pepper: neither true nor false"}},
		{name: "a list of numbers", toml: "banned-words = [1]", want: []string{"c.toml: banned-words: neither a text nor a list"}},
		{name: "format", flags: map[string]string{"log-format": "xml"}, want: []string{"--log-format: no such format"}},
		{name: "level", flags: map[string]string{"log-level": "loud"}, want: []string{"--log-level: no such level"}},
		{name: "admin beyond loopback", flags: map[string]string{"admin-listen": ":9090"}, want: []string{"--admin-listen: not a loopback"}},
		{name: "unknown variables", env: []string{"CLOAKROOM_PUBLIC_ULR=" + secret, "CLOAKROOM_A=1"}, want: []string{`environment: unknown variable "CLOAKROOM_A"`, `"CLOAKROOM_PUBLIC_ULR"`}},
		{name: "variable of a wrong value", env: []string{"CLOAKROOM_LISTEN=" + secret}, want: []string{"CLOAKROOM_LISTEN: not an address"}},
		{name: "unknown keys", toml: "listen = \"127.0.0.1:1\"\n\nlisen = \"" + secret + "\"\n[extra]\nurl = \"x\"", want: []string{`c.toml:3: unknown key "lisen"`, "c.toml:4: unknown key \"extra"}},
		{name: "timeout", flags: map[string]string{"store-timeout": "1ms"}, want: []string{"--store-timeout: out of bounds"}},
		{name: "timeout without unit", flags: map[string]string{"store-timeout": "250"}, want: []string{"--store-timeout: not a duration"}},
		{name: "connections", flags: map[string]string{"max-connections": "0"}, want: []string{"--max-connections: not a number from 1"}},
		{name: "plaintext", flags: map[string]string{"allow-plaintext": "yes"}, want: []string{"--allow-plaintext: neither true nor false"}},
		{name: "no store", flags: map[string]string{"store": ""}, env: []string{"CLOAKROOM_USERS="}, want: []string{"--store: empty", "CLOAKROOM_USERS: empty"}},
		{name: "store twice", flags: map[string]string{"store": "memory:", "store-file": "/x"}, want: []string{"--store-file: store is set as well"}},
		{name: "store file", flags: map[string]string{"store-file": "/nowhere/x"}, want: []string{"--store-file: /nowhere/x: no such file"}},
		{name: "sealed path", flags: map[string]string{"store": "sealed:x"}, want: []string{"--store: something behind the colon"}},
		{name: "a broken number", toml: "max-sessions = 3.5", want: []string{"c.toml: max-sessions: a value of the wrong kind: write a whole number"}},
		{name: "a number", toml: "lifetime = 24", want: []string{"c.toml: lifetime: a value of the wrong kind"}},
		{
			name: "every value of the wrong kind", toml: "listen = 5\ndata = 6\nprefix = [7]\nxyz = 1", flags: map[string]string{"log-level": "zz"},
			want: []string{`c.toml:4: unknown key "xyz"`, "c.toml: data: a value of the wrong kind", "c.toml: listen: a value", "c.toml: prefix: a value", "--log-level"},
		},
		{name: "broken file", toml: "listen = " + secret + "\"", want: []string{"c.toml:1: not TOML"}},
		{name: "twice", toml: "data = \"a\"\ndata = \"b\"", want: []string{"c.toml:2: data: given twice"}},
		{name: "a list of numbers", toml: "trusted-proxies = [1]", want: []string{"trusted-proxies: neither a text nor a list"}},
		{name: "no such file", flags: map[string]string{"config": "/nowhere/c.toml"}, want: []string{"--config: /nowhere/c.toml: no such file"}},
		{
			name: "all at once", toml: "log-level = \"loud\"", env: []string{"CLOAKROOM_KEYS=k", "CLOAKROOM_X=1"},
			flags: map[string]string{"listen": "x", "data": "", "prefix": "x"},
			want:  []string{"CLOAKROOM_X", "--listen", "--data", "--prefix", "CLOAKROOM_KEYS", "c.toml: log-level"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := load(t, tc.toml, tc.flags, tc.env...)
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tc.want) {
				t.Fatalf("%d lines, want %d:\n%s", len(lines), len(tc.want), err)
			}
			for i, want := range tc.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %d: %q, want %q in it", i+1, lines[i], want)
				}
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("repeats the value: %s", err)
			}
		})
	}
}

// What Kubernetes puts into every container is nobody's fault.
func TestInjectedVariables(t *testing.T) {
	_, err := load(t, "", nil, "CLOAKROOM_SERVICE_HOST=10.0.0.1", "CLOAKROOM_SERVICE_PORT=80", "CLOAKROOM_PORT=tcp://10.0.0.1:80",
		"CLOAKROOM_PORT_80_TCP_ADDR=10.0.0.1")
	if err != nil {
		t.Error(err)
	}
}

func TestGoodValues(t *testing.T) {
	for _, flags := range []map[string]string{
		{"listen": "[::1]:0"}, {"listen": "localhost:80"}, {"listen": "127.8.8.8:80"},
		{"listen": ":443", "tls-cert": "c", "tls-key": "k"},
		{"listen": "0.0.0.0:80", "public-url": "https://login.example.org"},
		{"public-url": "http://localhost:8080"}, {"public-url": "http://[::1]:8080/"}, {"public-url": "http://127.0.0.1:1"},
		{"trusted-proxies": ""}, {"trusted-proxies": " 127.0.0.1 , ::1 "}, {"admin-listen": "127.0.0.1:0"},
		{"tls-cert": "", "tls-key": "", "public-url": "", "idle-timeout": ""},
	} {
		if _, err := load(t, "", flags); err != nil {
			t.Errorf("%v: %v", flags, err)
		}
	}
}

func TestBase(t *testing.T) {
	for _, tc := range []struct {
		flags map[string]string
		want  string
	}{
		{nil, "http://127.0.0.1:7"},
		{map[string]string{"tls-cert": "c", "tls-key": "k"}, "https://127.0.0.1:7"},
		{map[string]string{"public-url": "https://Login.Example.org"}, "https://login.example.org"},
	} {
		c, err := load(t, "", tc.flags)
		if err != nil || c.Base("127.0.0.1:7") != tc.want {
			t.Errorf("%v: %v, want %s", tc.flags, c.Base("127.0.0.1:7"), tc.want)
		}
	}
}

func TestSettingsByName(t *testing.T) {
	got := config.Settings("store", "data")
	if len(got) != 2 || !slices.ContainsFunc(got, func(s config.Setting) bool { return s.Name == "data" && s.Usage != "" }) {
		t.Errorf("%v", got)
	}
}
