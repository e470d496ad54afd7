package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// serviceAccount is where Kubernetes puts a pod's own JWT.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// methods are the ways to log in.
var methods = map[string]struct {
	mount     string // where the method is enabled by default
	parameter string // that names the file of its secret
	file      string // what is in it
	refused   string // what to do
}{
	"token":      {"", "token-file", "token", ""},
	"approle":    {"approle", "secret-id-file", "secret id", "role-id or secret id is wrong, expired or used up; make a new one with vault write -f auth/%s/role/ROLE/secret-id"},
	"kubernetes": {"kubernetes", "jwt-file", "JWT", "the role is not there, or not bound to this service account and namespace; see vault read auth/%s/role/ROLE"},
}

// login is how to get a token.
type login struct {
	method   string
	mount    string // of the method
	role     string // role-id or role
	file     string // of the token, secret id or JWT
	variable string // with it, where there is no file
	lookup   func(string) (string, bool)
}

// token is what a login gave. The zero times mean that it has no end.
type token struct {
	text      string
	renewable bool
	half      time.Time // from here on it is renewed
	end       time.Time
}

// maxLease bounds what the server says, which is multiplied.
const maxLease = 10 * 365 * 24 * 3600

// lease sets the times of a token that was asked for at the given time.
func (t *token) lease(asked time.Time, seconds int64, renewable bool) {
	t.renewable, t.half, t.end = renewable, time.Time{}, time.Time{}
	if seconds > 0 {
		d := time.Duration(min(seconds, maxLease)) * time.Second
		t.half, t.end = asked.Add(d/2), asked.Add(d)
	}
}

// ready sees to it that there is a token, and tells whether it is fresh. Half of its
// time is left for renewing it: a look that fails is no drama. Where the server has
// failed at a renewal, late says how.
func (s *Source) ready(ctx context.Context) (fresh bool, late, err error) {
	t, now := s.token, s.now()
	switch {
	case t == nil || !t.end.IsZero() && !now.Before(t.end):
		s.token = nil
		return true, nil, s.login(ctx)
	case t.half.IsZero() || now.Before(t.half):
		return false, nil, nil
	}
	if t.renewable {
		before := t.end
		err := s.renew(ctx, t)
		if away(err) {
			// Whether from all, the request behind this one will tell.
			return false, err, nil
		}
		if err == nil && t.extended(before, now) {
			s.renewal.Store(nil)
			return false, nil, nil
		}
	}
	// It will not live longer: a new one, while this one still serves.
	if err := s.login(ctx); err != nil {
		t.half = now.Add(t.end.Sub(now) / 2)
		if ctx.Err() == nil {
			s.warn(t, err)
		}
		return false, nil, nil
	}
	if same(s.token.text, t.text) && !s.token.end.IsZero() { // it was given
		s.warn(s.token, fmt.Errorf("the token cannot be renewed; put a new one into %s", s.place.login.from()))
	}
	return true, nil, nil
}

// away tells whether the server gave no answer, or failed at it.
func away(err error) bool {
	f := new(fault)
	return errors.As(err, &f) && (f.status == 0 || f.status >= 500)
}

// overdue warns of a renewal at which the server has failed, unless the request behind
// it met the same: that one tells by itself. A server whose disk is full reads, and
// writes no lease. In the last quarter of the token's life it warns in any case.
func (s *Source) overdue(ctx context.Context, t *token, late, err error) {
	last := t.half.Add(t.end.Sub(t.half) / 2)
	if s.token == t && !errors.Is(ctx.Err(), context.Canceled) && (!away(err) || !s.now().Before(last)) {
		s.warn(t, late)
	}
}

// extended tells whether a renewal was worth it, or the token has come to the longest
// life that the server gives it: then each renewal ends when the one before did.
func (t *token) extended(before, now time.Time) bool {
	return t.end.IsZero() || t.end.Sub(before) > t.end.Sub(now)/10
}

// warn keeps for Renewal why there is no token behind this one.
func (s *Source) warn(t *token, err error) {
	err = s.told("renew the login for", fmt.Errorf("%w; the one in hand ends at %s, and without another nothing can be read from then on", err, t.end.UTC().Format(time.RFC3339)))
	s.renewal.Store(&err)
}

// again logs in anew after the server has denied the token in hand, and tells whether
// it did. It does not where that cannot help: a token that is given is the same as
// before, or a new one was denied less than a minute ago (each is a lease that the
// server keeps, and some secret ids may be used so often and no more).
func (s *Source) again(ctx context.Context) (bool, error) {
	if s.place.login.method == "token" {
		if text, err := s.place.login.secret(ctx); err != nil || same(text, s.token.text) {
			return false, err
		}
	} else if !s.denied.IsZero() && s.now().Sub(s.denied) < time.Minute {
		return false, nil
	}
	err := s.login(ctx)
	return err == nil, err
}

// login gets a new token. Its secret is read from the file each time: files rotate.
func (s *Source) login(ctx context.Context) error {
	l := s.place.login
	secret, err := l.secret(ctx)
	if err != nil {
		return err
	}
	t, asked := &token{text: secret}, s.now()
	switch l.method {
	case "token":
		err = s.inspect(ctx, t, asked)
	case "approle":
		err = s.exchange(ctx, t, asked, map[string]string{"role_id": l.role, "secret_id": secret})
	case "kubernetes":
		err = s.exchange(ctx, t, asked, map[string]string{"role": l.role, "jwt": secret})
	}
	if err != nil {
		return fmt.Errorf("log in with auth=%s: %w", l.method, err)
	}
	s.token = t
	s.renewal.Store(nil)
	return nil
}

// secret returns the text of the token, secret id or JWT.
func (l *login) secret(ctx context.Context) (string, error) {
	var text string
	if l.file == "" {
		text, _ = l.lookup(l.variable)
		text = strings.TrimSpace(text)
	} else {
		var err error
		if text, err = readSecret(ctx, l.file); err != nil {
			return "", fmt.Errorf("%s: %w", l.from(), err)
		}
	}
	if !remote.Sendable(text) {
		return "", fmt.Errorf("%s: there is no %s in it; put in the %[2]s alone, in one line", l.from(), methods[l.method].file)
	}
	return text, nil
}

// from is where the secret is written, without its value.
func (l *login) from() string {
	if l.file == "" {
		return l.variable
	}
	return methods[l.method].parameter
}

// inspect finds how long a token that was given lives. A token that may not be asked
// for that is used as it is: whether it is any good, the read will tell.
func (s *Source) inspect(ctx context.Context, t *token, asked time.Time) error {
	a, err := s.link.call(ctx, t.text, "auth/token/lookup-self", nil)
	if err != nil {
		return err
	}
	if a.status >= 400 {
		return nil
	}
	var said struct {
		Data *struct {
			TTL       int64 `json:"ttl"`
			Renewable bool  `json:"renewable"`
		} `json:"data"`
	}
	if json.Unmarshal(a.body, &said) != nil || said.Data == nil {
		return errForm
	}
	t.lease(asked, said.Data.TTL, said.Data.Renewable)
	return nil
}

// authorization is the part of an answer that holds a token.
type authorization struct {
	Auth *struct {
		ClientToken   string          `json:"client_token"`
		LeaseDuration int64           `json:"lease_duration"`
		Renewable     bool            `json:"renewable"`
		MFA           json.RawMessage `json:"mfa_requirement"`
	} `json:"auth"`
}

// exchange gets a token for what a method takes.
func (s *Source) exchange(ctx context.Context, t *token, asked time.Time, payload map[string]string) error {
	body, err := json.Marshal(payload)
	if err != nil {
		return errors.New("the login cannot be written as JSON")
	}
	l := s.place.login
	a, err := s.link.call(ctx, "", "auth/"+l.mount+"/login", body)
	switch {
	case err != nil:
		return err
	case a.status == 404 || a.says("no handler for route"):
		return fmt.Errorf("there is no login at auth/%s (%d); run vault auth enable, or give the right ?mount=", l.mount, a.status)
	case a.status >= 400:
		return fmt.Errorf("refused (%d): "+methods[l.method].refused, a.status, l.mount)
	}
	var said authorization
	if json.Unmarshal(a.body, &said) != nil || said.Auth == nil {
		return errForm
	}
	if !remote.Sendable(said.Auth.ClientToken) {
		if len(said.Auth.MFA) > 0 && string(said.Auth.MFA) != "null" {
			return errors.New("the server wants a second factor, which a service has not; use a role without")
		}
		return errForm
	}
	t.text = said.Auth.ClientToken
	t.lease(asked, said.Auth.LeaseDuration, said.Auth.Renewable)
	return nil
}

// renew makes the token live longer.
func (s *Source) renew(ctx context.Context, t *token) error {
	asked := s.now()
	a, err := s.link.call(ctx, t.text, "auth/token/renew-self", []byte("{}"))
	if err != nil {
		return err
	}
	if a.status >= 400 {
		return &fault{text: "renewal refused", status: a.status}
	}
	var said authorization
	if json.Unmarshal(a.body, &said) != nil || said.Auth == nil {
		return errForm
	}
	t.lease(asked, said.Auth.LeaseDuration, said.Auth.Renewable)
	return nil
}
