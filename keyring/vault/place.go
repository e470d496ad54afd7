package vault

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// place is what a place says, together with the environment.
type place struct {
	address   *url.URL // of the server
	mount     string   // of the KV engine
	path      string   // of the secret in it
	field     string
	namespace string
	login     login
	tls       url.Values // as package link reads them, for https
}

// parameters are those of a place's query, beside those of TLS.
var parameters = []string{"auth", "token-file", "role-id", "secret-id-file", "role", "jwt-file", "mount", "kv-mount", "namespace"}

// parser reads a place and gathers what is wrong with it. No fault repeats any part
// of the place: what stands in the wrong part of it may be a secret.
type parser struct {
	lookup func(string) (string, bool)
	plain  bool // to any host
	faults []error
}

func (p *parser) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(format, args...))
}

// env returns a variable of the environment, as the Vault client reads it: an empty
// one is none.
func (p *parser) env(name string) string {
	value, _ := p.lookup(name)
	return value
}

func (p *parser) parse(text string) *place {
	pl := &place{field: defaultField}
	u, path := p.split(text)
	if u == nil {
		return nil
	}
	// It would be sent to the server, and written into messages.
	if query := u.Query(); slices.ContainsFunc([]string{u.Host, path, u.Fragment, query.Get("mount"), query.Get("kv-mount"), query.Get("namespace"), query.Get("role")}, guessable.HoldsKey) {
		p.fault(remote.KeyFault)
		return nil
	}
	query, err := link.Query(u.RawQuery, append(append([]string{}, parameters...), link.Parameters...)...)
	if err != nil {
		p.fault("%w", err)
	}
	if u.Fragment != "" {
		pl.field = u.Fragment
	}
	if strings.ContainsFunc(pl.field, unprintable) || strings.ContainsAny(pl.field, "?#") {
		p.fault("the field behind # holds what no field's name does; the query stands before the #: MOUNT/PATH?auth=approle#FIELD")
	}
	p.secret(pl, strings.TrimPrefix(path, "/"), query.Get("kv-mount"))
	pl.login = p.login(query)
	pl.namespace = query.Get("namespace")
	if pl.namespace == "" {
		pl.namespace = p.env("VAULT_NAMESPACE")
	}
	if pl.namespace = strings.Trim(pl.namespace, "/"); pl.namespace != "" && !segments(pl.namespace) {
		p.fault("namespace is not valid; write its names with / between them")
	}
	p.server(pl, u, query)
	return pl
}

// split returns the server's URL with query and fragment of the place, and the path
// of the secret.
func (p *parser) split(text string) (*url.URL, string) {
	if before, _, ok := strings.Cut(text, ":"); ok && !strings.ContainsAny(before, "/?#") {
		u, err := link.Parse(text)
		if err != nil {
			p.fault("%w", err)
			return nil, ""
		}
		if u.Opaque != "" {
			p.fault("the URL has no host; write https://host:8200/MOUNT/PATH#FIELD")
			return nil, ""
		}
		path := u.Path
		u.Path, u.RawPath = "", ""
		return u, path
	}
	u, err := link.Parse("https://host/" + strings.TrimPrefix(text, "/"))
	if err != nil {
		p.fault("%w", err)
		return nil, ""
	}
	path, query, fragment := u.Path, u.RawQuery, u.Fragment
	if p.env("VAULT_ADDR") == "" {
		p.fault("VAULT_ADDR is not set; set it, or write the whole URL, https://host:8200/MOUNT/PATH#FIELD")
		return u, path
	}
	// The client takes an address with a path, of a server behind a proxy.
	if u, err = link.Parse(p.env("VAULT_ADDR")); err != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		p.fault("VAULT_ADDR is not the URL of a server; write https://host:8200")
		return nil, ""
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), ""
	u.RawQuery, u.Fragment = query, fragment
	return u, path
}

// secret reads MOUNT/PATH.
func (p *parser) secret(pl *place, path, mount string) {
	if !segments(path) || mount != "" && !segments(mount) {
		p.fault("the secret is not named as MOUNT/PATH; write names of printable characters with one / between them")
		return
	}
	first, rest, _ := strings.Cut(path, "/")
	switch {
	case mount != "":
		var ok bool
		if rest, ok = strings.CutPrefix(path, mount+"/"); !ok {
			p.fault("kv-mount is not what MOUNT/PATH begins with; write both, MOUNT/PATH?kv-mount=MOUNT")
			return
		}
		first = mount
	case rest == "":
		p.fault("the secret has a mount and no path; write MOUNT/PATH, as vault kv get does")
		return
	case first == "v1" || strings.HasPrefix(rest, "data/"):
		p.fault("leave out v1/ and data/; write MOUNT/PATH, as vault kv get does; if a path does begin so, say ?kv-mount=MOUNT")
		return
	}
	pl.mount, pl.path = first, rest
}

// server reads where the server is, and how it proves who it is (ASVS 12.3.1,
// 12.3.2, 12.3.4).
func (p *parser) server(pl *place, u *url.URL, query url.Values) {
	if u.User != nil {
		p.fault("the URL has a user; leave it out; how to log in stands in the query, ?auth=token, approle or kubernetes")
	}
	if u.Hostname() == "" {
		p.fault("the URL has no host; write https://host:8200/MOUNT/PATH#FIELD")
	}
	if skip := p.env("VAULT_SKIP_VERIFY"); skip != "" && skip != "0" && !strings.EqualFold(skip, "false") && !strings.EqualFold(skip, "f") {
		p.fault("VAULT_SKIP_VERIFY would give the keys to whoever answers; unset it, and name the file of the server's CA with ?ca= or in VAULT_CACERT")
	}
	pl.address = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	switch {
	case u.Scheme == "https":
		p.trust(pl, query)
	case u.Scheme != "http":
		p.fault("the URL begins with another scheme than https://")
	case link.HasTLS(query):
		p.fault("ca, cert, key and server-name need TLS; use https://")
	case !p.plain && !link.Local(u.Hostname()):
		p.fault("a link to another host needs TLS; use https://")
	}
	// The client reads these whether they count or not, without a bound, and before
	// anything is asked of anybody.
	for i, variable := range variables {
		counts := u.Scheme == "https" && query.Get(link.Parameters[i]) == "" && p.env(variable) == os.Getenv(variable)
		if path := os.Getenv(variable); path != "" && !counts && link.Parameters[i] != "server-name" {
			if err := certificates(path); errors.Is(err, errEndless) {
				p.fault("%s: %w", variable, err)
			}
		}
	}
	if dir := os.Getenv("VAULT_CAPATH"); dir != "" && !finite(dir) {
		p.fault("VAULT_CAPATH: not all in the directory are regular files of certificates; unset it, and name one file with ?ca= or in VAULT_CACERT")
	}
}

// variables stand in for the parameters of TLS that a place does not have, in the same
// order.
var variables = []string{"VAULT_CACERT", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY", "VAULT_TLS_SERVER_NAME"}

// trust finds the files of TLS: what the place names, else what the environment
// does.
func (p *parser) trust(pl *place, query url.Values) {
	pl.tls = url.Values{}
	for i, name := range link.Parameters {
		variable := variables[i]
		value, from := query.Get(name), name
		if value == "" {
			value, from = p.env(variable), variable
		}
		if value == "" {
			continue
		}
		var err error
		switch name {
		case "key":
			from += ", of the client certificate"
			_, err = readSecret(context.Background(), value)
		case "ca", "cert":
			err = certificates(value)
		}
		if err != nil {
			p.fault("%s: %w", from, err)
			continue
		}
		pl.tls.Set(name, value)
	}
}

// login reads how to log in.
func (p *parser) login(query url.Values) login {
	l := login{method: query.Get("auth"), lookup: p.lookup, mount: strings.Trim(query.Get("mount"), "/")}
	if l.method == "" {
		l.method = "token"
	}
	m, ok := methods[l.method]
	if !ok {
		p.fault("auth is none of token, approle and kubernetes")
		return l
	}
	for _, of := range []string{"token token-file", "approle role-id", "approle secret-id-file", "kubernetes role", "kubernetes jwt-file"} {
		if method, name, _ := strings.Cut(of, " "); query.Has(name) && method != l.method {
			p.fault("%s goes with auth=%s", name, method)
		}
	}
	switch {
	case l.method == "token" && l.mount != "":
		p.fault("mount goes with auth=approle and auth=kubernetes")
	case l.mount == "":
		l.mount = m.mount
	case !segments(l.mount):
		p.fault("mount is not valid; write it as vault auth list does")
	}
	switch l.method {
	case "token":
		l.file, l.variable = query.Get("token-file"), "VAULT_TOKEN"
	case "approle":
		l.file, l.variable = query.Get("secret-id-file"), "VAULT_SECRET_ID"
		if l.role = query.Get("role-id"); l.role == "" {
			l.role = p.env("VAULT_ROLE_ID")
		}
		if l.role == "" {
			p.fault("auth=approle needs role-id, or VAULT_ROLE_ID in the environment")
		}
	case "kubernetes":
		l.file = query.Get("jwt-file")
		if l.file == "" {
			l.file = serviceAccount
		}
		if l.role = query.Get("role"); l.role == "" {
			p.fault("auth=kubernetes needs role, the one that the service account is bound to")
		}
	}
	if l.file == "" && p.env(l.variable) == "" {
		p.fault("auth=%s needs %s, or %s in the environment", l.method, m.parameter, l.variable)
	}
	return l
}

// segments tells whether a path can be sent as it is: names that are not empty, that
// lead nowhere else, and that have no character which someone on the way might read
// as the end of the path.
func segments(path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || strings.ContainsFunc(name, unprintable) || strings.ContainsAny(name, `\%?#`) {
			return false
		}
	}
	return true
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }

// cause returns why a file cannot be read, without the name of the file.
func cause(err error) error {
	if e := new(os.PathError); errors.As(err, &e) {
		return e.Err
	}
	return err
}
