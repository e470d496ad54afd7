package probe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
)

// certified is a server with a certificate of its own.
func certified(change func(*x509.Certificate), names ...string) func(*httptest.Server) {
	return func(s *httptest.Server) {
		s.TLS.Certificates = []tls.Certificate{theAuthority().issue(change, names...)}
	}
}

// date is a moment that goldens can name.
func date(year int) time.Time { return time.Date(year, time.March, 1, 12, 0, 0, 0, time.UTC) }

// at sets the clock of the probe.
func at(now time.Time) func(*probe.World) {
	return func(w *probe.World) { w.Now = func() time.Time { return now } }
}

// resolves makes every name resolve to these addresses, or fail.
func resolves(err error, addrs ...string) func(*probe.World) {
	return func(w *probe.World) {
		w.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			if err != nil {
				return nil, err
			}
			var all []netip.Addr
			for _, a := range addrs {
				all = append(all, netip.MustParseAddr(a))
			}
			return all, nil
		}
	}
}

// dials makes connections to an address fail, "" for all.
func dials(addr string, err error) func(*probe.World) {
	return func(w *probe.World) {
		dial := w.Dial
		w.Dial = func(ctx context.Context, network, to string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(to); addr == "" || addr == host {
				return nil, &net.OpError{Op: "dial", Net: network, Err: err}
			}
			return dial(ctx, network, to)
		}
	}
}

// two makes names resolve to both families, where one address has a fault.
func two(addr string, err error) func(*probe.World) {
	return func(w *probe.World) {
		resolves(nil, "198.51.100.7", "2001:db8::7")(w)
		dials(addr, err)(w)
	}
}

var refusedErr = os.NewSyscallError("connect", syscall.ECONNREFUSED)

var networkFaults = []fault{
	{name: "no such name", want: "url-dns", world: resolves(&net.DNSError{Err: "no such host", Name: host, IsNotFound: true})},
	{name: "no name server", want: "url-dns", world: resolves(&net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true})},
	{name: "nothing listens", want: "url-refused", world: dials("", refusedErr)},
	{name: "no way there", want: "url-unreachable", world: dials("", os.NewSyscallError("connect", syscall.EHOSTUNREACH))},
	{name: "no answer", want: "url-timeout", world: dials("", os.ErrDeadlineExceeded)},
	{name: "IPv6 is refused", want: "url-families", world: two("2001:db8::7", refusedErr)},
	{name: "IPv4 is refused", want: "url-families", world: two("198.51.100.7", refusedErr)},
	{name: "another server at IPv6", want: "url-families", world: func(w *probe.World) {
		resolves(nil, "198.51.100.7", "2001:db8::7")(w)
		dial := w.Dial
		w.Dial = func(ctx context.Context, network, to string) (net.Conn, error) {
			if strings.HasPrefix(to, "[2001:db8::7]") {
				to = "[2001:db8::7]:80" // speaks no TLS
			}
			return dial(ctx, network, to)
		}
	}},
	{name: "no IPv6 here, which is no fault", unseen: "url-families", world: two("2001:db8::7", os.NewSyscallError("connect", syscall.ENETUNREACH))},
	{name: "the connection is broken off", want: "url-broken-off", around: on(always, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), server: oldHTTP},
	{name: "the answer is broken off", want: "url-broken-off", server: oldHTTP, around: on(always, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Write([]byte("half"))
	})},
	{name: "HTTP/2 is broken off", want: "url-http2", around: on(always, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })},
	{name: "HTTP/1.1 alone, which is no fault", server: oldHTTP},
	{name: "an expired certificate", want: "url-tls-expired", server: certified(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = date(2024), date(2025) }, host)},
	{name: "an early certificate", want: "url-tls-early", server: certified(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = date(2124), date(2125) }, host)},
	{name: "another host's certificate", want: "url-tls-host", server: certified(nil, "www.example.net", "example.net")},
	{name: "a certificate that nobody signed", want: "url-tls-untrusted", server: func(s *httptest.Server) { s.TLS.Certificates = []tls.Certificate{theAuthority().make(nil, nil, host)} }},
	{name: "a certificate without its chain", want: "url-tls-chain", options: func(o *probe.Options) { o.CA = "" }},
	{name: "a certificate that ends soon", want: "url-tls-expires", server: certified(func(c *x509.Certificate) { c.NotAfter = date(2026).Add(48 * time.Hour) }, host),
		world: at(date(2026)), response: dated},
	{name: "an old TLS", want: "url-tls-old", server: func(s *httptest.Server) {
		s.EnableHTTP2 = false
		s.TLS.MinVersion, s.TLS.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	}},
	{name: "no TLS in common", want: "url-tls-handshake", server: func(s *httptest.Server) {
		s.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, os.ErrInvalid }
	}},
	{name: "plain http at the port of https", want: "url-tls-plain", world: func(w *probe.World) {
		dial := w.Dial
		w.Dial = func(ctx context.Context, network, to string) (net.Conn, error) {
			return dial(ctx, network, strings.Replace(to, ":443", ":80", 1))
		}
	}},
	{name: "not http at all", want: "url-not-http", options: ask("http://localhost"), world: func(w *probe.World) {
		w.Dial = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				theirs.Read(make([]byte, 1<<16)) // or the request fails before the answer is looked at
				theirs.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
				theirs.Close()
			}()
			return ours, nil
		}
	}},
}

// oldHTTP turns HTTP/2 off.
func oldHTTP(s *httptest.Server) { s.EnableHTTP2 = false }

// dated writes a Date that fits the probe's clock.
func dated(r *http.Response) error {
	r.Header.Set("Date", date(2026).Format(http.TimeFormat))
	return nil
}
