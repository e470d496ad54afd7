// Package link is what the packages of stores and of keys on servers have in common
// about the way there: which hosts are this machine, what a URL's query may say, how
// TLS is set up, and what an error may repeat.
package link

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
)

// Local tells whether a host is this machine: localhost, or a loopback address as
// RFC 5952 and dotted decimals write it. Any other name is a host elsewhere, as
// what it resolves to may change; so is an address in another notation, which
// only some resolvers read, and one with a zone.
func Local(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Zone() == "" && ip.Unmap().IsLoopback()
}

// Login is how a server is reached and what is shown there, for whoever refuses
// servers that let anybody in (ASVS 13.2.1).
type Login struct {
	User, Password string
	Certificate    bool // of a client
	Local          bool // every host is this machine, or it is a Unix socket
}

// errParse stands for every URL that is not understood: what is wrong with it may
// be that a piece of the password stands where another part is looked for.
var errParse = errors.New("the URL cannot be parsed: write special characters as %XX, in user and password above all")

// Parse reads a URL with one host, or refuses it without repeating any of it.
func Parse(raw string) (*url.URL, error) {
	if err := Check(raw); err != nil {
		return nil, err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errParse
	}
	return u, nil
}

// Check refuses a URL with an @ behind its authority, or with two in it. It is
// mostly that of a password with an @, /, ? or # in it, pieces of which would be
// taken for a host, a path or a parameter, dialled, and repeated in errors; and not
// all who read URLs agree which of two @ counts.
func Check(raw string) error {
	_, rest, _ := strings.Cut(raw, "://")
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	if n := strings.Count(rest, "@"); n > 1 || n == 1 && !strings.Contains(authority, "@") {
		return errParse
	}
	return nil
}

// Query reads what stands behind the ? of a URL, as [Values] does. The error tells all
// faults in one line.
func Query(raw string, known ...string) (url.Values, error) {
	query, faults := Values(raw, known...)
	return query, Join(faults)
}

// Values reads parameters as a URL has them behind its ?. Each of the known ones may be
// there once, with a value, and no other: it would be one that nobody looks at. Its name
// is not repeated in the faults, as it may be a piece of the password.
func Values(raw string, known ...string) (query url.Values, faults []string) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return query, []string{"the part behind ? cannot be read: write special characters as %XX"}
	}
	for name := range query {
		if !slices.Contains(known, name) {
			faults = append(faults, "unknown parameter: it takes "+strings.Join(known, ", "))
			break
		}
	}
	for _, name := range known {
		if values := query[name]; len(values) > 1 || len(values) == 1 && values[0] == "" {
			faults = append(faults, fmt.Sprintf("parameter %s: write it once, with a value", name))
		}
	}
	return query, faults
}

// Parameters are those of a query that TLS reads.
var Parameters = []string{"ca", "cert", "key", "server-name"}

// HasTLS tells whether a query has a parameter that only TLS reads.
func HasTLS(query url.Values) bool { return slices.ContainsFunc(Parameters, query.Has) }

// TLS returns the configuration of a link to host: ca is a file of certificates to
// trust in place of the system's, cert and key are files of a client certificate,
// server-name is the name in the server's certificate if it is not the host. The
// certificate is verified, and for its host; no parameter says otherwise (ASVS
// 12.3.2).
func TLS(query url.Values, host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if name := query.Get("server-name"); name != "" {
		c.ServerName = name
	}
	var faults []string
	if file := query.Get("ca"); file != "" {
		c.RootCAs = x509.NewCertPool()
		if pem, err := os.ReadFile(file); err != nil {
			faults = append(faults, fmt.Sprintf("parameter ca: %v", err))
		} else if !c.RootCAs.AppendCertsFromPEM(pem) {
			faults = append(faults, fmt.Sprintf("parameter ca: there is no certificate in %s", file))
		}
	}
	switch cert, key := query.Get("cert"), query.Get("key"); {
	case (cert == "") != (key == ""):
		faults = append(faults, "a client certificate needs both cert and key")
	case cert != "":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			faults = append(faults, fmt.Sprintf("parameters cert and key: %v", err))
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, Join(faults)
}

// Join returns an error of one line that tells all faults, or nil.
func Join(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(faults, "; "))
}

const (
	// hidden stands where a secret stood.
	hidden = "xxxxx"

	// shortest is the length from which a secret is looked for. A shorter one is
	// a part of ordinary words: to cut it out of them makes the text unreadable,
	// and shows by what is missing what the secret is.
	shortest = 4
)

// Redact returns a text in one line and without the secrets, be they written as
// they are or as in a URL.
func Redact(text string, secrets ...string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, secret := range secrets {
		if len(secret) < shortest {
			continue
		}
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			text = strings.ReplaceAll(text, form, hidden)
		}
	}
	return text
}
