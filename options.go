package cloakroom

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// What the zero value of an option means.
const (
	DefaultCookieName   = "__Host-session"
	DefaultIdleTimeout  = 30 * time.Minute
	DefaultLifetime     = 24 * time.Hour
	DefaultMaxBytes     = 64 << 10
	DefaultStoreTimeout = 250 * time.Millisecond
)

// maxLifetime is the longest lifetime: browsers keep no cookie for longer
// (RFC 6265bis §5.5).
const maxLifetime = 400 * 24 * time.Hour

// Options are the options of a [Manager]. The zero value is safe, and what a
// browser would refuse or what is unsafe is refused by [New].
//
// There is no option for HttpOnly, which is always set: no script has business
// with the cookie (ASVS 3.3.4).
type Options struct {
	// CookieName is the name of the cookie, 1 to 64 bytes; empty means
	// DefaultCookieName. Its prefix makes browsers hold to Secure, Path=/ and no Domain, so that no
	// other host of the domain can plant one (RFC 6265bis §4.1.3). A name without
	// the prefix is needed for Domain, for another Path and for Insecure.
	CookieName string

	// Path is the cookie's path; empty means "/".
	Path string

	// Domain is the cookie's domain; empty, and best, means this host only.
	Domain string

	// SameSite is Lax unless set to Strict, or to None, which other sites'
	// frames need.
	SameSite http.SameSite

	// Insecure leaves out the Secure attribute, so that the cookie goes over
	// plain HTTP. It is for development with browsers that refuse Secure cookies
	// from http://localhost.
	Insecure bool

	// Partitioned gives a frame on each site a cookie of its own (CHIPS).
	Partitioned bool

	// Persistent lets the cookie outlive the browser, until the session's
	// deadline. Without it the cookie ends with the browser (NIST SP 800-63B-4
	// §5.1). No timeout depends on it.
	Persistent bool

	// Audience separates deployments that share keys: a cookie made for another
	// audience is no cookie (ASVS 9.2.3). May be empty.
	Audience string

	// IdleTimeout ends a session after so long without a request; zero means
	// DefaultIdleTimeout, or Lifetime if that is shorter. Activity is noted when a tenth of it has passed, so the
	// effective timeout lies between 0.9 and 1.0 of it. At least a second, at
	// most Lifetime (ASVS 7.3.1).
	IdleTimeout time.Duration

	// Lifetime ends a session so long after its proof of identity, or its
	// creation, whatever the activity; zero means DefaultLifetime. At least a
	// second, at most 400 days (ASVS 7.3.2).
	Lifetime time.Duration

	// MaxSessions is how many sessions a user may have at once; zero means any
	// number. At a login the oldest of more are ended (ASVS 7.1.2). It needs a
	// store.UserStore, and so stored sessions.
	MaxSessions int

	// MaxBytes bounds all values of a session together, as JSON with their
	// names; zero means DefaultMaxBytes. At most 1,000,000. For [NewSealed] zero
	// means what fits a cookie, and that is the most.
	MaxBytes int

	// StoreTimeout bounds each call of the store that reads or writes one session;
	// zero means DefaultStoreTimeout. A whole commit may take five times as long,
	// and a call that lists or ends a user's sessions twenty times. Beyond it the
	// answer is 503 (ASVS 13.1.3). So that the requests after it need not wait for
	// a store that has stopped answering, put a store/breaker in front.
	StoreTimeout time.Duration

	// Skip makes a request anonymous, whatever its cookie: its session is empty,
	// what is stored in it is thrown away, and no cookie is set. For static files
	// and probes. Nil skips nothing.
	Skip func(*http.Request) bool

	// SkipHeader names a request header that, if it is there and not empty, does
	// as Skip does. Since it only ever takes rights away, anybody may send it.
	SkipHeader string

	// ClientAddr says where a request comes from, for log lines and lists of
	// sessions; nil means the host of RemoteAddr. Behind a proxy it reads the
	// header that the proxy, and nobody else, sets.
	ClientAddr func(*http.Request) string

	// Logger takes a line for each event; nil means slog.Default().
	Logger *slog.Logger

	// ErrorHandler answers a request whose session could not be loaded or saved;
	// nil means [WriteError]. The header of w is as it was before the handler ran,
	// but for the cookie of what Session.Commit or Session.End had done by then.
	// [Status] tells the status.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, err error)
}

// resolve returns the options with the defaults in place, or every fault at once.
func (o *Options) resolve(st store.Store) (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	setDefault(&r.CookieName, DefaultCookieName)
	setDefault(&r.Path, "/")
	if r.IdleTimeout == 0 {
		r.IdleTimeout = DefaultIdleTimeout
		if 0 < r.Lifetime && r.Lifetime < r.IdleTimeout {
			r.IdleTimeout = r.Lifetime
		}
	}
	setDefault(&r.Lifetime, DefaultLifetime)
	setDefault(&r.MaxBytes, DefaultMaxBytes)
	setDefault(&r.StoreTimeout, DefaultStoreTimeout)
	if r.SameSite == 0 || r.SameSite == http.SameSiteDefaultMode {
		r.SameSite = http.SameSiteLaxMode
	}
	if r.ClientAddr == nil {
		r.ClientAddr = remoteHost
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	if r.ErrorHandler == nil {
		r.ErrorHandler = WriteError
	}
	return r, errors.Join(append(r.cookieFaults(), r.limitFaults(st)...)...)
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// remoteHost is the peer's address without its port.
func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// cookieFaults holds the cookie to what browsers accept. http.Cookie.Valid does
// not: it lets a __Host- cookie have a Domain.
func (o *Options) cookieFaults() []error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("cloakroom: "+format, args...))
	}
	if !isToken(o.CookieName) || len(o.CookieName) > 64 {
		fault("CookieName %q is no cookie name: use 1 to 64 letters, digits, '-' and '_'", o.CookieName)
	}
	host, secure := hasFoldPrefix(o.CookieName, "__Host-"), hasFoldPrefix(o.CookieName, "__Secure-")
	if host && !strings.HasPrefix(o.CookieName, "__Host-") || secure && !strings.HasPrefix(o.CookieName, "__Secure-") {
		fault("CookieName %q: write the prefix as __Host- or __Secure-", o.CookieName)
	}
	if (host || secure) && o.Insecure {
		fault("CookieName %q needs Secure: with Insecure use a name like \"session\"", o.CookieName)
	}
	if host && o.Domain != "" {
		fault("CookieName %q allows no Domain: leave Domain empty, or use a name like \"__Secure-session\"", o.CookieName)
	}
	if host && o.Path != "/" {
		fault("CookieName %q allows no Path but \"/\": use a name like \"__Secure-session\"", o.CookieName)
	}
	if !strings.HasPrefix(o.Path, "/") || strings.ContainsFunc(o.Path, func(r rune) bool { return r <= ' ' || r == ';' || r >= 0x7f }) {
		fault("Path %q is no cookie path: it starts with \"/\" and has no space or \";\"", o.Path)
	}
	if o.Domain != "" && !isDomain(o.Domain) {
		fault("Domain %q is no domain: write it like \"example.com\"", o.Domain)
	}
	switch o.SameSite {
	case http.SameSiteLaxMode, http.SameSiteStrictMode:
	case http.SameSiteNoneMode:
		if o.Insecure {
			fault("SameSite=None needs Secure: browsers refuse the cookie otherwise")
		}
	default:
		fault("SameSite %d is unknown: use Lax, Strict or None of net/http", o.SameSite)
	}
	if o.Partitioned && o.Insecure {
		fault("Partitioned needs Secure: browsers refuse the cookie otherwise")
	}
	return faults
}

func (o *Options) limitFaults(st store.Store) []error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("cloakroom: "+format, args...))
	}
	if o.IdleTimeout < time.Second {
		fault("IdleTimeout %v is too short: at least a second", o.IdleTimeout)
	}
	if o.Lifetime < time.Second || o.Lifetime > maxLifetime {
		fault("Lifetime %v is out of bounds: between a second and 400 days", o.Lifetime)
	}
	if o.Lifetime > 0 && o.IdleTimeout > o.Lifetime {
		fault("IdleTimeout %v is longer than Lifetime %v and would never be reached", o.IdleTimeout, o.Lifetime)
	}
	if o.MaxSessions < 0 {
		fault("MaxSessions %d is negative: 0 means any number", o.MaxSessions)
	}
	if _, ok := st.(store.UserStore); !ok && o.MaxSessions > 0 {
		fault("MaxSessions needs a store that lists sessions by user, %T does not", st)
	}
	if o.MaxBytes < 0 || o.MaxBytes > 1_000_000 {
		fault("MaxBytes %d is out of bounds: between 1 and 1000000", o.MaxBytes)
	}
	if o.StoreTimeout < 0 {
		fault("StoreTimeout %v is negative", o.StoreTimeout)
	}
	if o.SkipHeader != "" && !isToken(o.SkipHeader) {
		fault("SkipHeader %q is no header name", o.SkipHeader)
	}
	return faults
}

func hasFoldPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// isToken reports a token of RFC 9110 §5.6.2, as names of cookies and headers are.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}

// isDomain reports a host name of at least one label, without port or leading dot.
func isDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i] | 0x20
			if !(c >= 'a' && c <= 'z' || label[i] >= '0' && label[i] <= '9' || label[i] == '-') {
				return false
			}
		}
	}
	return true
}
