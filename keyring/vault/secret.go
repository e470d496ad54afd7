package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// errForm stands for what cannot be an answer of Vault. What is wrong with it is not
// told: that would quote it.
var errForm = errors.New("the answer is not Vault's; see the address, and what stands in between")

// secret is a version of a secret.
type secret struct {
	version int64
	// fields are as they were sent: those that are not ours go back unread.
	fields map[string]json.RawMessage
}

// errDenied is wrapped by the error of a request that the token does not allow.
var errDenied = errors.New("permission denied")

// authorized runs f with a token, and once more with a new one if the server denies
// the one in hand: it may have been revoked.
func (s *Source) authorized(ctx context.Context, f func(context.Context) error) (err error) {
	fresh, late, err := s.ready(ctx)
	if err != nil {
		return err
	}
	if t := s.token; late != nil {
		defer func() { s.overdue(ctx, t, late, err) }()
	}
	if err = f(ctx); !errors.Is(err, errDenied) {
		return err
	}
	if !fresh {
		other, loginErr := s.again(ctx)
		if loginErr != nil {
			return loginErr
		}
		if !other {
			return err
		}
		if err = f(ctx); !errors.Is(err, errDenied) {
			return err
		}
	}
	s.denied = s.now()
	return err
}

func (s *Source) path() string { return s.place.mount + "/data/" + s.place.path }

// get reads the newest version.
func (s *Source) get(ctx context.Context) (*secret, error) {
	a, err := s.link.call(ctx, s.token.text, s.path(), nil)
	if err != nil {
		return nil, err
	}
	if a.status == 401 || a.status == 403 {
		return nil, s.deny(a.status, `"read"`)
	}
	if a.status == 404 && a.says("no handler for route") {
		return nil, errors.New("nothing is mounted there (404); see vault secrets list, and the namespace")
	}
	if a.status >= 400 && a.status != 404 {
		return nil, fmt.Errorf("the server refuses the request (%d); see the address and its log", a.status)
	}
	return s.parse(a)
}

// parse reads an answer of 200 or 404; a version that was deleted comes with 404, and
// with its metadata.
func (s *Source) parse(a *answer) (*secret, error) {
	var said struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(a.body, &said); err != nil {
		return nil, errForm
	}
	var meta *struct {
		Version   int64 `json:"version"`
		Destroyed bool  `json:"destroyed"`
	}
	found, hasData := said.Data["data"]
	isV2 := hasData && json.Unmarshal(said.Data["metadata"], &meta) == nil && meta != nil && meta.Version > 0
	switch {
	case a.status == 404 && !isV2:
		return nil, errors.New("there is no such secret (404), or no KV version 2 engine; see vault kv get -mount=MOUNT PATH, and the namespace")
	case said.Data == nil:
		return nil, errForm
	case !isV2:
		return nil, errors.New("the engine is not KV version 2; run vault kv enable-versioning MOUNT, or use one that is")
	case meta.Destroyed:
		return nil, errors.New("the newest version of the secret is destroyed; write the keys anew, or bring back a version with vault kv rollback")
	}
	sec := &secret{version: meta.Version}
	if json.Unmarshal(found, &sec.fields) != nil {
		return nil, errForm
	}
	if sec.fields == nil {
		return nil, errors.New("the newest version of the secret is deleted; run vault kv undelete, or write the keys anew")
	}
	return sec, nil
}

// text returns a field.
func (sec *secret) text(field string) ([]byte, error) {
	raw, ok := sec.fields[field]
	if !ok {
		return nil, fmt.Errorf("the secret has no field %q; put the keys there, or name the field behind the #", field)
	}
	var text *string
	if json.Unmarshal(raw, &text) != nil || text == nil {
		return nil, fmt.Errorf("field %q is not text; write the key lines as one string", field)
	}
	if len(bytes.TrimSpace([]byte(*text))) == 0 {
		return nil, fmt.Errorf("field %q is empty; put in what cloakroom key new prints", field)
	}
	return []byte(*text), nil
}

// put writes a new version with another text of our field, if found is still the
// newest.
func (s *Source) put(ctx context.Context, found *secret, text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("the keys are not UTF-8")
	}
	value, _ := json.Marshal(string(text))
	fields := maps.Clone(found.fields)
	fields[s.place.field] = value
	payload, err := json.Marshal(map[string]any{
		"options": map[string]int64{"cas": found.version},
		"data":    fields,
	})
	if err != nil {
		return errors.New("the secret cannot be written as JSON")
	}
	a, err := s.link.call(ctx, s.token.text, s.path(), payload)
	switch {
	case err != nil:
		if f := new(fault); errors.As(err, &f) && (f.unsent || f.status >= 300 && f.status < 500) {
			return err
		}
		// It may have been written nevertheless.
		if s.ours(ctx, found.version+1, text) {
			return nil
		}
		return fmt.Errorf("%w; whether it was written is not known; look before trying again", err)
	case a.status < 300:
		return nil
	case a.status == 400 && a.says("check-and-set parameter did not match"):
		return keyring.ErrChanged
	case a.status == 401 || a.status == 403:
		return s.deny(a.status, `"read", "update"`)
	}
	return fmt.Errorf("the server refuses the write (%d); see its log", a.status)
}

// ours tells whether the newest version is the one that we sent. Keys are random: no
// other has the same bytes.
func (s *Source) ours(ctx context.Context, version int64, text []byte) bool {
	sec, err := s.get(ctx)
	if err != nil || sec.version != version {
		return false
	}
	now, err := sec.text(s.place.field)
	return err == nil && same(string(now), string(text))
}

// deny says what is missing.
func (s *Source) deny(status int, capabilities string) error {
	err := fmt.Errorf("%w (%d); the policy needs path %q { capabilities = [%s] }", errDenied, status, s.path(), capabilities)
	if s.place.login.method == "token" {
		return fmt.Errorf("%w, or the token has expired; put in a new one", err)
	}
	return err
}
