package probe

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// form is what the page's form sends.
func form(token, user, password string) string {
	return url.Values{"csrf_token": {token}, "username": {user}, "password": {password}}.Encode()
}

// submit is the request of a form of the page.
func (r *run) submit(page *answer, path, form string) *request {
	return &request{method: http.MethodPost, url: r.at(page.url, path), form: form, initiator: page.url, policy: referrerPolicy(page.Header)}
}

// reload opens the page once more, with the cookie: the service sets a new one only if
// the first does not reach it.
func (r *run) reload(ctx context.Context, b *browser, page *answer) bool {
	name := r.cookieName(visitorCookie)
	again, err := b.send(ctx, &request{method: http.MethodGet, url: page.url})
	if err != nil {
		r.broken(err, page.url)
		return false
	}
	switch {
	case again.find(name) >= 0 && r.keys[0] != "":
		r.keysDiffer()
		return false
	case again.find(name) >= 0 && again.sent != "":
		r.cookieLost()
		return false
	case again.StatusCode != http.StatusOK:
		r.strange(again)
		return false
	}
	return true
}

func (r *run) cookieLost() {
	r.fail("url-request-cookie", "the browser sends the cookie "+own(r.cookieName(visitorCookie))+", and it does not reach the service", "every form is refused (403 CSRF token missing or wrong), and nobody stays signed in",
		"let the proxy pass the Cookie header (nginx: no proxy_set_header Cookie; Varnish: no unset req.http.Cookie; a CDN: forward all cookies for "+own(r.Prefix)+")")
}

func (r *run) keysDiffer() {
	r.fail("url-keys-differ", "two visits were answered by instances that seal with different keys, "+shown(r.keys[0])+" and "+shown(r.keys[1])+", and one does not know the other's", "whoever comes to the other instance is signed out, and their forms are refused",
		"give all instances the same keys (setting keys, or keys-file), and compare: cloakroom key list")
}

// guess sends the form with a name and a password that nobody has, and reports whether
// it was refused as it should be.
func (r *run) guess(ctx context.Context, b *browser, page *answer) bool {
	secret := rand.Text()
	r.secrets.hide(secret)
	body := form(page.token(), "doctor-"+strings.ToLower(rand.Text()[:10]), secret)
	a, err := b.send(ctx, r.submit(page, "/login", body))
	if err != nil {
		r.broken(err, r.at(page.url, "/login"))
		return false
	}
	ours := a.ours(r.Prefix)
	to, _ := a.leads()
	switch {
	case a.cached() != "":
		r.answerCached(a)
	case a.StatusCode == http.StatusUnauthorized && ours && strings.Contains(a.body, errorMark):
		return true
	case to != nil:
		r.sentAway(a, to)
	case a.StatusCode == http.StatusForbidden && ours:
		r.forbidden(ctx, b, page)
	case a.StatusCode == http.StatusForbidden:
		r.fail("url-blocked", "the form to sign in is answered "+quote(a.Status)+", and not by the service: a rule of the proxy or a firewall in front refuses it", "nobody can sign in",
			"let POST to "+own(r.Prefix)+" pass (nginx: limit_except; a web application firewall: an exception for this path), and see the log of what refused it")
	case a.StatusCode == http.StatusTooManyRequests && ours:
		r.throttled()
	case ours && (a.StatusCode == http.StatusOK && strings.Contains(a.body, errorMark) || a.StatusCode/100 == 3):
		r.fail("url-status", "a refused login is answered by 401, and "+quote(a.Status)+" arrives", whyStatus, doStatus)
	case (a.StatusCode == http.StatusOK || a.StatusCode == http.StatusMethodNotAllowed) && ours:
		r.fail("url-method", "the form is sent by POST, and reaches the service by another method", "the page to sign in comes again and again, without a word", "let the proxy pass the method as it is (nginx: no proxy_method, and no rewrite or error_page in front of "+own(r.Prefix)+")")
	case a.StatusCode == http.StatusUnsupportedMediaType && ours, a.StatusCode == http.StatusBadRequest && ours:
		r.bodyLost()
	case a.StatusCode == http.StatusMethodNotAllowed:
		r.fail("url-method", "the proxy refuses POST (405)", "nobody can sign in", "allow GET, HEAD, POST and DELETE for "+own(r.Prefix)+" (nginx: limit_except; a CDN: allowed methods)")
	case a.StatusCode == http.StatusUnauthorized && a.Header.Get("Www-Authenticate") == "", a.StatusCode == http.StatusOK:
		r.errorPages(a, "a refused login")
	case a.StatusCode == http.StatusRequestEntityTooLarge, a.StatusCode == http.StatusLengthRequired:
		r.bodyLimit(a, len(body))
	default:
		r.strange(a)
	}
	return false
}

const (
	whyStatus = "programs take a refusal for success, and browsers' password managers keep a wrong password"
	doStatus  = "let the proxy pass statuses as they are (nginx: no error_page with =200 and no proxy_intercept_errors for the service's location)"
)

func (r *run) throttled() {
	r.warn("url-throttled", "the service takes no password from here at the moment (429 Too many attempts)", "too many wrong passwords came from the network address that it sees. Behind a proxy that is not named in trusted-proxies this is everybody's address",
		"name the proxy in trusted-proxies, or wait, at most an hour")
}

func (r *run) bodyLost() {
	r.fail("url-body-lost", "the form reaches the service without its fields, or without its Content-Type", "nobody can sign in",
		"let the proxy pass body and Content-Type of requests (nginx: no proxy_pass_request_body off, and no proxy_set_header Content-Type)")
}

func (r *run) bodyLimit(a *answer, size int) {
	if a.StatusCode >= 500 {
		r.warn("url-body-limit", "a form of "+kib(size)+" makes the proxy fail ("+quote(a.Status)+")", "longer bodies go through a temporary file there, and nobody sees the error but whoever sends one",
			"see the proxy's error log (nginx: client_body_temp_path must be a directory that its workers may write)")
		return
	}
	r.warn("url-body-limit", "a form of "+kib(size)+" is refused by the proxy ("+quote(a.Status)+")", "the service takes 64 KiB: long lists in the administration are refused, and what is refused is not said in its words",
		"raise the limit for "+own(r.Prefix)+" (nginx: client_max_body_size 64k)")
}

// sentAway is for a form that is answered by a redirect, which the service never does
// to a wrong password.
func (r *run) sentAway(a *answer, to *url.URL) {
	status := quote(a.Status)
	at := name(a.url)
	const do = "let the proxy redirect GET alone, or let the page be reached at the one address from the start"
	switch {
	case strings.TrimSuffix(to.Path, "/") == strings.TrimSuffix(a.url.Path, "/") && (a.StatusCode == 307 || a.StatusCode == 308):
		r.fail("url-post-redirected", "the form sent to "+at+" is redirected to "+name(to)+" ("+status+")", "name and password are sent twice, and the second time from another origin: the login is refused (403 Cross-origin request)", do)
	case strings.TrimSuffix(to.Path, "/") == strings.TrimSuffix(a.url.Path, "/"):
		r.fail("url-post-redirected", "the form sent to "+at+" is redirected to "+name(to)+" ("+status+")", "browsers turn POST into GET there: name and password are lost, and the page to sign in comes again without a word", do)
	default:
		r.fail("url-status", "a refused login is answered by 401, and a redirect to "+name(to)+" arrives ("+status+")", whyStatus+"; visitors never learn that the password was wrong", doStatus)
	}
}

// errorPages is for a refusal whose words were replaced.
func (r *run) errorPages(a *answer, what words) {
	r.fail("url-error-pages", what+" is answered with "+quote(a.Status)+" and "+quote(a.Header.Get("Content-Type"))+", and not in the service's words", "visitors do not learn what was wrong and lose the form, and programs cannot read the problem document",
		"let the proxy pass the service's own error answers (nginx: proxy_intercept_errors off; Apache: ProxyErrorOverride Off; IIS: existingResponse PassThrough)")
}

// refusal asks once more as a program, which is told why: the detail of the problem
// document, "" if none came with the answer.
func (r *run) refusal(ctx context.Context, b *browser, q *request) (string, error) {
	if q.header == nil {
		q.header = http.Header{}
	}
	q.header.Set("Accept", "application/problem+json")
	a, err := b.send(ctx, q)
	if err != nil {
		return "", err
	}
	var doc struct{ Detail string }
	if json.Unmarshal([]byte(a.body), &doc) != nil {
		return "", nil
	}
	return doc.Detail, nil
}

// forbidden finds out why a form was refused. None of its requests has a token that
// would let the password be looked at.
func (r *run) forbidden(ctx context.Context, b *browser, page *answer) {
	q := r.submit(page, "/login", form(page.token(), "", ""))
	detail, err := r.refusal(ctx, b, q)
	switch {
	case err != nil:
		r.broken(err, q.url)
	case detail == problem.CrossOrigin:
		r.crossOrigin(ctx, b, page)
	case r.keys[0] != "": // whether the second instance refused as the first did
		r.keysDiffer()
	case detail == problem.CSRFToken:
		r.tokenRefused(ctx, b, page)
	default:
		r.fail("url-login-refused", "the form to sign in is refused with 403, and why is not said", "nobody can sign in", "see csrf_refused in the service's log: its reason says which check refused")
	}
}

// crossOrigin finds which of the two headers is not believed.
func (r *run) crossOrigin(ctx context.Context, b *browser, page *answer) {
	if r.told["url-public-url"] || r.told["url-referrer-policy"] {
		return
	}
	// A GET has no Origin: what refuses it is the other. If one without the other
	// passes, it is that.
	program := r.asProgram(page, http.MethodGet, "/session")
	detail, err := r.refusal(ctx, b, program)
	fetch := detail == problem.CrossOrigin
	if err == nil && !fetch {
		q := r.submit(page, "/login", "x=1")
		q.header = http.Header{"Sec-Fetch-Site": nil}
		detail, err = r.refusal(ctx, b, q)
		fetch = detail == problem.CSRFToken
	}
	switch {
	case err != nil:
		r.broken(err, page.url)
	case fetch:
		r.fail("url-fetch-metadata", "the browser sends Sec-Fetch-Site: same-origin, and something else reaches the service", "every login is refused (403 Cross-origin request)",
			"let the proxy pass Sec-Fetch-Site as it comes (nginx: no proxy_set_header Sec-Fetch-Site)")
	case r.Service.PublicURL == "":
		r.fail("url-public-url", "visitors come to "+shown(r.origin)+", public-url is not set, and the Host header that reaches the service is another", "the service compares the Origin of every form with what it takes for its address: every login is refused (403 Cross-origin request)",
			"set public-url="+shown(r.origin)+" and restart the service; or let the proxy pass the Host header (nginx: proxy_set_header Host $host; with a port: $http_host)")
	default:
		r.fail("url-origin-header", "the browser sends Origin: "+shown(r.origin)+", and something else reaches the service, or the service runs with another public-url than this command was told", "every login is refused (403 Cross-origin request)",
			"let the proxy pass Origin as it comes (nginx: no proxy_set_header Origin), and restart the service with the settings of this command")
	}
}

// tokenRefused finds out whether it is the body or the cookie that does not arrive.
func (r *run) tokenRefused(ctx context.Context, b *browser, page *answer) {
	q := r.submit(page, "/login", "username=&password=")
	q.header = http.Header{"X-Csrf-Token": {page.token()}}
	switch detail, err := r.refusal(ctx, b, q); {
	case err != nil:
		r.broken(err, q.url)
	case detail == problem.CSRFToken:
		r.cookieLost()
	default:
		r.bodyLost()
	}
}

// limits looks at what a login that goes well does not touch: the answers for
// programs, the second defence, and the sizes. It reports whether all was answered.
func (r *run) limits(ctx context.Context, b *browser, page *answer) bool {
	steps := []func(context.Context, *browser, *answer) error{r.programs, r.forged, r.large}
	for _, step := range steps {
		if err := step(ctx, b, page); err != nil {
			r.broken(err, page.url)
			return false
		}
	}
	return true
}

// programs asks who is signed in, which is nobody.
func (r *run) programs(ctx context.Context, b *browser, page *answer) error {
	q := &request{method: http.MethodGet, url: r.at(page.url, "/session"), initiator: page.url, program: true}
	var a *answer
	var err error
	for range 2 { // the second tells whether somebody kept the first
		if a, err = b.send(ctx, q); err != nil {
			return err
		}
	}
	to, _ := a.leads()
	const what = "the question who is signed in is answered by 401, and "
	switch {
	case a.cached() != "":
		r.answerCached(a)
	case a.StatusCode == http.StatusUnauthorized && a.ours(r.Prefix) && strings.Contains(a.body, problem.NotAuthenticated):
	case to != nil:
		r.fail("url-status", what+"a redirect to "+name(to)+" arrives ("+quote(a.Status)+")", whyStatus, doStatus)
	case a.ours(r.Prefix):
		r.fail("url-status", what+quote(a.Status)+" arrives", whyStatus, doStatus)
	default:
		r.errorPages(a, "a program's question who is signed in")
	}
	return nil
}

// forged sends what another site's page would send, once with each of the two headers
// by which browsers tell. There is no token: it is refused at any rate, and how says
// whether the header arrived.
func (r *run) forged(ctx context.Context, b *browser, page *answer) error {
	var lost []string
	for name, header := range map[string]http.Header{
		"Origin":         {"Origin": {"https://attacker.example"}, "Sec-Fetch-Site": nil},
		"Sec-Fetch-Site": {"Origin": nil, "Sec-Fetch-Site": {"cross-site"}},
	} {
		q := r.submit(page, "/login", "x=1")
		q.header = header
		detail, err := r.refusal(ctx, b, q)
		if err != nil {
			return err
		}
		if detail == problem.CSRFToken {
			lost = append(lost, name)
		}
	}
	slices.Sort(lost)
	if len(lost) > 0 {
		r.warn("url-origin-stripped", "what browsers say about where a request comes from does not reach the service: "+own(strings.Join(lost, ", ")), "one of two defences against forms of other sites is weaker, or off",
			"let the proxy pass these headers as they come (nginx: no proxy_set_header for them)")
	}
	return nil
}

// Sizes that the service takes.
const (
	largeCookie = 6 << 10
	largeBody   = 32 << 10
)

// large sends a header and a body as long as the service takes them.
func (r *run) large(ctx context.Context, b *browser, page *answer) error {
	filler := strings.Repeat("x", largeCookie/2)
	cookies := b.jar.header(page.url, true, true, b.net.now()) + "; a=" + filler + "; b=" + filler
	q := &request{method: http.MethodGet, url: page.url, header: http.Header{"Cookie": {cookies}}}
	a, err := b.send(ctx, q)
	switch {
	case err != nil && r.timeUp():
		return err
	case err != nil || a.StatusCode != http.StatusOK:
		what := words("the connection is broken off")
		if err == nil {
			what = "the answer is " + quote(a.Status)
		}
		r.warn("url-header-limit", "with "+kib(largeCookie)+" of cookies "+what, "the cookies of all applications of the host come together: one day some visitors see an error and nobody else does",
			"take longer headers (nginx: large_client_header_buffers 4 16k; Apache: LimitRequestFieldSize 16380)")
	}
	q = r.submit(page, "/login", "x="+strings.Repeat("x", largeBody))
	if a, err = b.send(ctx, q); err != nil {
		return err
	}
	if a.StatusCode != http.StatusForbidden || !a.ours(r.Prefix) {
		r.bodyLimit(a, largeBody)
	}
	return nil
}
