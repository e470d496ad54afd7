// Package probe replays a login through the address that visitors use, as a browser
// would, and names what breaks it on the way: a proxy that drops a cookie, a setting
// that disagrees with the address, a certificate, a redirect that turns in circles.
//
// Without credentials it changes nothing but a counter: one login with a made-up name
// and password counts as a wrong password of an account that does not exist, and of
// the network address that the service sees. With credentials it signs in, looks who
// it is, and signs out again.
//
// It believes nobody on the way. Answers are read up to a bound, a request may take
// ten seconds and all of them half a minute, and redirects are followed within the
// site alone. The password goes to the host of the address and nowhere else, and
// never over plain http but to this machine. No finding tells a password, a cookie or
// a token.
package probe

import (
	"context"
	"net/netip"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

// Bounds of a run.
const (
	requestTimeout = 10 * time.Second
	runTimeout     = 28 * time.Second // those who ask wait for half a minute
	maxRedirects   = 20               // as Chromium
	maxBody        = 1 << 20          // no page of the service has a tenth of it
)

// Options say what to look at. URL is needed.
type Options struct {
	// URL is where visitors come from: scheme and host, as
	// "https://login.example.org".
	URL string

	// Prefix is the path under which the pages live; "" means "/auth".
	Prefix string

	// CA is a file with certificates of authorities (PEM) that are believed beside
	// those of the system; "" for none.
	CA string

	// User and Password sign in. Without a User nobody does.
	User, Password string

	// Service is what the service's settings say.
	Service Service

	net network // for tests; the zero network is the real one
}

// Service are the settings of the service that the answers are compared with.
type Service struct {
	PublicURL      string         // public-url, scheme and host; "" where it is not set
	TLS            bool           // it ends TLS itself
	TrustedProxies []netip.Prefix // trusted-proxies
}

// Run replays a login and returns what is wrong, in the order in which it was found,
// nothing where all is well, and what was looked at. It ends with ctx, or in less than
// half a minute; what there was no time for is not checked.
func Run(ctx context.Context, o Options) finding.Result {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	until, _ := ctx.Deadline()
	r := &run{Options: o, secrets: newSecrets(o.Password), timeUp: func() bool { return !time.Now().Before(until) }}
	if r.begin() {
		r.passed(addressStage)
		r.walk(ctx)
	}
	return r.result()
}
