package gcpsecrets_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring/gcpsecrets"
)

// proxied counts what came to the proxy that the environment names while these tests
// run.
var proxied atomic.Int64

// TestMain names the proxy: package net/http looks at the environment once.
func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		proxied.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	os.Setenv("HTTP_PROXY", proxy.URL)
	os.Setenv("NO_PROXY", "")
	http.ProxyFromEnvironment(httptest.NewRequest(http.MethodGet, "http://h/", nil))
	code := m.Run()
	proxy.Close()
	os.Exit(code)
}

// TestASVS_12_3_1_NoProxyToThisMachine: however this machine is written, what is sent
// there in clear goes through no proxy.
func TestASVS_12_3_1_NoProxyToThisMachine(t *testing.T) {
	s := serve(t, "x")
	for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST", "LocalHost", "[::ffff:127.0.0.1]"} {
		src, err := gcpsecrets.Open(secret+"?endpoint="+strings.Replace(s.URL, "127.0.0.1", host, 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.credentials(map[string]any{"token_uri": strings.Replace(s.URL, "127.0.0.1", host, 1) + "/token"})
		if _, err := src.Read(t.Context()); err != nil && strings.Contains(err.Error(), "404") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := proxied.Load(); n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
}

// TestPromise11_KeyForAName: a key in the place of the secret's name goes nowhere.
func TestPromise11_KeyForAName(t *testing.T) {
	const key = "83b6d230fe9d02ce740de0631bb5406fb8fef6f4558947385d543238a22a962d"
	for _, text := range []string{key, "projects/p/secrets/" + key, secret + "/versions/" + key[:63] + "#" + key, secret + "#" + key} {
		_, err := gcpsecrets.Open(text, nil)
		if err == nil || strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "looks like a key") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
