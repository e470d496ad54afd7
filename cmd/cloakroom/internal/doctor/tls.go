package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

var tlsChecks = []string{"tls-files", "tls-expired", "tls-expiring", "tls-host", "tls-chain", "tls-weak", "tls-key-mode"}

// expiring is how long before its end a certificate should have been renewed.
const expiring = 14 * day

// tls judges the certificate as the service would give it to browsers.
func (e *examination) tls(_ context.Context, l *notes) {
	c := e.cfg
	if e.Settings.Bad["tls-key"] {
		l.skip("the setting tls-key cannot be read", tlsChecks...)
		return
	}
	certFile, keyFile := secretfile.Shown(c.TLSCert), secretfile.Shown(c.TLSKey)
	switch info, err := os.Stat(c.TLSKey); {
	case err != nil:
		l.skip(keyFile+" cannot be looked at: "+cause(err), "tls-key-mode")
	case !modes:
		l.skip("on this system modes do not say who may read a file", "tls-key-mode")
	case info.Mode().Perm()&0o027 != 0:
		l.find("tls-key-mode", finding.Error, "chmod 600 "+quote(c.TLSKey), "the certificate's key %s is open to others (mode %04o)", c.TLSKey, info.Mode().Perm())
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		l.skip("certificate and key cannot be read", tlsChecks[1:6]...)
		l.find("tls-files", finding.Error, tlsRemedy(err), "tls-cert %s, tls-key %s: %s", certFile, keyFile, tlsFault(err))
		return
	}
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			l.skip("there is a certificate that cannot be read", tlsChecks[1:6]...)
			l.find("tls-files", finding.Error, "get the chain anew from who issued it", "%s: there is a certificate that cannot be read", c.TLSCert)
			return
		}
		chain = append(chain, cert)
	}
	e.judgeTimes(l, chain[0])
	e.judgeHost(l, chain[0])
	e.judgeChain(l, chain)
	for _, cert := range chain {
		if why := weak(cert); why != "" {
			l.find("tls-weak", finding.Error, "get a certificate with a new key: ECDSA P-256, or RSA of 2048 bits or more", "%s: %s", c.TLSCert, why)
		}
	}
}

func tlsFault(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return secretfile.Shown(pe.Path) + ": " + pe.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}

func tlsRemedy(err error) string {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return "name files that are there and that the service may read"
	}
	return "name the certificate chain with tls-cert and its own key with tls-key, both in PEM form"
}

func (e *examination) judgeTimes(l *notes, leaf *x509.Certificate) {
	now := e.World.Now()
	switch {
	case now.After(leaf.NotAfter):
		l.find("tls-expired", finding.Error, "renew it, and restart the service", "%s expired on %s", e.cfg.TLSCert, stamp(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		l.find("tls-expired", finding.Error, "set the clock right (timedatectl), or wait", "%s is not valid before %s", e.cfg.TLSCert, stamp(leaf.NotBefore))
	// One that lives for days is renewed within hours.
	case leaf.NotAfter.Sub(now) < min(expiring, leaf.NotAfter.Sub(leaf.NotBefore)/3):
		l.find("tls-expiring", finding.Warning, "renew it, restart the service, and see why nothing did that by itself",
			"%s expires on %s, in %d days", e.cfg.TLSCert, date(leaf.NotAfter), leaf.NotAfter.Sub(now)/day)
	}
}

func (e *examination) judgeHost(l *notes, leaf *x509.Certificate) {
	host, _, _ := net.SplitHostPort(e.cfg.Listen)
	if e.cfg.PublicURL != nil {
		host = e.cfg.PublicURL.Hostname()
	} else if everywhere(host) {
		l.skip("there is no public-url", "tls-host")
		return
	}
	if err := leaf.VerifyHostname(host); err != nil {
		l.find("tls-host", finding.Error, "get a certificate for "+host+", or set public-url to a name that it has",
			"%s is not for %s, but for %s", e.cfg.TLSCert, host, orNobody(namesOf(leaf)))
	}
}

func namesOf(leaf *x509.Certificate) []string {
	names := leaf.DNSNames
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names[:min(len(names), 5)]
}

func orNobody(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// judgeChain judges what stands behind the certificate. An authority of one's own
// needs nothing there; one that says where its issuer's certificate is, does.
func (e *examination) judgeChain(l *notes, chain []*x509.Certificate) {
	for i := 1; i < len(chain); i++ {
		if chain[i-1].CheckSignatureFrom(chain[i]) != nil {
			l.find("tls-chain", finding.Warning, "put the certificate first, and behind each the one that issued it",
				"%s: certificate %d has not issued the one before it", e.cfg.TLSCert, i+1)
			return
		}
	}
	last := chain[len(chain)-1]
	if string(last.RawIssuer) == string(last.RawSubject) || len(last.IssuingCertificateURL) == 0 {
		return
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Intermediates: between, CurrentTime: middle(chain[0])})
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok && !last.IsCA {
		l.find("tls-chain", finding.Warning, "use the file with the full chain (fullchain.pem)",
			"%s: the certificate of who issued it, %q, is not behind it", e.cfg.TLSCert, last.Issuer.CommonName)
	} else if err != nil && !ok {
		l.skip("the chain cannot be followed: "+err.Error(), "tls-chain")
	}
}

// middle is a time at which a certificate is valid: whether it is now, is another
// question.
func middle(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)
}

// weak says what is weak about a certificate, or "".
func weak(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return "an RSA key of less than 2048 bits"
		}
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize < 256 {
			return "an ECDSA key of less than 256 bits"
		}
	}
	self := string(c.RawIssuer) == string(c.RawSubject) // nobody looks at its signature
	switch c.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.MD5WithRSA, x509.DSAWithSHA1:
		if !self {
			return "a signature with " + c.SignatureAlgorithm.String()
		}
	}
	return ""
}
