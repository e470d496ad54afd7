package vault_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring/vault"
)

// proxied counts what came to the proxy that the environment named when these tests
// began.
var proxied atomic.Int64

// nameProxy names the proxy for plain http: package net/http looks at the environment
// once.
func nameProxy() {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		proxied.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	os.Setenv("HTTP_PROXY", proxy.URL)
	http.ProxyFromEnvironment(httptest.NewRequest(http.MethodGet, "http://h/", nil))
	os.Unsetenv("HTTP_PROXY")
}

// However this machine is written, what is sent there in clear goes through no proxy.
func TestASVS_12_3_1_NoProxyToThisMachine(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"localhost", "LOCALHOST", "LocalHost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"} {
		s, err := vault.Open("http://"+host+":1/secret/x?token-file="+file(t, givenToken), env(nil))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Read(t.Context())
		told(t, err, "the connection was refused")
	}
	if n := proxied.Load(); n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
}

// A key in the place of a name goes nowhere: not to the server, and into no message.
func TestPromise11_KeyForAName(t *testing.T) {
	t.Parallel()
	const key = "83b6d230fe9d02ce740de0631bb5406fb8fef6f4558947385d543238a22a962d"
	for _, place := range []string{
		"secret/" + key, "secret/a/" + key, key + "/x", "https://host/secret/" + key, "https://host/secret/%38" + key[1:], "https://" + key + "/secret/x", "secret/x#" + key,
		"secret/x#%38" + key[1:], "secret/x?namespace=" + key, "secret/x?auth=approle&role-id=a&secret-id-file=/f&mount=" + key, "secret/x?auth=kubernetes&role=" + key, key + "/x?kv-mount=" + key,
	} {
		_, err := vault.Open(place, env(map[string]string{"VAULT_ADDR": "https://host", "VAULT_TOKEN": givenToken}))
		told(t, err, "looks like a key")
		if err != nil && strings.Contains(err.Error(), key[1:]) {
			t.Errorf("%s: %v", place, err)
		}
	}
}
