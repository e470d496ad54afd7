package server

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

// Near tells whether a host is this machine: a loopback address, localhost, or
// the path of a socket. What goes to any other is read on its way.
func Near(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Parse reads a URL, which must have one of the schemes. No error repeats any of
// it: the password may stand where a careless hand has put it.
func Parse(s, like string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err == nil {
		for _, scheme := range schemes {
			if u.Scheme == scheme && u.Opaque == "" {
				return u, nil
			}
		}
	}
	return nil, errors.New("not a URL of the form " + like + " (signs of a password that have a meaning in a URL are written %XX)")
}

// hidden stands where a secret stood.
const hidden = "xxxxx"

// OneLine returns what an error says, in one line and without the secrets.
func OneLine(err error, secrets ...string) string {
	s := strings.Join(strings.Fields(err.Error()), " ")
	for _, secret := range secrets {
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if form != "" {
				s = strings.ReplaceAll(s, form, hidden)
			}
		}
	}
	return s
}
