package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// Open connects to the server of a URL:
//
//	redis://user:password@host:port/0     this machine alone, unless Options.AllowPlaintext
//	rediss://user:password@host:port/0    TLS; the certificate must be the host's
//	unix:///run/redis.sock?db=0           a Unix socket, as redis+unix://
//
// The user, the port (6379) and the number of the database (0) may be left out.
// The query takes prefix, which is Options.Prefix, and for TLS ca, a file of
// certificates to trust in place of the system's, cert and key, files of a client
// certificate, and server-name, the name in the server's certificate if it is not
// the host. Any other parameter is refused. An @ in any of it is written %40.
//
// Open returns an error if the server does not answer before ctx ends. Afterwards
// an outage needs nobody: calls fail, and work again when the server does. Errors
// never have the password in them.
func Open(ctx context.Context, url string, opts *Options) (*Store, error) {
	t, o, err := resolve(url, opts)
	if err != nil {
		return nil, err
	}
	s := newStore(o)
	s.own = true
	for range max(1, o.MaxConns) {
		c, err := open(ctx, t)
		if err == nil {
			s.conns = append(s.conns, c)
			err = c.hello(ctx)
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("redisstore: open: %w", err)
		}
	}
	return s, nil
}

// CheckURL returns what Open would refuse of a URL and options before it
// connects, for a program that lists all faults of its configuration at once; and,
// for one that has rules of its own about it, how the server is reached.
func CheckURL(url string, opts *Options) (link.Login, error) {
	t, _, err := resolve(url, opts)
	if err != nil {
		return link.Login{}, err
	}
	return t.login(), nil
}

// faults returns every fault of the options.
func (o *Options) faults() []string {
	var faults []string
	if len(o.Prefix) > 64 || strings.ContainsAny(o.Prefix, "{}") {
		faults = append(faults, "a prefix has at most 64 bytes, and no brace")
	}
	if o.MaxConns < 0 || o.MaxConns > maxConns {
		faults = append(faults, fmt.Sprintf("MaxConns is %d, want 0 to %d", o.MaxConns, maxConns))
	}
	return faults
}

// open returns a connection to a server that may not be there. The client is
// told to be no cleverer than this package needs it:
//
//   - one connection and all calls through its pipeline, as a call that is not in
//     the pipeline heeds the deadline of its context and nothing else of it;
//   - a pause of 20 µs behind each flush, in which calls gather: under load it
//     doubles what one connection carries, alone it costs nothing, as the next
//     call comes later than that;
//   - nothing is repeated, not even a read: an outage is answered at once;
//   - no cache on the client, and so no tracking on the server.
func open(ctx context.Context, t *target) (*conn, error) {
	c := newConn(nil)
	c.secret = t.password
	option := rueidis.ClientOption{
		InitAddress: []string{t.addr}, Username: t.user, Password: t.password, SelectDB: t.db,
		ClientName: "cloakroom", ClientSetInfo: rueidis.DisableClientSetInfo,
		ForceSingleClient: true, PipelineMultiplex: -1, AlwaysPipelining: true, MaxFlushDelay: flushDelay,
		DisableRetry: true, DisableCache: true, BlockingPoolSize: 1,
		Dialer:           net.Dialer{Timeout: dialTimeout, KeepAlive: time.Second},
		ConnWriteTimeout: silence,
		DialCtxFn:        c.dialer(t),
	}
	type made struct {
		client rueidis.Client
		err    error
	}
	done := make(chan made, 1)
	go func() { // it ends within dialTimeout; the client knows no context here
		client, err := rueidis.NewClient(option)
		done <- made{client, err}
	}()
	select {
	case m := <-done:
		c.client = m.client
		if m.err != nil {
			if m.client != nil {
				m.client.Close()
			}
			return nil, c.explain(m.err)
		}
		return c, nil
	case <-ctx.Done():
		go func() {
			if m := <-done; m.client != nil {
				m.client.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// dialer returns what makes connections that are watched.
func (c *conn) dialer(t *target) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(ctx context.Context, _ string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		var (
			nc  net.Conn
			err error
		)
		if t.tls != nil {
			nc, err = (&tls.Dialer{NetDialer: d, Config: t.tls}).DialContext(ctx, t.network, t.addr)
		} else {
			nc, err = d.DialContext(ctx, t.network, t.addr)
		}
		if err != nil {
			return nil, err
		}
		return watched{Conn: nc, failed: func() { c.ready.Store(false) }}, nil
	}
}

// hello asks for something that every user of this package may do, so that a
// server that is not there, or a wrong password, stops the start and not the first
// visitor. A right that is missing is found out by whoever needs it first.
func (c *conn) hello(ctx context.Context) error {
	_, err := c.do(ctx, c.client.B().Ping().Build())
	return err
}

// explain says what the error of an attempt to reach the server means. Its
// deadline and its end are ours, so it is not to look like those of the caller's
// context. What the network says stays recognisable: a circuit breaker asks.
func (c *conn) explain(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v: %w", dialTimeout, os.ErrDeadlineExceeded)
	case errors.Is(err, context.Canceled):
		return errClosed
	}
	return c.redact(err)
}

// redact takes the password out of an error: a server may quote what it was sent.
func (c *conn) redact(err error) error {
	if err == nil {
		return nil
	}
	if text := link.Redact(err.Error(), c.secret); text != err.Error() {
		return errors.New(text)
	}
	return err
}
