package probe_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fault is something that is wrong between a browser and the service.
type fault struct {
	name     string
	want     string                          // the checks that tell, with spaces; "" for none
	unseen   string                          // the checks that cannot be made on a way that goes on
	account  bool                            // it takes somebody to sign in
	request  func(*httputil.ProxyRequest)    // changes what goes to the service
	response func(*http.Response) error      // changes what comes from there
	around   func(http.Handler) http.Handler // stands in front of the proxy
	server   func(*httptest.Server)          // changes how the proxy listens
	world    func(*probe.World)              // changes the network
	options  func(*probe.Options)            // changes what is asked for
	service  string                          // which of the services stands behind it; "" for the usual one
}

// header changes the headers of all answers.
func header(f func(http.Header)) func(*http.Response) error {
	return func(r *http.Response) error { f(r.Header); return nil }
}

// cookies replaces a piece of every Set-Cookie.
func cookies(old, replacement string) func(*http.Response) error {
	return header(func(h http.Header) {
		for i, line := range h["Set-Cookie"] {
			h["Set-Cookie"][i] = strings.Replace(line, old, replacement, 1)
		}
	})
}

// without drops a header of requests.
func without(name string) func(*httputil.ProxyRequest) {
	return func(r *httputil.ProxyRequest) { r.Out.Header.Del(name) }
}

// Every planted fault is found and named in the words of the golden file, and nothing
// is found beside it.
func TestFaults(t *testing.T) {
	t.Parallel()
	services := map[string]*service{
		"":          newService(t, settings{public: public, trusted: proxies}),
		"empty":     newService(t, settings{public: public, empty: true}),
		"plain":     newService(t, settings{public: "http://" + host + ":8080"}),
		"no url":    newService(t, settings{}),
		"sealed":    newService(t, settings{public: public, trusted: proxies, sealed: true}),
		"local":     newService(t, settings{public: "http://localhost"}),
		"elsewhere": newService(t, settings{public: "https://www.example.org"}),
		"beside":    newService(t, settings{public: public, trusted: beside}),
		"untrusted": newService(t, settings{public: public}),
	}
	var golden bytes.Buffer
	faults := slices.Concat(healthy, networkFaults, redirectFaults, cookieFaults, requestFaults, headerFaults, answerFaults)
	texts := make([]string, len(faults))
	t.Run("all", func(t *testing.T) {
		for i, f := range faults {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				list := look(t, services[f.service], &f)
				for _, secret := range []string{goodPassword, url.QueryEscape(goodPassword), url.PathEscape(goodPassword), "secretstate"} {
					if strings.Contains(text(list), secret) {
						t.Errorf("a finding tells a secret:\n%s", text(list))
					}
				}
				if got := strings.Join(checks(list), " "); got != f.want {
					t.Errorf("found %q, want %q:\n%s", got, f.want, text(list))
				}
				texts[i] = "== " + f.name + "\n" + text(list) + "\n"
			})
		}
	})
	for _, text := range texts {
		golden.WriteString(text)
	}
	const file = "testdata/findings.txt"
	if *update {
		if err := os.WriteFile(file, golden.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !t.Failed() && golden.String() != string(want) {
		t.Errorf("the words are not those of %s; to write it anew: go test -run TestFaults -update .\n%s", file, golden.String())
	}
}

// text is how a list reads.
func text(list []finding.Finding) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "%s: %s\n  what: %s\n  why:  %s\n  do:   %s\n", f.Level, f.Check, f.What, f.Why, f.Do)
	}
	return b.String()
}

var healthy = []fault{
	{name: "healthy, with an account", account: true},
	{name: "healthy, without an account"},
	{name: "healthy, asked for by http", options: func(o *probe.Options) { o.URL = "http://" + host }, around: toHTTPS},
	{name: "healthy, looked at from a proxy's machine", account: true, service: "beside", options: func(o *probe.Options) { o.Service.TrustedProxies = beside }},
	// With public-url the service goes by that alone.
	{name: "healthy, X-Forwarded-Proto says http", account: true, request: evil("X-Forwarded-Proto", "http")},
	{name: "healthy, sealed sessions", account: true, service: "sealed"},
	{name: "healthy, http://localhost", account: true, service: "no url", options: func(o *probe.Options) { o.URL, o.Service = "http://localhost", probe.Service{} }},
	{name: "healthy, http://localhost without Secure", account: true, service: "local", options: func(o *probe.Options) {
		o.URL, o.Service = "http://localhost", probe.Service{PublicURL: "http://localhost"}
	}},
	{name: "healthy, asked for by the page", options: func(o *probe.Options) { o.URL = public + "/auth/login" }},
}

// toHTTPS redirects plain http, as it should be.
func toHTTPS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			http.Redirect(w, r, "https://"+r.Host+r.URL.RequestURI(), http.StatusMovedPermanently)
			return
		}
		next.ServeHTTP(w, r)
	})
}
