package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

const (
	whyNobody = "no visitor reaches the page to sign in"
	whyWarned = "browsers show a warning in place of the page, and programs refuse to go on"
)

// resolve looks the host up, if it is a name of the network. False means that there is
// nowhere to go.
func (r *run) resolve(ctx context.Context) ([]netip.Addr, bool) {
	host := r.asked.Hostname()
	if isAddress(host) || loopback(host) {
		r.spare("url-dns")
		return nil, true
	}
	ctx, cancel := context.WithTimeout(ctx, r.net.wait)
	defer cancel()
	addrs, err := r.net.lookup(ctx, host)
	dns, known := errors.AsType[*net.DNSError](err)
	switch {
	case err == nil && len(addrs) > 0:
		return addrs, true
	case err == nil, known && dns.IsNotFound:
		r.fail("url-dns", "the name "+quote(host)+" has no address", whyNobody,
			"add an A or AAAA record for it where the domain's DNS is kept, or correct the name in --url; to see what is there: dig "+shown(host)+" A "+shown(host)+" AAAA")
	case r.timeUp():
		r.late = true
	default:
		r.fail("url-dns", "the name "+quote(host)+" cannot be looked up: the DNS server does not answer, or fails", whyNobody,
			"ask another server, as with dig @9.9.9.9 "+shown(host)+", and mend the one that fails")
	}
	return nil, false
}

// broken tells why there was no answer from an address.
func (r *run) broken(err error, u *url.URL) {
	if r.timeUp() { // which says nothing of this answer
		r.late = true
		return
	}
	if r.brokenTLS(err, u) {
		return
	}
	at := name(u)
	var timeout net.Error
	op, _ := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		r.fail("url-timeout", at+" does not answer within 10 seconds", whyNobody+", or each waits that long",
			"see whether a firewall drops the packets (nc -vz "+shown(strings.Replace(hostPort(u), ":", " ", 1))+"), and whether the proxy waits for the service (its error log, and --admin-listen's /readyz)")
	case errors.Is(err, context.Canceled):
		r.fail("url-cancelled", "the look at "+at+" was broken off", "what comes behind was not looked at", "start it again")
	case errors.Is(err, syscall.ECONNREFUSED):
		r.fail("url-refused", "nothing listens at "+shown(hostPort(u))+": the connection is refused", whyNobody,
			"start the proxy or the service there, and see what listens: ss -ltn")
	case op != nil && op.Op == "dial":
		r.fail("url-unreachable", shown(hostPort(u))+" cannot be reached: "+quote(op.Err.Error()), whyNobody,
			"see the way there (traceroute "+shown(u.Hostname())+") and the firewalls on it")
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "server gave HTTP response to HTTPS"):
		r.fail("url-not-http", "what answers at "+shown(hostPort(u))+" does not speak "+shown(u.Scheme), whyNobody,
			"correct scheme and port in --url, or in the proxy's listen line (nginx: listen 443 ssl)")
	case strings.Contains(err.Error(), "http2:"), strings.Contains(err.Error(), "stream error"):
		r.fail("url-http2", at+" offers HTTP/2 and breaks it off", "browsers speak HTTP/2 wherever it is offered, and get no page",
			"mend HTTP/2 in the proxy, or turn it off (nginx: http2 off, or listen without http2), and see its error log")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		r.fail("url-broken-off", at+" is connected, and broken off before the whole answer is there", whyNobody,
			"see the proxy's error log, and whether what is behind it speaks the same protocol (http or https, HTTP/1.1 or 2)")
	default:
		r.fail("url-unreachable", at+" gives no answer: "+quote(bareText(err)), whyNobody, "see the proxy's error log")
	}
}

// brokenTLS tells why there is no TLS with an address, and reports whether that is it.
func (r *run) brokenTLS(err error, u *url.URL) bool {
	at := shown(hostPort(u))
	failed, isVerify := errors.AsType[*tls.CertificateVerificationError](err)
	if isVerify {
		r.distrusted(failed, u)
		return true
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		what := at + " speaks no TLS"
		if string(record.RecordHeader[:]) == "HTTP/" {
			what = at + " speaks plain http where https belongs"
		}
		r.fail("url-tls-plain", what, whyNobody, "give the proxy's port its certificate (nginx: listen 443 ssl; ssl_certificate …), or the service tls-cert and tls-key, or correct the port in --url")
		return true
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok || strings.Contains(err.Error(), "tls: ") {
		said := bare(err).Error()
		if ok {
			said = alert.Error()
		}
		r.fail("url-tls-handshake", at+" and a client of today find no TLS in common: "+quote(strings.TrimPrefix(said, "remote error: ")), whyNobody,
			"let the proxy speak TLS 1.2 and 1.3 with its default ciphers (nginx: ssl_protocols TLSv1.2 TLSv1.3), and have a certificate for this name; to see what it speaks: openssl s_client -connect "+at+" -servername "+shown(u.Hostname()))
		return true
	}
	return false
}

// distrusted tells why a certificate is not believed.
func (r *run) distrusted(err *tls.CertificateVerificationError, u *url.URL) {
	at, host := shown(hostPort(u)), shown(u.Hostname())
	leaf := err.UnverifiedCertificates[0]
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err.Err)
	_, isHost := errors.AsType[x509.HostnameError](err.Err)
	now := r.net.now()
	switch {
	case isInvalid && invalid.Reason == x509.Expired && now.Before(leaf.NotBefore):
		r.fail("url-tls-early", "the certificate of "+at+" is not valid before "+day(leaf.NotBefore), whyWarned,
			"set the clock of this machine, or of the one that made the certificate; or wait")
	case isInvalid && invalid.Reason == x509.Expired && now.After(leaf.NotAfter):
		r.fail("url-tls-expired", "the certificate of "+at+" expired on "+day(leaf.NotAfter), whyWarned,
			"renew it (certbot renew, or whatever made it), and reload the proxy (nginx -s reload): it reads the file at its start alone")
	case isInvalid && invalid.Reason == x509.Expired:
		r.fail("url-tls-expired", "a certificate of the chain of "+at+", above its own, has expired", whyWarned,
			"give the proxy the chain that the authority hands out today (certbot's fullchain.pem)")
	case isHost:
		r.fail("url-tls-host", "the certificate of "+at+" is for "+names(leaf)+" and not for "+host, whyWarned,
			"make one for this name (certbot --domain "+host+"), or name in --url and public-url a host that it has; with several sites on one address, see that this one has its own server_name")
	case len(err.UnverifiedCertificates) == 1 && leaf.Issuer.String() != leaf.Subject.String():
		r.fail("url-tls-chain", "the certificate of "+at+" comes alone, without the one of its issuer "+quote(leaf.Issuer.CommonName)+", which nobody here knows",
			"browsers that have met the issuer elsewhere go on, others and most programs refuse: it fails for some",
			"give the proxy the whole chain (nginx: ssl_certificate fullchain.pem; the service: tls-cert with the chain), or, if the authority is your own, name its certificate by --ca")
	default:
		r.fail("url-tls-untrusted", "the certificate of "+at+" is signed by "+quote(leaf.Issuer.CommonName)+", which nobody here knows", whyWarned,
			"use a certificate of an authority that browsers know (Let's Encrypt), or, if the authority is your own, name its certificate by --ca and install it in the browsers")
	}
}

// names are those that a certificate is for.
func names(c *x509.Certificate) words {
	all := c.DNSNames
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name"
	}
	return quote(strings.Join(all, ", "))
}

// bare takes the address off an error, as it may hold a secret.
func bare(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// bareText is how such an error reads, without a header that it quotes: that may be a
// cookie which nobody could read as one.
func bareText(err error) string {
	const header = "malformed MIME header"
	if text := bare(err).Error(); !strings.HasPrefix(text, header) {
		return text
	}
	return header
}

// hostPort is where an address is connected to.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// judgeTLS looks at a connection that works.
func (r *run) judgeTLS(a *answer) {
	if a.TLS == nil || len(a.TLS.PeerCertificates) == 0 {
		r.spare("url-tls-plain", "url-tls-handshake", "url-tls-early", "url-tls-expired", "url-tls-host", "url-tls-chain", "url-tls-untrusted", "url-tls-old", "url-tls-expires")
		return
	}
	at := shown(hostPort(a.url))
	if a.TLS.Version < tls.VersionTLS12 {
		r.fail("url-tls-old", at+" speaks "+own(tls.VersionName(a.TLS.Version))+" to a client that knows TLS 1.3", "browsers refuse TLS 1.0 and 1.1, and show an error in place of the page",
			"let the proxy speak newer ones (nginx: ssl_protocols TLSv1.2 TLSv1.3)")
	}
	leaf := a.TLS.PeerCertificates[0]
	rest, whole := leaf.NotAfter.Sub(r.net.now()), leaf.NotAfter.Sub(leaf.NotBefore)
	if rest < whole/6 { // who renews it by a machine does so at a third
		r.warn("url-tls-expires", "the certificate of "+at+" expires on "+minute(leaf.NotAfter)+" UTC", "then "+whyWarned,
			"see why it is not renewed (certbot renew --dry-run), and that the proxy is reloaded afterwards")
	}
}

// families compares the addresses of a host that has both kinds: browsers try both.
func (r *run) families(ctx context.Context, addrs []netip.Addr, page *answer) {
	var four, six netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() && !four.IsValid() {
			four = a
		} else if !a.Is4() && !six.IsValid() {
			six = a
		}
	}
	if !four.IsValid() || !six.IsValid() || page.url.Hostname() != r.asked.Hostname() {
		r.spare("url-families")
		return
	}
	bad4, ok4 := r.ask(ctx, four, page.url)
	bad6, ok6 := r.ask(ctx, six, page.url)
	if r.timeUp() {
		r.late = true
		r.missed(outOfTime, "url-families")
		return
	}
	if !ok4 || !ok6 {
		r.missed("this machine has no way to one of the two addresses", "url-families")
		return
	}
	if bad4 == bad6 {
		return
	}
	const why = "browsers take either: for some visitors the site is slow, another, or away"
	switch {
	case bad6 != "":
		r.warn("url-families", "at its IPv4 address "+shown(four.String())+" the service answers, at its IPv6 address "+shown(six.String())+" "+bad6, why,
			"make the proxy listen there too (nginx: listen [::]:443 ssl), or take the AAAA record away")
	default:
		r.warn("url-families", "at its IPv6 address "+shown(six.String())+" the service answers, at its IPv4 address "+shown(four.String())+" "+bad4, why,
			"make the proxy listen there too (nginx: listen 443 ssl), or correct the A record")
	}
}

// ask tells what is wrong with the login page at one address, "" for nothing. It is
// false where this machine has no way to such addresses, and cannot know.
func (r *run) ask(ctx context.Context, at netip.Addr, u *url.URL) (bad words, ok bool) {
	b := newBrowser(&r.net, at)
	defer b.close()
	a, err := b.send(ctx, &request{method: http.MethodGet, url: u})
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return "", false
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused", true
	case errors.Is(err, context.DeadlineExceeded):
		return "there is no answer", true
	case err != nil:
		return "there is no answer that a browser takes", true
	case a.StatusCode != http.StatusOK || !a.ours(r.Prefix):
		return "something else answers", true
	}
	return "", true
}
