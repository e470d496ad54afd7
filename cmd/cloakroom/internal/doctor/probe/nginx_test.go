package probe_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// broken is the configuration of nginx that docs/operations.md shows, as an operator
// may have changed it.
type broken struct {
	name     string
	want     string // the checks that tell; "" for none
	says     string // what the first of them says to do
	add      string // stands in the location
	server   string // stands in the server of https
	from, to string // replaced in it
	account  bool   // it takes somebody to sign in
	url      string // what is asked for, if not the public address
	noURL    bool   // the service has no public-url
}

var nginxFaults = []broken{
	{name: "as the page shows it", account: true},
	{name: "asked for by http", account: true, url: "http://" + host},
	{name: "with HTTP/2", account: true, from: "listen 443 ssl;", to: "listen 443 ssl http2;"},
	{name: "compressed", account: true, server: "gzip on; gzip_proxied any; gzip_min_length 1;"},
	{name: "Host is not passed, and public-url is set", account: true, from: "proxy_set_header Host $host;"},
	{name: "proxy_cookie_domain, which finds no Domain", account: true, add: "proxy_cookie_domain ~.+ example.org;"},
	{name: "attributes added that are there already", account: true, add: `proxy_cookie_path / "/; HttpOnly; Secure";`},
	{name: "Host is not passed", want: "url-public-url", says: "proxy_set_header Host $host", url: "http://localhost", noURL: true,
		from: "return 301 https://$host$request_uri;", to: "location /auth/ { proxy_pass http://10.0.0.5:8080; }"},
	{name: "public-url is not set", want: "url-public-url", says: "public-url=" + public, noURL: true},
	{name: "Set-Cookie is hidden", want: "url-cookie-stripped", says: "no proxy_hide_header Set-Cookie", add: "proxy_hide_header Set-Cookie;"},
	{name: "a path for cookies", want: "url-cookie-path", says: "proxy_cookie_path off", add: "proxy_cookie_path / /auth/;"},
	{name: "a domain for cookies", want: "url-cookie-domain", says: "proxy_cookie_path", add: `proxy_cookie_path / "/; Domain=example.org";`},
	{name: "cookies in a cache", want: "url-cookie-shared", says: "proxy_cache off, and no proxy_ignore_headers",
		add: "proxy_cache pages; proxy_cache_valid any 10m; proxy_ignore_headers Cache-Control Expires Set-Cookie Vary; proxy_cache_key $scheme$host$request_uri;"},
	{name: "pages in a cache", want: "url-cookie-stripped url-cached", says: "no proxy_ignore_headers",
		add: "proxy_cache pages; proxy_cache_valid any 10m; proxy_ignore_headers Cache-Control Expires Set-Cookie Vary; proxy_hide_header Set-Cookie; add_header X-Cache-Status $upstream_cache_status; proxy_cache_key hidden$request_uri;"},
	{name: "https is sent to http, and that back", want: "url-redirect-loop", says: "one rule sends http to https and another sends it back",
		from: "ssl_certificate     /etc", to: "if ($uri ~ login) { return 302 http://$host$request_uri; } ssl_certificate /etc"},
	{name: "a second proxy that wants https", want: "url-redirect-loop", says: "X-Forwarded-Proto",
		server: "if ($http_x_forwarded_proto != https) { return 301 https://$host$request_uri; }"},
	{name: "error pages of its own", want: "url-error-pages", says: "proxy_intercept_errors off", add: "proxy_intercept_errors on; error_page 401 403 404 /sorry.html;", server: "location = /sorry.html { root html; internal; }"},
	{name: "error pages of its own with 200", want: "url-error-pages", says: "proxy_intercept_errors off", add: "proxy_intercept_errors on; error_page 401 =200 /sorry.html;", server: "location = /sorry.html { root html; internal; }"},
	{name: "refusals lead to a portal", want: "url-status", says: "no proxy_intercept_errors", add: "proxy_intercept_errors on; error_page 401 " + public + "/portal;"},
	{name: "refusals lead to the login", want: "url-status", says: "no proxy_intercept_errors", add: "proxy_intercept_errors on; error_page 401 =302 /auth/login;"},
	{name: "a slash that takes the path off", want: "url-prefix", says: "without a path or a slash behind", from: "10.0.0.5:8080;", to: "10.0.0.5:8080/;"},
	{name: "another location", want: "url-other-application", says: "location /auth/", from: "location /auth/ {", to: "location /auth/app/ {"},
	{name: "small bodies", want: "url-body-limit", says: "client_max_body_size 64k", server: "client_max_body_size 16k;"},
	{name: "small headers", want: "url-header-limit", says: "large_client_header_buffers 4 16k", server: "large_client_header_buffers 4 2k;"},
	{name: "small headers with HTTP/2", want: "url-header-limit", says: "large_client_header_buffers 4 16k", from: "listen 443 ssl;", to: "listen 443 ssl http2; large_client_header_buffers 4 2k;"},
	{name: "addresses are not passed", account: true, want: "url-client-address", says: "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for", from: "X-Forwarded-For $proxy_add_x_forwarded_for", to: `X-Forwarded-For ""`},
	{name: "addresses are believed", account: true, want: "url-forged-address", says: "$proxy_add_x_forwarded_for", from: "$proxy_add_x_forwarded_for", to: "$http_x_forwarded_for"},
	{name: "a policy of its own", want: "url-csp", says: "no add_header", add: `add_header Content-Security-Policy "default-src 'self'" always;`},
	{name: "a Referrer-Policy of its own", want: "url-referrer-policy", says: "no add_header Referrer-Policy", add: "add_header Referrer-Policy no-referrer;"},
	{name: "expires", want: "url-cache-control", says: "no expires", add: "expires 1h;"},
	{name: "scripts of its own", want: "url-content", says: "sub_filter", add: `proxy_set_header Accept-Encoding ""; sub_filter </body> "<script src=/stats.js></script></body>";`},
	{name: "a password of its own", want: "url-proxy-login", says: "auth_basic off", add: "auth_basic staging; auth_basic_user_file users;"},
	{name: "GET alone", want: "url-blocked", says: "limit_except", add: "limit_except GET { deny all; }"},
	{name: "Cookie is not passed", want: "url-request-cookie", says: "no proxy_set_header Cookie", add: `proxy_set_header Cookie "";`},
	{name: "Origin is changed", want: "url-origin-header", says: "no proxy_set_header Origin", add: "proxy_set_header Origin $scheme://10.0.0.5:8080;"},
	{name: "bodies are not passed", want: "url-body-lost", says: "no proxy_pass_request_body off", add: `proxy_pass_request_body off; proxy_set_header Content-Length "";`},
	{name: "nobody behind", want: "url-gateway", says: "proxy_pass", from: "http://10.0.0.5:8080", to: "http://127.0.0.1:1"},
	{name: "small buffers", want: "url-gateway", says: "proxy_buffer_size 8k", from: "proxy_buffer_size 8k", to: "proxy_buffer_size 512"},
	{name: "few requests", want: "url-gateway", says: "limit_req", add: "limit_req zone=few;"},
}

// What operators do to nginx, the real one, is found and named, each by itself; the
// configuration of docs/operations.md has no findings, and people sign in through it.
func TestNginx(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```nginx\n(.*?)```").FindSubmatch(page)
	if shown == nil {
		t.Fatal("docs/operations.md shows no configuration of nginx")
	}
	certs := services.TLS(t, host)
	n := newNginx(t, certs)
	var signedIn atomic.Int64
	behind := func(s settings) string {
		h := newService(t, s).handler
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			if w.Header().Get("Location") == "/auth/profile" {
				signedIn.Add(1)
			}
		}))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	usual, noURL := behind(settings{public: public, trusted: proxies}), behind(settings{})
	worlds := make([]probe.World, len(nginxFaults))
	for i, f := range nginxFaults {
		to := usual
		if f.noURL {
			to = noURL
		}
		worlds[i] = n.add(f.change(t, string(shown[1])), to)
	}
	n.start()
	t.Run("all", func(t *testing.T) {
		for i, f := range nginxFaults {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				o := probe.Options{URL: public, CA: filepath.Join(certs, "ca.pem"), Service: probe.Service{PublicURL: public, TrustedProxies: proxies}}
				if f.url != "" {
					o.URL = f.url
				}
				if f.noURL {
					o.Service = probe.Service{}
				}
				if f.account {
					o.User, o.Password = "ada", goodPassword
				}
				list := probe.Run(t.Context(), o.In(worlds[i])).Findings
				if got := strings.Join(checks(list), " "); got != f.want || f.want != "" && !strings.Contains(list[0].Do, f.says) {
					t.Errorf("found %q, want %q that says %q:\n%s", got, f.want, f.says, text(list))
				}
			})
		}
	})
	var want int64
	for _, f := range nginxFaults {
		if f.account {
			want++
		}
	}
	if got := signedIn.Load(); got != want {
		t.Errorf("%d logins went well, want %d", got, want)
	}
}

// change makes of the good configuration the broken one.
func (f *broken) change(t *testing.T, conf string) string {
	t.Helper()
	replace := func(from, to string) {
		t.Helper()
		if strings.Count(conf, from) != 1 {
			t.Fatalf("%s: %q stands %d times in the configuration of the page", f.name, from, strings.Count(conf, from))
		}
		conf = strings.Replace(conf, from, to, 1)
	}
	if f.from != "" {
		replace(f.from, f.to)
	}
	const location, pass = "    location /auth/", "        proxy_pass"
	if f.add != "" {
		replace(pass, f.add+"\n"+pass)
	}
	if f.server != "" {
		replace(location, f.server+"\n"+location)
	}
	return conf
}

// nginx is one process for all configurations: each has two ports of its own.
type nginx struct {
	t      *testing.T
	cmd    *exec.Cmd
	config strings.Builder
}

// newNginx prepares it. It keeps to a directory of its own, as nobody if the tests run
// as root.
func newNginx(t *testing.T, certs string) *nginx {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nginx") // where Debian has it, and not everybody looks
	}
	if err != nil {
		t.Fatal("nginx is missing: scripts/tools installs it from Debian's packages")
	}
	n := &nginx{t: t, cmd: services.Command(t, path, "-c", "nginx.conf", "-p")}
	n.cmd.Args = append(n.cmd.Args, n.cmd.Dir)
	for from, to := range map[string]string{"cert.pem": "fullchain.pem", "key.pem": "privkey.pem"} {
		pem, err := os.ReadFile(filepath.Join(certs, from))
		if err != nil {
			t.Fatal(err)
		}
		n.write(to, string(pem))
	}
	n.write("html/sorry.html", "<h1>Sorry</h1>")
	n.write("users", "")
	fmt.Fprintf(&n.config, "daemon off; pid %[1]s/pid; error_log %[1]s/errors;\n"+
		"events {}\nhttp {\naccess_log off; proxy_cache_path %[1]s/cache keys_zone=pages:1m;\nlimit_req_zone $server_addr zone=few:1m rate=1r/m;\n", n.cmd.Dir)
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&n.config, "%s_temp_path %s/%s;\n", name, n.cmd.Dir, name)
	}
	return n
}

func (n *nginx) write(name, text string) {
	n.t.Helper()
	path := filepath.Join(n.cmd.Dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// add adds a configuration, with ports, files and service of this test, and returns
// the world in which it is the only proxy. Visitors come from 127.0.0.2, while the
// service sees that the proxy is at 127.0.0.1.
func (n *nginx) add(conf, service string) probe.World {
	n.t.Helper()
	ports := map[string]string{}
	for _, port := range []string{"80", "443"} {
		// The socket is opened here and inherited, as at an upgrade of nginx: nobody
		// else gets the port meanwhile, and who comes early waits.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			n.t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			n.t.Fatal(err)
		}
		n.cmd.ExtraFiles = append(n.cmd.ExtraFiles, f)
		ports[port] = l.Addr().String()
	}
	n.config.WriteString(strings.NewReplacer(
		"listen 80", "listen "+ports["80"], "listen 443", "listen "+ports["443"],
		"/etc/ssl/"+host, n.cmd.Dir, "http://10.0.0.5:8080", service).Replace(conf))
	return probe.World{
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("198.51.100.7")}, nil
		},
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(addr)
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			return d.DialContext(ctx, "tcp", ports[port])
		},
	}
}

// start starts it, until the end of the test.
func (n *nginx) start() {
	n.t.Helper()
	n.config.WriteString("}\n")
	n.write("nginx.conf", n.config.String())
	inherited := "NGINX="
	for i := range n.cmd.ExtraFiles {
		inherited += fmt.Sprintf("%d;", 3+i)
	}
	n.cmd.Env = append(os.Environ(), inherited)
	var out strings.Builder
	n.cmd.Stdout, n.cmd.Stderr = &out, &out
	err := n.cmd.Start()
	for _, f := range n.cmd.ExtraFiles {
		f.Close() // from now on it is nginx that has them, or nobody
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		n.cmd.Process.Signal(syscall.SIGTERM)
		err := n.cmd.Wait()
		if n.t.Failed() {
			log, _ := os.ReadFile(filepath.Join(n.cmd.Dir, "errors"))
			n.t.Logf("nginx ended with %v, and said:\n%s%s", err, out.String(), log)
		}
	})
}
