// Package csrf keeps other sites from acting in a visitor's name (cross-site
// request forgery; ASVS 3.5.1, NIST SP 800-63B-4 §5.1).
//
// It goes inside the session's middleware and around the handlers that change
// something:
//
//	protect, err := csrf.New(manager, &csrf.Options{PublicURL: "https://app.example"})
//	...
//	handler := manager.Handler(protect.Handler(mux))
//
// and every form gets a hidden field, which [Field] writes:
//
//	<form method="post">{{.CSRF}} ...
//
// A script sends what [Token] returns in the header X-CSRF-Token.
//
// # What is checked
//
// Requests with the methods GET, HEAD, OPTIONS and TRACE pass, and must not change
// anything. Every other request is checked twice.
//
// First where it comes from, by Sec-Fetch-Site and Origin, which a browser sets
// and no page can forge. Each that is there has to say that it is this site, and
// the Origin's scheme counts as well as its host. A request with neither is no
// browser's and passes this check: forgery needs a browser.
//
// Then the token, wherever the request comes from. With a session it is bound to
// that session, for JSON too; a renewed session has another one. Without a session
// a request with the Content-Type application/json needs none, since no form can
// send that type and no script of another site may without being asked for first;
// every other request, such as the form of a login page, needs the token that
// belongs to a pre-login cookie. Token sets that cookie. It is sealed, ends with
// the browser, and nothing is stored for it.
//
// Either refusal is a 403, or a 409 for a request that came with a session's token
// of a moment ago, and the handler does not run.
//
// The handshake of a WebSocket is a GET and passes: whoever accepts it has to look
// at its Origin.
package csrf

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Where a request carries its token. The names are the same in every program, so
// that scripts and tools need not be told them.
const (
	headerName = "X-CSRF-Token"
	fieldName  = "csrf_token"
)

// What the zero value of an option means, and its bounds.
const (
	// DefaultCookieName is the name of the pre-login cookie before its prefix: it
	// is "__Host-csrf" where the session's cookie has such a prefix.
	DefaultCookieName = "csrf"

	// DefaultMaxForm is how many bytes of a form are searched: 1 MiB.
	DefaultMaxForm = 1 << 20

	minMaxForm = 1 << 10
	maxMaxForm = 64 << 20
)

// The reasons for which a request is refused, as Options.ErrorHandler gets them,
// wrapped. Compare with errors.Is.
var (
	// ErrCrossOrigin says that another site sent the request: 403.
	ErrCrossOrigin = errors.New("cross-origin request")

	// ErrToken says that the request has no token, or a wrong one: 403.
	ErrToken = errors.New("CSRF token missing or wrong")
)

// Options are the options of a [Protection]. The zero value is safe; behind a
// proxy that ends TLS or changes the Host header it needs PublicURL.
type Options struct {
	// PublicURL is the address under which browsers see the program, such as
	// "https://app.example": its scheme, host and port are those that an Origin
	// must have. A path may follow and does not matter. Empty means the scheme of
	// the connection and the host of the Host header.
	PublicURL string

	// TrustedOrigins are other origins, "scheme://host[:port]", whose pages may
	// send requests here, as a page on a sibling host. They need a token as all
	// do. Plain http is taken for loopback hosts, or where PublicURL is http too.
	TrustedOrigins []string

	// CookieName is the name of the pre-login cookie, without a prefix; empty
	// means DefaultCookieName. It has the prefix, path and domain of the session's
	// cookie, and SameSite=Strict, or None where the session's cookie has it.
	CookieName string

	// MaxForm is how many bytes of a form are searched for the field; zero means
	// DefaultMaxForm. Between 1 KiB and 64 MiB. A field behind them is not found:
	// put it first, above all where files follow. The handler still reads all of
	// the body.
	MaxForm int

	// Logger takes a line for each request that is refused; nil means the
	// Manager's.
	Logger *slog.Logger

	// ErrorHandler answers a request that is refused; nil means [WriteError]. It
	// may call Token, to show the form once more. The error is, as errors.Is sees
	// it, ErrCrossOrigin, ErrToken, or cloakroom.ErrRenewed for a session that has
	// another token since a moment ago.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, err error)
}

// Protection checks requests. It may be used by many goroutines, and nothing in
// it changes after New.
type Protection struct {
	m          *cloakroom.Manager
	public     string // the origin of PublicURL, or ""
	trusted    map[string]bool
	name       string // of the cookie, without prefix
	cookieName string
	maxForm    int
	logger     *slog.Logger
	refuse     func(http.ResponseWriter, *http.Request, error)

	// A purpose for each kind of secret: none passes for another.
	sessions *keyring.Purpose // tokens bound to a session
	visitors *keyring.Purpose // tokens bound to a pre-login cookie
	cookies  *keyring.Purpose // pre-login cookies
}

// New returns a Protection for the sessions of m. Nil options are the zero
// Options. Every fault is reported at once.
func New(m *cloakroom.Manager, opts *Options) (*Protection, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.CookieName == "" {
		o.CookieName = DefaultCookieName
	}
	if o.MaxForm == 0 {
		o.MaxForm = DefaultMaxForm
	}
	if o.ErrorHandler == nil {
		o.ErrorHandler = WriteError
	}
	public, trusted, faults := o.origins()
	faults = append(faults, o.faults()...)
	if m == nil {
		faults = append(faults, errors.New("csrf: New needs a Manager"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = m.Logger()
	}
	name := m.Cookie(o.CookieName, "").Name
	return &Protection{
		m: m, public: public, trusted: trusted, name: o.CookieName, cookieName: name,
		maxForm: o.MaxForm, logger: o.Logger, refuse: o.ErrorHandler,
		sessions: m.Purpose("csrf token of a session"),
		visitors: m.Purpose("csrf token of a pre-login cookie", name),
		cookies:  m.Purpose("csrf pre-login cookie", name),
	}, nil
}

// faults judges the options that are not about origins.
func (o *Options) faults() []error {
	var faults []error
	if !isCookieName(o.CookieName) {
		faults = append(faults, fmt.Errorf("csrf: CookieName %q is no name: use 1 to 64 letters, digits, '-' and '_', and no prefix", o.CookieName))
	}
	if o.MaxForm < minMaxForm || o.MaxForm > maxMaxForm {
		faults = append(faults, fmt.Errorf("csrf: MaxForm %d is out of bounds: between %d and %d bytes", o.MaxForm, minMaxForm, maxMaxForm))
	}
	return faults
}

// isCookieName reports a name that browsers and proxies agree about. A prefix is
// the Manager's to add.
func isCookieName(s string) bool {
	if strings.HasPrefix(s, "__") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// origins reads PublicURL and TrustedOrigins.
func (o *Options) origins() (public string, trusted map[string]bool, faults []error) {
	if o.PublicURL != "" {
		var err error
		if public, err = publicOrigin(o.PublicURL); err != nil {
			faults = append(faults, err)
		}
	}
	trusted = map[string]bool{}
	for _, s := range o.TrustedOrigins {
		origin, ok := parseOrigin(s)
		switch {
		case !ok:
			faults = append(faults, fmt.Errorf("csrf: TrustedOrigins: %q is no origin: write it like \"https://app.example\", without a path", s))
		case strings.HasPrefix(origin, "http:") && !strings.HasPrefix(public, "http:") && !isLoopback(origin):
			faults = append(faults, fmt.Errorf("csrf: TrustedOrigins: %q has the scheme http: anybody on the network could write its pages", s))
		case origin != public: // our own is checked in full, whoever lists it
			trusted[origin] = true
		}
	}
	return public, trusted, faults
}

// publicOrigin is the origin of a URL. The error does not repeat the URL: it may
// hold a password.
func publicOrigin(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("csrf: PublicURL is no address of a site: write it like \"https://app.example\", without user, query and fragment")
	}
	origin, ok := parseOrigin(u.Scheme + "://" + u.Host)
	if !ok {
		return "", errors.New("csrf: PublicURL needs scheme http or https, and a host in ASCII: write it like \"https://app.example\"")
	}
	return origin, nil
}

// isLoopback reports an origin on this machine.
func isLoopback(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}

// Handler checks every request before next runs. It goes inside the Manager's
// Handler and panics without.
//
// A wrong method is better told before: put Handler around the routes that change
// something, or answer 405 to methods that no route has.
func (p *Protection) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{
			Context: r.Context(), p: p, s: p.m.FromContext(r.Context()),
			writer: writer{ResponseWriter: w},
		}
		r = r.WithContext(x)
		x.r = r
		if !safe(r.Method) {
			if err := x.check(); err != nil {
				p.refuse(&x.writer, r, err)
				return
			}
		}
		next.ServeHTTP(&x.writer, r)
	})
}

// refusal is why a request was refused.
type refusal struct {
	err    error  // what the client is told
	reason string // what the log says
}

func (e *refusal) Error() string { return "csrf: " + e.err.Error() + ": " + e.reason }

// Unwrap returns ErrCrossOrigin, ErrToken or cloakroom.ErrRenewed.
func (e *refusal) Unwrap() error { return e.err }

// WriteError answers a request with an error of this package, as a [Protection]
// does where Options.ErrorHandler is nil: a problem document (RFC 9457) or, for a
// client that prefers it, a page. It does not say what was wrong: that is for the
// log.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, ErrCrossOrigin):
		problem.Write(w, r, http.StatusForbidden, problem.CrossOrigin)
	case errors.Is(err, ErrToken):
		problem.Write(w, r, http.StatusForbidden, problem.CSRFToken)
	default:
		cloakroom.WriteError(w, r, err)
	}
}

// Token returns the token for the forms and scripts of the response. It is the
// same within one response, as long as the session is the same: after a Login or a
// Renew it is that of the new session.
//
// Without a session it sets the pre-login cookie, unless the browser has a valid
// one. So it has to be called before the header leaves, and after the values that
// begin a session: too late, it returns "" and logs write_after_end.
//
// It may be called by several goroutines. Without a [Protection.Handler] around it
// panics.
func Token(ctx context.Context) string {
	x, ok := ctx.Value(contextKey{}).(*exchange)
	if !ok {
		panic("csrf: no protection in the context: wrap the handler in Protection.Handler")
	}
	return x.token()
}

// Field returns a hidden field with the token, to stand inside a form: see
// [Token].
func Field(ctx context.Context) template.HTML {
	// The alphabet of base64url needs no escaping.
	return template.HTML(`<input type="hidden" name="` + fieldName + `" value="` + Token(ctx) + `">`)
}

// log writes the line of a refusal.
func (x *exchange) log(e *refusal) {
	attrs := []slog.Attr{event.Addr(x.p.m.ClientAddr(x.r)), event.Reason(e.reason)}
	if e.err == ErrCrossOrigin {
		if origin := x.r.Header.Get("Origin"); origin != "" {
			attrs = append(attrs, event.Text("origin", origin))
		}
	} else {
		attrs = append(attrs, event.Session(x.s.ID()))
	}
	event.Log(x, x.p.logger, slog.LevelWarn, event.CSRFRefused, attrs...)
}
