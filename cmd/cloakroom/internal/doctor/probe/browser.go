package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// network is how the probe reaches others; tests have one of their own.
type network struct {
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	now    func() time.Time
	wait   time.Duration  // for an answer
	roots  *x509.CertPool // nil for those of the system

	seen    map[string]bool // the ids of all answers of the run
	secrets *secrets
}

// setDefaults fills in what is the real world's.
func (n *network) setDefaults() {
	if n.lookup == nil {
		n.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if n.dial == nil {
		n.dial = (&net.Dialer{}).DialContext
	}
	if n.now == nil {
		n.now = time.Now
	}
	if n.wait == 0 {
		n.wait = requestTimeout
	}
	n.seen = map[string]bool{}
}

// again tells whether an answer has come before: the service gives each an id.
func (n *network) again(a *answer) bool {
	id := a.Header.Get("X-Request-Id")
	twice := n.seen[id]
	if id != "" {
		n.seen[id] = true
	}
	return twice
}

// browser is a visitor with cookies of their own.
type browser struct {
	jar       jar
	net       *network
	transport *http.Transport
}

// newBrowser makes one. Where only is an address, it goes there whatever the name
// resolves to.
func newBrowser(n *network, only netip.Addr) *browser {
	dial := n.dial
	if only.IsValid() {
		dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return n.dial(ctx, network, net.JoinHostPort(only.String(), port))
		}
	}
	return &browser{net: n, transport: &http.Transport{
		// No Proxy: it is the address itself that is looked at.
		DialContext:            dial,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    requestTimeout,
		MaxResponseHeaderBytes: 256 << 10,
		IdleConnTimeout:        runTimeout,
		// An old version is found rather than refused: the answer says which it was.
		TLSClientConfig: &tls.Config{RootCAs: n.roots, MinVersion: tls.VersionTLS10, Time: n.now},
	}}
}

func (b *browser) close() { b.transport.CloseIdleConnections() }

// request is what a browser is about to send.
type request struct {
	method string
	url    *url.URL
	form   string      // the body, a form; "" for none
	header http.Header // beside, or instead of, what a browser says by itself

	// initiator is the page that leads there; nil if the visitor typed the address.
	initiator *url.URL
	policy    string     // the initiator's Referrer-Policy
	chain     []*url.URL // where redirects have led from
	tainted   bool       // they left the initiator's origin: Origin says null
	program   bool       // no navigation: a script of the page, without what pages are asked for with
}

// answer is what came back.
type answer struct {
	*http.Response
	url     *url.URL
	body    string
	cookies []cookie // that came with it, in this order
	refused []error  // why the browser did not take the cookie of the same index
	sent    string   // the Cookie header of the request
	local   net.Addr // our end of the connection
	again   bool     // it came before, to another request
}

// send sends one request and follows nothing.
func (b *browser) send(ctx context.Context, q *request) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, b.net.wait)
	defer cancel()
	a := &answer{url: q.url}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { a.local = i.Conn.LocalAddr() }})
	var body io.Reader
	if q.form != "" {
		body = strings.NewReader(q.form)
	}
	r, err := http.NewRequestWithContext(ctx, q.method, q.url.String(), body)
	if err != nil {
		return nil, err
	}
	r.Header = b.headers(q)
	a.sent = r.Header.Get("Cookie")
	if a.Response, err = b.transport.RoundTrip(r); err != nil {
		return nil, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, maxBody))
	if err != nil {
		return nil, err
	}
	a.body, a.again = string(text), b.net.again(a)
	for _, line := range a.Header.Values("Set-Cookie") {
		now := b.net.now()
		s, err := readSetCookie(line, now)
		if err == nil {
			err = b.jar.set(q.url, line, now)
		}
		a.cookies, a.refused = append(a.cookies, cookie{setCookie: s}), append(a.refused, err)
	}
	b.jar.outdo(a, b.net.now())
	b.net.secrets.learn(a)
	return a, nil
}

// userAgent says what this is, in the form that all browsers have: some proxies turn
// away whoever does not look like one.
const userAgent = "Mozilla/5.0 (compatible; cloakroom doctor)"

// headers are those that Chromium sends, as far as anybody on the way looks at them.
func (b *browser) headers(q *request) http.Header {
	h := http.Header{}
	h.Set("User-Agent", userAgent)
	h.Set("Accept-Language", "en")
	safe := q.method == http.MethodGet || q.method == http.MethodHead
	if q.program {
		h.Set("Accept", "application/json")
	} else {
		h.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8")
		h.Set("Upgrade-Insecure-Requests", "1")
	}
	if q.form != "" {
		h.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	site := q.site()
	if trustworthy(q.url) { // Fetch Metadata §2: nobody else learns it
		h.Set("Sec-Fetch-Site", site)
		h.Set("Sec-Fetch-Mode", "navigate")
		h.Set("Sec-Fetch-Dest", "document")
		if q.program {
			h.Set("Sec-Fetch-Mode", "same-origin")
			h.Set("Sec-Fetch-Dest", "empty")
		} else {
			h.Set("Sec-Fetch-User", "?1")
		}
	}
	if !safe {
		h.Set("Origin", q.origin())
	}
	ours := q.initiator == nil || sameSite(q.initiator, q.url)
	if c := b.jar.header(q.url, ours, safe && !q.program, b.net.now()); c != "" {
		h.Set("Cookie", c)
	}
	for name, values := range q.header {
		if h[name] = slices.Clone(values); len(values) == 0 {
			delete(h, name)
		}
	}
	return h
}

// site is the request's Sec-Fetch-Site: the worst of all steps of the way.
func (q *request) site() string {
	if q.initiator == nil {
		return "none"
	}
	worst := "same-origin"
	for _, u := range append(slices.Clone(q.chain), q.url) {
		switch {
		case !sameSite(q.initiator, u):
			return "cross-site"
		case origin(q.initiator) != origin(u):
			worst = "same-site"
		}
	}
	return worst
}

// origin is the request's Origin (Fetch, "append a request Origin header").
func (q *request) origin() string {
	if q.tainted || q.initiator == nil {
		return "null"
	}
	switch q.policy {
	case "no-referrer":
		return "null"
	case "same-origin":
		if origin(q.initiator) != origin(q.url) {
			return "null"
		}
	case "", "no-referrer-when-downgrade", "strict-origin", "strict-origin-when-cross-origin":
		if q.initiator.Scheme == "https" && q.url.Scheme != "https" {
			return "null"
		}
	}
	return origin(q.initiator)
}

// Why a browser, or the probe, does not follow a redirect.
var (
	errLoop      = errors.New("the redirects go round in circles")
	errTooMany   = errors.New("there are too many redirects")
	errElsewhere = errors.New("the redirect leads to another site")
	errLocation  = errors.New("the redirect's address is malformed")
)

// navigate sends a request and follows redirects, one by one. It returns all answers;
// with the error comes what was answered before it.
func (b *browser) navigate(ctx context.Context, q *request) ([]*answer, error) {
	var all []*answer
	seen := map[string]bool{}
	home := site(q.url.Hostname())
	for {
		// A page may well lead to itself, with another cookie.
		now := b.jar.header(q.url, true, true, b.net.now())
		at := q.method + " " + q.url.String() + " " + now
		if seen[at] {
			return all, errLoop
		}
		if len(all) > maxRedirects {
			return all, errTooMany
		}
		seen[at] = true
		a, err := b.send(ctx, q)
		if err != nil {
			return all, err
		}
		all = append(all, a)
		to, err := a.leads()
		if to == nil || err != nil {
			return all, err
		}
		if site(to.Hostname()) != home {
			return all, errElsewhere
		}
		q = q.redirected(a.StatusCode, to)
	}
}

// leads returns where an answer sends the browser; nil for nowhere.
func (a *answer) leads() (*url.URL, error) {
	switch a.StatusCode {
	case 301, 302, 303, 307, 308:
	default:
		return nil, nil
	}
	location := a.Header.Get("Location")
	if location == "" {
		return nil, nil // it is shown as a page
	}
	to, err := a.url.Parse(location)
	if err != nil || !plain(to) {
		return nil, errLocation
	}
	to.User = nil
	return to, nil
}

// plain tells whether an address is one of a site, with a host that can be typed into
// a shell as it stands: some findings say what to type.
func plain(u *url.URL) bool {
	odd := func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune(".-_:[]", c))
	}
	return u.Hostname() != "" && !strings.ContainsFunc(u.Host, odd) && (u.Scheme == "http" || u.Scheme == "https")
}

// redirected is the request that follows a redirect (Fetch, "HTTP-redirect fetch").
func (q *request) redirected(status int, to *url.URL) *request {
	next := *q
	next.chain = append(slices.Clone(q.chain), q.url)
	next.url = to
	from := origin(q.url)
	if q.initiator != nil && origin(to) != from && origin(q.initiator) != from {
		next.tainted = true
	}
	get := q.method == http.MethodGet || q.method == http.MethodHead
	if !get && (status == 303 || q.method == http.MethodPost && (status == 301 || status == 302)) {
		next.method, next.form = http.MethodGet, ""
	}
	return &next
}

// origin is that of an address, without the port that comes with the scheme.
func origin(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" || port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		return u.Scheme + "://" + host
	}
	return u.Scheme + "://" + host + ":" + port
}

// sameSite tells whether browsers take two addresses for one site; the scheme counts.
func sameSite(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && site(a.Hostname()) == site(b.Hostname())
}
