package probe

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// elsewhere is an address that nobody has (RFC 5737): who believes it believes anybody.
const elsewhere = "192.0.2.123"

// signIn signs in with the account of the options, looks, and signs out.
func (r *run) signIn(ctx context.Context, page *answer) {
	if !r.mayTell(page.url) {
		return
	}
	b := newBrowser(&r.net, netip.Addr{})
	defer b.close()
	fresh, err := b.send(ctx, &request{method: http.MethodGet, url: page.url})
	if err != nil {
		r.broken(err, page.url)
		return
	}
	q := r.submit(fresh, "/login", form(fresh.token(), r.User, r.Password))
	if len(r.Service.TrustedProxies) > 0 && !r.trusted(fresh.local) {
		// Without one that is believed the service tells that somebody tried; and from
		// where the proxies are it is right to believe it.
		q.header = http.Header{"X-Forwarded-For": {elsewhere}}
	} else {
		r.spare("url-forged-address")
	}
	a, err := b.send(ctx, q)
	if err != nil {
		r.broken(err, q.url)
		return
	}
	if !r.judgeLogin(a) {
		return
	}
	r.passed(loginStage)
	defer r.signOut(ctx, b, fresh)
	to, err := a.leads()
	if err != nil || to == nil || origin(to) != origin(fresh.url) {
		if to == nil {
			to = a.url
		}
		r.innerAddress(a.url, to)
		return
	}
	if r.look(ctx, b, fresh, to) {
		r.passed(sessionStage)
	}
}

// mayTell reports whether the password may be sent to an address: that of the
// options, encrypted. What is wrong so far would be all that came of it.
func (r *run) mayTell(u *url.URL) bool {
	if r.failed() || !trustworthy(u) {
		return false
	}
	if _, asked, _ := strings.Cut(origin(r.asked), "://"); !strings.HasSuffix(origin(u), "://"+asked) {
		r.warn("url-login-not-tried", "the account was not tried: "+shown(origin(r.asked))+" leads to "+shown(origin(u))+", and the password goes to the host of --url alone", "the rest of the way was not looked at", "ask for the other: --url "+shown(origin(u)))
		return false
	}
	return true
}

// trusted tells whether the service believes what our end of a connection says.
func (r *run) trusted(local net.Addr) bool {
	at, ok := ip(local)
	return !ok || slices.ContainsFunc(r.Service.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(at) })
}

// ip is the address of one end of a connection.
func ip(a net.Addr) (netip.Addr, bool) {
	if a == nil {
		return netip.Addr{}, false
	}
	at, err := netip.ParseAddrPort(a.String())
	return at.Addr().Unmap().WithZone(""), err == nil
}

// judgeLogin reports whether the answer to a login made a session.
func (r *run) judgeLogin(a *answer) bool {
	to, _ := a.leads()
	switch {
	case to != nil && (a.StatusCode == http.StatusSeeOther || a.StatusCode == http.StatusFound) && site(to.Hostname()) == site(a.url.Hostname()):
		return r.judgeCookie(a, sessionCookie)
	case to != nil && a.StatusCode < 307 && !inner(to.Hostname()):
		r.fail("url-redirect-elsewhere", "the login of the account is answered by a redirect to another site, "+name(to), "the service's own redirects stay on its host: something in front took the login, and perhaps the password", "find the rule in the proxies' configurations, and change the account's password if nobody knows it: cloakroom user reset NAME")
	case to != nil && inner(to.Hostname()):
		if r.judgeCookie(a, sessionCookie) {
			return true
		}
		r.innerAddress(a.url, to)
	case to != nil:
		r.sentAway(a, to)
	case a.StatusCode == http.StatusUnauthorized:
		r.fail("url-credentials", "the service refuses the user name or the password", "the rest of the way was not looked at, and the account has one wrong password more", "correct --user or the password; a locked account: cloakroom user unlock NAME")
	case a.StatusCode == http.StatusTooManyRequests && a.ours(r.Prefix):
		r.throttled()
	default:
		r.strange(a)
	}
	return false
}

// sessionDoc is the answer of GET /session.
type sessionDoc struct {
	User  struct{ Name string }
	Token string `json:"csrf_token"`
}

// look does what somebody does who has just signed in, and reports whether it came to
// its end.
func (r *run) look(ctx context.Context, b *browser, from *answer, to *url.URL) bool {
	hops, err := b.navigate(ctx, &request{method: http.MethodGet, url: to, initiator: from.url, policy: referrerPolicy(from.Header)})
	if err != nil {
		r.lost(hops, err, to)
		return false
	}
	last := hops[len(hops)-1]
	if last.cached() != "" {
		r.answerCached(last)
		return false
	}
	if last.url.Path == r.Prefix+"/login" {
		r.sessionLost("the page behind it is the page to sign in again")
		return false
	}
	a, err := b.send(ctx, r.asProgram(from, http.MethodGet, "/session"))
	if err != nil {
		r.broken(err, from.url)
		return false
	}
	switch {
	case a.cached() != "":
		r.answerCached(a)
	case a.StatusCode == http.StatusForbidden && strings.Contains(a.body, problem.PasswordChange):
		r.warn("url-must-change", "the account must change its password first", "the login works; what comes behind was not looked at", "sign in with it once in a browser, or use an account made with --keep-password")
	case a.StatusCode != http.StatusOK:
		r.sessionLost("a program is told " + quote(a.Status))
	default:
		return r.address(ctx, b, from)
	}
	return false
}

func (r *run) answerCached(a *answer) {
	r.fail("url-cached", "what is at "+name(a.url)+" comes out of a cache"+a.cached(), "whoever is signed in is told that they are not, or that they are somebody else", "never cache "+own(r.Prefix)+", and empty the cache now")
}

func (r *run) sessionLost(how words) {
	r.fail("url-session-lost", "the login is taken, and "+how, "visitors are sent in a circle and never learn why",
		"see bad_cookie and record_unreadable in the service's log: instances behind one address need the same keys and the same store, and the proxy has to pass the cookie "+own(r.cookieName(sessionCookie))+" on every path under "+own(r.Prefix))
}

// asProgram is a request of a script of our own page.
func (r *run) asProgram(from *answer, method, path string) *request {
	return &request{method: method, url: r.at(from.url, path), initiator: from.url, policy: referrerPolicy(from.Header), program: true}
}

// address compares where the service thinks that we are with what we know, and reports
// whether it was answered.
func (r *run) address(ctx context.Context, b *browser, from *answer) bool {
	a, err := b.send(ctx, r.asProgram(from, http.MethodGet, "/sessions"))
	if err != nil {
		r.broken(err, from.url)
		return false
	}
	var doc struct {
		Sessions []struct {
			Address string
			Current bool
		}
	}
	if json.Unmarshal([]byte(a.body), &doc) != nil || len(doc.Sessions) == 0 {
		r.missed("the list of sessions does not arrive", "url-client-address", "url-forged-address")
		return true
	}
	whole := r.secrets.blankPassword(a.body) == a.body
	for _, s := range doc.Sessions {
		if !whole { // where it ends is what the secret says
			r.secrets.instead(s.Address, blank)
		}
		at, err := netip.ParseAddr(s.Address)
		local, known := ip(a.local)
		switch {
		case !s.Current:
		case err != nil || !known:
			r.missed("the service does not say which address it sees", "url-client-address", "url-forged-address")
		case s.Address == elsewhere:
			r.fail("url-forged-address", "the service believes an X-Forwarded-For that the visitor made up", "whoever guesses passwords gets a new address for each try, and the audit log names whoever they like",
				"let the proxy append to X-Forwarded-For, or replace it (nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for), and name in trusted-proxies nothing but proxies")
		case at.IsLoopback() && !loopback(r.asked.Hostname()) && at.Unmap() != local:
			r.warn("url-client-address", "the service takes everybody for "+shown(s.Address), "wrong passwords of one visitor slow down all, and the audit log does not say where they came from",
				"set trusted-proxies="+shown(s.Address)+", and let the proxy send X-Forwarded-For (nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for)")
		}
	}
	return true
}

// signOut ends the session, and sees that it is over.
func (r *run) signOut(ctx context.Context, b *browser, from *answer) {
	before := b.jar.header(from.url, true, true, b.net.now())
	token := r.sessionToken(ctx, b, from)
	q := r.asProgram(from, http.MethodPost, "/logout")
	q.header = http.Header{"X-Csrf-Token": {token}}
	a, err := b.send(ctx, q)
	if err == nil && a.StatusCode == http.StatusForbidden && strings.Contains(a.body, problem.CSRFToken) && token != "" {
		r.fail("url-csrf-header", "the header X-CSRF-Token does not reach the service", "what scripts and programs send is refused (403 CSRF token missing or wrong)", "let the proxy pass it (nginx: no proxy_set_header X-CSRF-Token)")
		a, err = b.send(ctx, r.submit(from, "/logout", url.Values{"csrf_token": {token}}.Encode()))
	}
	if r.told["url-session-lost"] {
		return // nothing of it reaches the service, this neither
	}
	if err != nil || a.StatusCode != http.StatusNoContent && a.StatusCode != http.StatusSeeOther {
		r.fail("url-logout", "the session that the probe made could not be ended", "it lives until its idle time is over, and so do those of visitors who sign out",
			"end it: cloakroom session end --user NAME; and see what the proxy does with POST "+own(r.Prefix)+"/logout")
		return
	}
	if b.jar.get(r.cookieName(sessionCookie)) != nil {
		r.fail("url-cookie-stripped-post", "the service takes the cookie "+own(r.cookieName(sessionCookie))+" back at a logout, and that does not arrive", "the browser keeps a dead cookie, and each request with it is one for the log",
			"let the proxy pass Set-Cookie at all answers, those without a body as well")
	}
	q = r.asProgram(from, http.MethodGet, "/session")
	q.header = http.Header{"Cookie": {before}}
	if a, err = b.send(ctx, q); err != nil {
		r.broken(err, q.url)
		return
	}
	if a.StatusCode == http.StatusOK {
		r.fail("url-cached", "after the logout the service's answer from before comes again"+a.cached(), "a cache in front tells whoever asks who somebody was", "never cache "+own(r.Prefix)+", and empty the cache now")
	}
	r.passed(logoutStage)
}

// sessionToken asks for the token of the session; "" if nobody says.
func (r *run) sessionToken(ctx context.Context, b *browser, from *answer) string {
	for _, path := range []string{"/session", "/password"} { // the second for whoever must change it
		a, err := b.send(ctx, r.asProgram(from, http.MethodGet, path))
		var doc sessionDoc
		if err == nil && json.Unmarshal([]byte(a.body), &doc) == nil && doc.Token != "" {
			r.secrets.hide(doc.Token)
			return doc.Token
		}
	}
	return ""
}
