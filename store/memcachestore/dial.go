package memcachestore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
)

// dialer returns what makes a connection to a server, ready to use.
func (c *config) dialer(a address) func(ctx context.Context) (net.Conn, error) {
	conf := c.tls
	if conf != nil && conf.ServerName == "" {
		conf = conf.Clone()
		conf.ServerName = a.host
	}
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		nc, err := d.DialContext(ctx, a.network, a.addr)
		if err != nil {
			return nil, err
		}
		if conf != nil {
			tc := tls.Client(nc, conf)
			if err := tc.HandshakeContext(ctx); err != nil {
				nc.Close()
				return nil, fmt.Errorf("TLS: %w", err)
			}
			nc = tc
		}
		if c.user != "" {
			if err := login(ctx, nc, c.user, c.password); err != nil {
				nc.Close()
				return nil, fmt.Errorf("log in: %w", err)
			}
		}
		return nc, nil
	}
}

// login says who we are, as memcached -Y wants it: in the shape of a set. To a
// server that asks for no password it is a set, so it is one of an item that
// expires at once.
func login(ctx context.Context, nc net.Conn, user, password string) error {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(past) })
	defer stop()
	line := user + " " + password
	if _, err := fmt.Fprintf(nc, "set cloakroom-login 0 -1 %d\r\n%s\r\n", len(line), line); err != nil {
		return err
	}
	// The server says nothing behind its answer, so no byte is read too many.
	var answer []byte
	for b := make([]byte, 128); len(answer) < len(b) && !strings.HasSuffix(string(answer), "\r\n"); {
		n, err := nc.Read(b)
		if err != nil {
			return err
		}
		answer = append(answer, b[:n]...)
	}
	if string(answer) != "STORED\r\n" {
		return errors.New("user or password is wrong")
	}
	return nil
}
