package remote_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// proxy is what the environment names for plain http while these tests run.
const proxy = "http://192.0.2.7:3128"

// TestMain names a proxy: package net/http looks at the environment once.
func TestMain(m *testing.M) {
	os.Setenv("HTTP_PROXY", proxy)
	os.Setenv("NO_PROXY", "")
	http.ProxyFromEnvironment(httptest.NewRequest(http.MethodGet, "http://h/", nil))
	os.Exit(m.Run())
}

// TestASVS_12_3_1_Proxy: what goes in clear to this machine, or to a service of its own
// link, goes past the proxy, however the host is written.
func TestASVS_12_3_1_Proxy(t *testing.T) {
	choose := remote.Proxy("169.254.169.254", "fd00:ec2::254", "metadata.google.internal")
	for url, want := range map[string]string{
		"http://localhost:1": "", "http://LOCALHOST:1": "", "http://LocalHost": "", "http://127.0.0.1": "", "http://127.9.9.9:8": "", "http://[::1]:1": "", "http://[::ffff:127.0.0.1]": "",
		"http://169.254.169.254/latest": "", "http://169.254.169.254:80": "", "http://[fd00:ec2::254]": "", "http://[FD00:EC2:0::254]": "", "http://Metadata.Google.Internal": "",
		"http://169.254.169.253": proxy, "http://h": proxy, "http://169.254.169.254@h": proxy, "http://169.254.169.254.h": proxy, "http://localhost.h": proxy,
	} {
		u, err := choose(httptest.NewRequest(http.MethodGet, url, nil))
		got := ""
		if u != nil {
			got = u.String()
		}
		if err != nil || got != want {
			t.Errorf("%s: through %q, want %q (%v)", url, got, want, err)
		}
	}
}
