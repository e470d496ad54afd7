package redisstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"
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
// the host. Any other parameter is refused.
//
// Open returns an error if the server does not answer before ctx ends. Afterwards
// an outage needs nobody: calls fail, and work again when the server does. Errors
// never have the password in them.
func Open(ctx context.Context, url string, opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	t, err := parse(url, o.AllowPlaintext)
	if err != nil {
		return nil, fmt.Errorf("redisstore: open: %w", err)
	}
	if t.prefix != "" && o.Prefix != "" && t.prefix != o.Prefix {
		return nil, errors.New("redisstore: open: the prefix in the URL is not that of the options")
	}
	o.Prefix = cmp.Or(o.Prefix, t.prefix)
	s, err := newStore(&o)
	if err != nil {
		return nil, err
	}
	s.own, s.anonymous = true, t.password == ""
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

// Anonymous reports whether Open's URL had no password: then everybody who
// reaches the server can end and forge records, though make no session.
func (s *Store) Anonymous() bool { return s.anonymous }

// check returns every fault of the options.
func (o *Options) check() error {
	var errs []error
	if len(o.Prefix) > 64 || strings.ContainsAny(o.Prefix, "{}") {
		errs = append(errs, errors.New("redisstore: Options.Prefix has at most 64 bytes, and no brace"))
	}
	if o.MaxConns < 0 || o.MaxConns > maxConns {
		errs = append(errs, fmt.Errorf("redisstore: Options.MaxConns is %d, want 0 to %d", o.MaxConns, maxConns))
	}
	return errors.Join(errs...)
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
			return nil, c.redact(m.err)
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
// wrong password or a missing right stops the start and not the first visitor.
func (c *conn) hello(ctx context.Context) error {
	_, err := c.do(ctx, c.client.B().Ping().Build())
	return err
}

// redact takes the password out of an error: a server may quote what it was sent.
func (c *conn) redact(err error) error {
	if err == nil || c.secret == "" || !strings.Contains(err.Error(), c.secret) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), c.secret, "…"))
}
