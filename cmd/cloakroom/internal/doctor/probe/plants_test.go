package probe_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
)

// on makes a proxy answer some requests by itself.
func on(which func(*http.Request) bool, answer http.HandlerFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if which(r) {
				answer(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func always(*http.Request) bool      { return true }
func posts(r *http.Request) bool     { return r.Method == http.MethodPost }
func overHTTP(r *http.Request) bool  { return r.TLS == nil }
func overHTTPS(r *http.Request) bool { return r.TLS != nil }
func named(h string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Host == h }
}

// says answers with a status and a page of the proxy's own.
func says(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		io.WriteString(w, "<html><body><h1>"+http.StatusText(status)+"</h1><hr>nginx</body></html>")
	}
}

// leads redirects to an address made of the request's.
func leads(status int, to func(r *http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", to(r))
		w.WriteHeader(status)
	}
}

func fixed(to string) func(*http.Request) string { return func(*http.Request) string { return to } }

// both stands for two rules that disagree.
func both(a, b func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return a(b(next)) }
}

// ask is an option of faults: another URL.
func ask(u string) func(*probe.Options) { return func(o *probe.Options) { o.URL = u } }

var redirectFaults = []fault{
	{name: "http and https send each other back", want: "url-redirect-loop", around: both(
		on(overHTTP, leads(301, func(r *http.Request) string { return "https://" + r.Host + r.URL.Path })),
		on(overHTTPS, leads(302, func(r *http.Request) string { return "http://" + r.Host + r.URL.Path })))},
	{name: "https to itself, as the second proxy sees http", want: "url-redirect-loop",
		around: on(always, leads(301, func(r *http.Request) string { return "https://" + r.Host + r.URL.Path }))},
	{name: "www and without", want: "url-redirect-loop", around: both(
		on(named(host), leads(301, func(r *http.Request) string { return "https://www." + r.Host + r.URL.Path })),
		on(named("www."+host), leads(301, func(r *http.Request) string { return "https://" + host + r.URL.Path })))},
	{name: "slash and without", want: "url-redirect-loop", around: on(always, leads(301, func(r *http.Request) string {
		if path, ok := strings.CutSuffix(r.URL.Path, "/"); ok {
			return path
		}
		return r.URL.Path + "/"
	}))},
	{name: "longer and longer", want: "url-redirect-loop", around: on(always, leads(301, func(r *http.Request) string { return "/auth" + r.URL.Path }))},
	{name: "another site's login", want: "url-redirect-elsewhere", around: on(always, leads(302, fixed("https://sso.example.com/login?state=secretstate")))},
	{name: "the inner address", want: "url-inner-address", around: on(always, leads(302, fixed("http://127.0.0.1:8080/auth/login")))},
	{name: "the inner address after the login", account: true, want: "url-inner-address", response: func(r *http.Response) error {
		if to := r.Header.Get("Location"); to != "" {
			r.Header.Set("Location", "http://backend:8080"+to)
		}
		return nil
	}},
	{name: "a malformed redirect", want: "url-redirect-malformed", around: on(always, leads(302, fixed("https://$host:port/auth/login?token=x")))},
	{name: "a redirect that nobody should type", want: "url-redirect-malformed", around: on(always, leads(302, fixed("https://$(reboot).example.org/")))},
	{name: "a redirect to another port", want: "url-refused", around: on(always, leads(302, fixed(public+":8443/auth/login")))},
	{name: "https is sent to http", want: "url-plain-http", around: on(overHTTPS, leads(302, fixed("http://"+host+"/auth/login")))},
	{name: "plain http", want: "url-plain-http", options: ask("http://" + host)},
	{name: "public-url is another host", want: "url-public-url", service: "elsewhere", options: func(o *probe.Options) { o.Service.PublicURL = "https://www.example.org" }},
	{name: "public-url is plain http", want: "url-public-url", service: "plain", options: func(o *probe.Options) {
		o.Service.PublicURL = "http://" + host + ":8080"
	}},
	{name: "public-url is not set", want: "url-public-url", service: "no url", options: func(o *probe.Options) { o.Service = probe.Service{} }},
	{name: "the site leads to another host than is asked", account: true, want: "url-login-not-tried", options: ask("https://www." + host),
		around: on(named("www."+host), leads(301, func(r *http.Request) string { return public + r.URL.Path }))},
	{name: "the form is redirected by 301", want: "url-post-redirected", around: on(posts, leads(301, fixed(public+"/auth/login")))},
	{name: "the form is redirected by 308", want: "url-post-redirected", around: on(posts, leads(308, fixed("https://www."+host+"/auth/login")))},
	{name: "the login of an account is redirected to http", account: true, want: "url-post-redirected", around: onAccount(leads(307, fixed("http://"+host+"/auth/login")))},
	{name: "the login of an account is redirected elsewhere", account: true, want: "url-post-redirected", around: onAccount(leads(308, fixed("https://login.example.com/auth/login")))},
	{name: "the login of an account comes back in an address", account: true, want: "url-redirect-elsewhere",
		around: onAccount(leads(302, fixed("https://login.example.com/"+url.PathEscape(goodPassword)+"/"+url.QueryEscape(goodPassword)+"?p="+goodPassword)))},
	{name: "a path in the URL", want: "url-path", options: ask(public + "/app")},
	{name: "no URL", want: "url-address", options: ask("login.example.org")},
	{name: "a URL that nobody should type", want: "url-address", options: ask("https://a;reboot")},
	{name: "a password in the URL", want: "url-address", options: ask("https://ada:hunter2@login.example.org")},
	{name: "no CA", want: "url-ca", options: func(o *probe.Options) { o.CA = "nothing.pem" }},
}

// onAccount answers the login of ada in the place of the service.
func onAccount(answer http.HandlerFunc) func(http.Handler) http.Handler {
	return on(func(r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		text, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(text))
		return bytes.Contains(text, []byte("username=ada"))
	}, answer)
}

var cookieFaults = []fault{
	{name: "Set-Cookie is stripped", want: "url-cookie-stripped", response: header(func(h http.Header) { h.Del("Set-Cookie") })},
	{name: "Set-Cookie is stripped at a POST", account: true, want: "url-cookie-stripped-post", response: func(r *http.Response) error {
		if r.Request.Method == http.MethodPost {
			r.Header.Del("Set-Cookie")
		}
		return nil
	}},
	{name: "Set-Cookie is stripped at the logout", account: true, want: "url-cookie-stripped-post", response: func(r *http.Response) error {
		if r.StatusCode == http.StatusNoContent {
			r.Header.Del("Set-Cookie")
		}
		return nil
	}},
	{name: "a Domain is added", want: "url-cookie-domain", response: cookies("; Path=/", "; Path=/; Domain=example.org")},
	{name: "a Domain of nobody's is added", want: "url-cookie-domain", response: cookies("; Path=/", "; Path=/; Domain=.org")},
	{name: "the Path is rewritten", want: "url-cookie-path", response: cookies("; Path=/", "; Path=/auth/")},
	{name: "SameSite=None", want: "url-cookie-samesite", response: cookies("; SameSite=Strict", "; SameSite=None")},
	{name: "SameSite=Strict for the session", account: true, want: "url-cookie-samesite", response: cookies("; SameSite=Lax", "; SameSite=Strict")},
	{name: "SameSite is taken away", account: true, want: "url-cookie-samesite", response: cookies("; SameSite=Lax", "")},
	{name: "HttpOnly is stripped", want: "url-cookie-httponly", response: cookies("; HttpOnly", "")},
	{name: "Secure is stripped", want: "url-cookie-secure", response: cookies("; Secure", "")},
	{name: "an Expires is added", want: "url-cookie-lifetime", response: cookies("; HttpOnly", "; HttpOnly; Expires=Fri, 01-Jan-2038 00:00:00 GMT")},
	{name: "the cookie is renamed", want: "url-cookie-renamed", response: cookies("__Host-", "app_")},
	{name: "the cookie comes twice", want: "url-cookie-twice", response: header(func(h http.Header) { h["Set-Cookie"] = append(h["Set-Cookie"], h["Set-Cookie"]...) })},
	{name: "the cookie is too large", want: "url-cookie-refused", response: cookies("__Host-csrf=", "__Host-csrf="+strings.Repeat("x", 5000)+"; y=")},
	{name: "a cache hands out cookies", want: "url-cookie-shared", around: caches(func(*http.Request) string { return "" })},
	{name: "somebody's session", want: "url-cookie-shared", response: header(func(h http.Header) {
		h.Add("Set-Cookie", "__Host-session="+strings.Repeat("A", 71)+"; Path=/; Secure; HttpOnly; SameSite=Lax")
	})},
	{name: "a cache says so", want: "url-cached", response: header(func(h http.Header) { h.Set("CF-Cache-Status", "HIT") })},
	{name: "a cache tells the age", want: "url-cached", response: header(func(h http.Header) { h.Set("Age", "17") })},
	{name: "a cache without cookies", want: "url-cookie-stripped url-cached", around: caches(func(*http.Request) string { return "" }), response: header(func(h http.Header) { h.Del("Set-Cookie") })},
	{name: "a cache of refusals", want: "url-cached", around: caches(func(r *http.Request) string {
		if r.URL.Path == "/auth/session" {
			return "x"
		}
		return r.Header.Get("Cookie") + r.URL.Path + strconv.FormatInt(time.Now().UnixNano(), 10)
	})},
	{name: "a cache of who is signed in", account: true, want: "url-cached", around: caches(func(r *http.Request) string {
		if cookie := r.Header.Get("Cookie"); strings.Contains(cookie, "session=") {
			return cookie
		}
		return strconv.FormatInt(time.Now().UnixNano(), 10)
	})},
	{name: "Cookie is stripped", want: "url-request-cookie", request: without("Cookie")},
	{name: "Cookie is stripped at a GET", want: "url-request-cookie", request: func(r *httputil.ProxyRequest) {
		if r.In.Method == http.MethodGet {
			r.Out.Header.Del("Cookie")
		}
	}},
	{name: "Cookie is stripped at a POST", want: "url-request-cookie", request: func(r *httputil.ProxyRequest) {
		if r.In.Method == http.MethodPost {
			r.Out.Header.Del("Cookie")
		}
	}},
	{name: "long cookies", want: "url-header-limit", around: on(func(r *http.Request) bool { return len(r.Header.Get("Cookie")) > 4096 }, says(http.StatusRequestHeaderFieldsTooLarge))},
	{name: "the session's cookie gets lost", account: true, want: "url-session-lost", request: func(r *httputil.ProxyRequest) {
		if strings.Contains(r.In.Header.Get("Cookie"), "session=") {
			r.Out.Header.Del("Cookie")
		}
	}},
}

// caches keeps the first answer to each GET of one key, whoever asks.
func caches(key func(*http.Request) string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		var mu sync.Mutex
		kept := map[string]*httptest.ResponseRecorder{}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				next.ServeHTTP(w, r)
				return
			}
			k := r.Method + key(r)
			mu.Lock()
			defer mu.Unlock()
			if key(r) == "" {
				k += r.URL.Path
			} else if r.Header.Get("Cookie") == "" || !strings.HasSuffix(r.URL.Path, "/session") {
				next.ServeHTTP(w, r)
				return
			}
			if kept[k] == nil {
				kept[k] = httptest.NewRecorder()
				next.ServeHTTP(kept[k], r)
			}
			for name, values := range kept[k].Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(kept[k].Code)
			w.Write(kept[k].Body.Bytes())
		})
	}
}

// evil is what a faulty proxy writes in the place of a header.
func evil(name, value string) func(*httputil.ProxyRequest) {
	return func(r *httputil.ProxyRequest) { r.Out.Header.Set(name, value) }
}

var requestFaults = []fault{
	{name: "Origin is rewritten", want: "url-origin-header", request: evil("Origin", "http://127.0.0.1:8080")},
	{name: "Sec-Fetch-Site is rewritten", want: "url-fetch-metadata", request: evil("Sec-Fetch-Site", "cross-site")},
	{name: "Sec-Fetch-Dest is rewritten", want: "url-fetch-metadata", request: evil("Sec-Fetch-Dest", "iframe")},
	{name: "Origin and Sec-Fetch-Site are stripped", want: "url-origin-stripped", request: func(r *httputil.ProxyRequest) {
		r.Out.Header.Del("Origin")
		r.Out.Header.Del("Sec-Fetch-Site")
	}},
	{name: "Host is rewritten", want: "url-public-url", service: "no url", options: func(o *probe.Options) { o.URL, o.Service = "http://localhost", probe.Service{} },
		request: func(r *httputil.ProxyRequest) { r.Out.Host = "backend:8080" }},
	{name: "the body is lost", want: "url-body-lost", request: func(r *httputil.ProxyRequest) {
		if r.In.Method == http.MethodPost {
			r.Out.Body, r.Out.ContentLength = http.NoBody, 0
		}
	}},
	{name: "the Content-Type is lost", want: "url-body-lost", request: without("Content-Type")},
	{name: "POST becomes GET", want: "url-method", request: func(r *httputil.ProxyRequest) {
		r.Out.Method, r.Out.Body, r.Out.ContentLength = http.MethodGet, http.NoBody, 0
	}},
	{name: "POST is refused", want: "url-method", around: on(posts, says(http.StatusMethodNotAllowed))},
	{name: "a small limit for bodies", want: "url-body-limit", around: on(func(r *http.Request) bool { return r.ContentLength > 8<<10 }, says(http.StatusRequestEntityTooLarge))},
	{name: "no room for bodies", want: "url-body-limit", around: on(func(r *http.Request) bool { return r.ContentLength > 16<<10 }, says(http.StatusInternalServerError))},
	{name: "X-CSRF-Token is stripped", account: true, want: "url-csrf-header", request: without("X-CSRF-Token")},
	{name: "X-Forwarded-For is believed", account: true, want: "url-forged-address", request: func(r *httputil.ProxyRequest) {
		if from := r.In.Header.Get("X-Forwarded-For"); from != "" {
			r.Out.Header.Set("X-Forwarded-For", from)
		}
	}},
	{name: "X-Forwarded-For is not believed", account: true, want: "url-client-address", service: "untrusted", options: func(o *probe.Options) { o.Service.TrustedProxies = nil }},
	{name: "the path is cut", want: "url-prefix", request: func(r *httputil.ProxyRequest) { r.Out.URL.Path = strings.TrimPrefix(r.Out.URL.Path, "/auth") }},
	{name: "the prefix is another", want: "url-prefix", options: func(o *probe.Options) { o.Prefix = "/login" }},
}

var headerFaults = []fault{
	{name: "Cache-Control is rewritten", want: "url-cache-control", response: header(func(h http.Header) { h.Set("Cache-Control", "public, max-age=3600") })},
	{name: "Cache-Control is removed", want: "url-cache-control", response: header(func(h http.Header) { h.Del("Cache-Control") })},
	{name: "no policy", want: "url-csp", response: header(func(h http.Header) { h.Del("Content-Security-Policy") })},
	{name: "another policy", want: "url-csp", response: header(func(h http.Header) { h.Set("Content-Security-Policy", "default-src 'self' 'unsafe-inline'") })},
	{name: "two policies", want: "url-csp", response: header(func(h http.Header) { h.Add("Content-Security-Policy", "default-src 'self'") })},
	{name: "a policy without forms", want: "url-csp-form", response: header(func(h http.Header) { h.Add("Content-Security-Policy", "form-action 'none'") })},
	{name: "a sandbox", want: "url-csp-form", response: header(func(h http.Header) { h.Add("Content-Security-Policy", "sandbox allow-scripts") })},
	{name: "no HSTS", want: "url-hsts", response: header(func(h http.Header) { h.Del("Strict-Transport-Security") })},
	{name: "two HSTS", want: "url-hsts", response: header(func(h http.Header) { h.Add("Strict-Transport-Security", "max-age=60") })},
	{name: "a short HSTS", want: "url-hsts", response: header(func(h http.Header) { h.Set("Strict-Transport-Security", "max-age=60") })},
	{name: "no-referrer", want: "url-referrer-policy", response: header(func(h http.Header) { h.Add("Referrer-Policy", "no-referrer") })},
	{name: "headers twice and gone", want: "url-headers", response: header(func(h http.Header) {
		h.Add("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "origin")
		h.Del("Cross-Origin-Opener-Policy")
	})},
	{name: "another clock", want: "url-clock", response: header(func(h http.Header) { h.Set("Date", "Sun, 01 Mar 2026 13:00:00 GMT") }), world: at(date(2026))},
	{name: "a script in the page", want: "url-content", response: body(func(s string) string {
		return strings.Replace(s, "</main>", "</main><script src=/stats.js></script>", 1)
	})},
	{name: "the form leads elsewhere", want: "url-content", response: body(func(s string) string {
		return strings.Replace(s, `action="/auth/login"`, `action="http://backend:8080/auth/login"`, 1)
	})},
	{name: "the page is a text", want: "url-content", response: header(func(h http.Header) {
		if h.Get("Content-Type") == "text/html; charset=utf-8" {
			h.Set("Content-Type", "text/plain")
		}
	})},
}

// body changes the pages.
func body(f func(string) string) func(*http.Response) error {
	return func(r *http.Response) error {
		text, err := io.ReadAll(r.Body)
		changed := f(string(text))
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(changed)), int64(len(changed))
		if r.Header.Get("Content-Length") != "" {
			r.Header.Set("Content-Length", strconv.Itoa(len(changed)))
		}
		return err
	}
}

// replaced puts a page of the proxy's own in the place of a refusal.
func replaced(status int, by int) func(*http.Response) error {
	return func(r *http.Response) error {
		if r.StatusCode != status {
			return nil
		}
		r.StatusCode, r.Status = by, strconv.Itoa(by)+" "+http.StatusText(by)
		r.Header.Set("Content-Type", "text/html")
		return body(func(string) string { return "<h1>Sorry</h1>" })(r)
	}
}

var answerFaults = []fault{
	{name: "401 becomes 200", want: "url-status", response: func(r *http.Response) error {
		if r.StatusCode == http.StatusUnauthorized {
			r.StatusCode, r.Status = http.StatusOK, "200 OK"
		}
		return nil
	}},
	{name: "401 becomes another login", want: "url-status", response: func(r *http.Response) error {
		if r.StatusCode == http.StatusUnauthorized {
			r.StatusCode, r.Status = http.StatusFound, "302 Found"
			r.Header.Set("Location", "/portal?back="+url.QueryEscape(r.Request.URL.Path))
		}
		return nil
	}},
	{name: "error pages are replaced", want: "url-error-pages", response: replaced(401, 401)},
	{name: "problem documents are replaced", want: "url-error-pages", response: func(r *http.Response) error {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/problem+json") {
			return replaced(401, 401)(r)
		}
		return nil
	}},
	{name: "403 without words", want: "url-login-refused", request: evil("Origin", "null"), response: func(r *http.Response) error {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/problem+json") {
			return replaced(403, 403)(r)
		}
		return nil
	}},
	{name: "no service behind", want: "url-gateway", around: on(always, says(http.StatusBadGateway))},
	{name: "the proxy fails", want: "url-gateway", around: on(always, says(http.StatusInternalServerError))},
	{name: "a slow service", want: "url-gateway", around: on(posts, says(http.StatusGatewayTimeout))},
	{name: "the service without its store", want: "url-unavailable", around: on(always, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(503)
		io.WriteString(w, `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Unavailable"}`)
	})},
	{name: "a panic", want: "url-internal", around: on(always, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		io.WriteString(w, "<title>Something went wrong · Cloakroom</title>")
	})},
	{name: "a password in front", want: "url-proxy-login", around: on(always, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="staging"`)
		says(401)(w, r)
	})},
	{name: "a firewall around it", want: "url-blocked", around: on(always, says(http.StatusForbidden))},
	{name: "a firewall", want: "url-blocked", around: on(posts, says(http.StatusForbidden))},
	{name: "a rate limit", want: "url-rate-limit", around: on(posts, says(http.StatusTooManyRequests))},
	{name: "another application", want: "url-other-application", around: on(always, says(http.StatusOK))},
	{name: "another application's 404", want: "url-other-application", around: on(always, says(http.StatusNotFound))},
	{name: "too many wrong passwords", want: "url-throttled", around: on(posts, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(429)
		io.WriteString(w, "<title>Sign in · Cloakroom</title>")
	})},
	{name: "a page without end", want: "url-other-application", around: on(always, func(w http.ResponseWriter, _ *http.Request) {
		for text := bytes.Repeat([]byte("x"), 1<<16); ; {
			if _, err := w.Write(text); err != nil {
				return
			}
		}
	})},
	{name: "nobody is set up", want: "url-setup", service: "empty"},
	{name: "a wrong password", account: true, want: "url-credentials", options: func(o *probe.Options) { o.Password = "another wrong password" }},
	{name: "the password must be changed", account: true, want: "url-must-change", options: func(o *probe.Options) { o.User = "eve" }},
	{name: "the logout is refused", account: true, want: "url-logout", around: on(func(r *http.Request) bool { return r.URL.Path == "/auth/logout" }, says(http.StatusForbidden))},
	{name: "compressed", account: true, around: compressed},
	{name: "the logout is answered, and then nothing", account: true, want: "url-broken-off", server: oldHTTP, around: func(next http.Handler) http.Handler {
		var over atomic.Bool
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if over.Load() {
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
			over.Store(r.URL.Path == "/auth/logout")
		})
	}},
	{name: "what another site sends is broken off", want: "url-broken-off", server: oldHTTP,
		around: on(func(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") == "cross-site" }, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })},
	{name: "no Date, which is no fault", unseen: "url-clock", response: header(func(h http.Header) { h.Set("Date", "yesterday") })},
	{name: "no list of sessions, which is no fault", account: true, unseen: "url-client-address url-forged-address",
		around: on(func(r *http.Request) bool { return r.URL.Path == "/auth/sessions" }, says(http.StatusOK))},
}

// compressed is no fault: browsers ask for it.
func compressed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		r.Header.Del("Accept-Encoding")
		next.ServeHTTP(rec, r)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.Header().Del("Content-Length")
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(rec.Code)
		z := gzip.NewWriter(w)
		z.Write(rec.Body.Bytes())
		z.Close()
	})
}
