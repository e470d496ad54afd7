package probe_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
)

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// What another site's page sends along, as SameSite says (RFC 6265bis §5.8.3).
func TestSameSite(t *testing.T) {
	t.Parallel()
	u, now := parse(t, public+"/auth/login"), time.Now()
	var j probe.Jar
	for _, line := range []string{"a=1; SameSite=Strict", "b=1; SameSite=Lax", "c=1; SameSite=None; Secure", "d=1"} {
		if err := j.Set(u, line, now); err != nil {
			t.Fatal(line, err)
		}
	}
	for _, c := range []struct {
		ours, follows bool
		want          string
	}{{true, true, "a=1; b=1; c=1; d=1"}, {true, false, "a=1; b=1; c=1; d=1"}, {false, true, "b=1; c=1; d=1"}, {false, false, "c=1"}} {
		if got := j.Header(u, c.ours, c.follows, now); got != c.want {
			t.Errorf("ours %t, by a link %t: %q, want %q", c.ours, c.follows, got, c.want)
		}
	}
}

// Cookies end, take the place of others, and are not set over http where one is Secure.
func TestJarReplaces(t *testing.T) {
	t.Parallel()
	u, plain, now := parse(t, public+"/auth/login"), parse(t, "http://"+host+"/auth/login"), time.Now()
	var j probe.Jar
	set := func(u *url.URL, line, want string) {
		t.Helper()
		_ = j.Set(u, line, now)
		if got := j.Header(u, true, true, now); got != want {
			t.Errorf("after %q: %q, want %q", line, got, want)
		}
	}
	set(u, "a=1; Path=/; Secure", "a=1")
	set(u, "a=2; Path=/; Secure", "a=2")
	set(plain, "a=3; Path=/", "")
	set(u, "b=1; Max-Age=10; Path=/", "a=2; b=1")
	if got := j.Header(u, true, true, now.Add(11*time.Second)); got != "a=2" {
		t.Errorf("after its time: %q", got)
	}
	set(u, "c=1; Path=/auth", "c=1; a=2; b=1")
	set(u, "a=; Path=/; Secure; Max-Age=0", "c=1; b=1")
}

// Which policies keep a browser from sending the form (CSP 3 §6.4.1).
func TestFormAction(t *testing.T) {
	t.Parallel()
	self, to := parse(t, public+"/auth/login"), parse(t, public+"/auth/login")
	for policy, blocks := range map[string]bool{
		"": false, "default-src 'none'": false, "form-action 'self'": false, "form-action *": false, "form-action https:": false,
		"form-action " + host: false, "form-action https://" + host: false, "form-action https://*.example.org": false,
		"form-action https://" + host + "/auth/": false, "FORM-ACTION 'SELF'": false, "sandbox allow-forms allow-same-origin": false,
		"form-action": true, "form-action 'none'": true, "form-action http:": true, "form-action https://example.org": true,
		"form-action https://" + host + ":8443": true, "form-action https://" + host + "/other/": true,
		"default-src 'self'; form-action 'none'": true, "sandbox": true, "sandbox allow-forms": true, "sandbox allow-same-origin": true,
	} {
		if got := probe.BlocksForm(policy, self, to) != ""; got != blocks {
			t.Errorf("%q blocks the form: %t, want %t", policy, got, blocks)
		}
	}
}

// Whatever a server sets, what is sent back is one line that a server can read, and
// nothing goes out over http that is Secure.
func FuzzJar(f *testing.F) {
	for _, line := range lines {
		f.Add(strings.Replace(line, "%d", "0", 1))
	}
	f.Fuzz(func(t *testing.T, line string) {
		now := time.Now()
		u, plain := parse(t, public+"/auth/login"), parse(t, "http://"+host+"/auth/login")
		var j probe.Jar
		err := j.Set(u, line, now)
		got := j.Header(u, true, true, now)
		if strings.ContainsAny(got, "\r\n\x00") || err != nil && got != "" || len(got) > 4097 {
			t.Errorf("%q: %q, %v", line, got, err)
		}
		for _, prefix := range []string{"__host-", "__secure-"} {
			if strings.HasPrefix(strings.ToLower(got), prefix) && j.Header(plain, true, true, now) != "" {
				t.Errorf("%q goes out over http", line)
			}
		}
	})
}
