package gcpsecrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

const (
	// attempts of a call that may be repeated.
	attempts = 3

	// maxProbes bounds how far the alias latest is believed to lag behind.
	maxProbes = 16
)

// backoff is the wait after the first attempt, which doubles; of tests, a shorter one.
var backoff = 200 * time.Millisecond

// A call is one Read or Write: what they ask for under one context with one token.
type call struct {
	s      *Source
	ctx    context.Context
	end    context.CancelFunc
	watch  *remote.Watch
	bearer *string
}

// begin gets a token, which is nearly always the one of the last call.
func (s *Source) begin(ctx context.Context) (*call, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	ctx, watch := remote.WithWatch(ctx)
	c := &call{s: s, ctx: ctx, end: cancel, watch: watch}
	var err error
	if c.bearer, err = s.token(ctx, watch); err != nil {
		cancel()
		return nil, err
	}
	return c, nil
}

// A version of the secret.
type version struct {
	number int64
	data   []byte
}

// field returns the keys of a version.
func (c *call) field(v version) ([]byte, error) {
	text, err := remote.Field(v.data, c.s.place.Field)
	if err != nil {
		return nil, c.s.errorf("%w", err)
	}
	return text, nil
}

// get reads a version, by number or alias. What was added or seen once is not
// followed by anything older: as Google documents, the alias latest may lag behind for
// minutes, and a number does not.
func (c *call) get(id string) (version, error) {
	v, err := c.access(id)
	if err != nil || id != latest {
		return v, err
	}
	seen := c.s.seen(v.number)
	if seen <= v.number {
		return v, nil
	}
	newer, err := c.access(strconv.FormatInt(seen, 10))
	var r *refusal
	if errors.As(err, &r) && r.gone {
		// It was disabled or destroyed, or the secret was made anew.
		// What is read instead is not to be followed by anything older either.
		c.s.newest.CompareAndSwap(seen, v.number)
		return v, nil
	}
	// No other failure is a reason to go back to keys that may have leaked.
	return newer, err
}

// newest reads the version that was added last, be the alias latest there or not.
func (c *call) newest() (version, error) {
	v, err := c.get(latest)
	if err != nil {
		return v, err
	}
	for range maxProbes {
		next, exists, err := c.look(v.number + 1)
		if err != nil || !exists {
			return v, err
		}
		v = next
	}
	return v, c.s.errorf("more than %d versions are newer than the latest; see who adds them", maxProbes)
}

// look reads a version that may not be there.
func (c *call) look(number int64) (v version, exists bool, err error) {
	v, err = c.access(strconv.FormatInt(number, 10))
	var r *refusal
	if errors.As(err, &r) && r.gone && r.status == http.StatusNotFound {
		return v, false, nil
	}
	return v, err == nil, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// access calls versions.access.
func (c *call) access(id string) (version, error) {
	body, err := c.do(http.MethodGet, "/versions/"+id+":access", "secretmanager.versions.access", nil)
	if err != nil {
		return version{}, err
	}
	var answer struct {
		Name    string
		Payload struct {
			Data       []byte
			DataCRC32C string // an int64, which JSON of Google's has as a string
		}
	}
	if json.Unmarshal(body, &answer) != nil {
		return version{}, c.s.errorf("%w", errGarbage)
	}
	number, ok := c.number(answer.Name)
	sum, err := strconv.ParseInt(answer.Payload.DataCRC32C, 10, 64)
	// An alias may stand for any number, a number for itself alone.
	asked, alias := strconv.ParseInt(id, 10, 64)
	switch {
	case !ok || alias == nil && asked != number || err != nil || len(answer.Payload.Data) > maxSecret:
		return version{}, c.s.errorf("%w", errGarbage)
	case sum != int64(crc32.Checksum(answer.Payload.Data, castagnoli)):
		return version{}, c.s.errorf("the checksum is not that of the secret: it was damaged on the way; see what is in between")
	}
	return version{number, answer.Payload.Data}, nil
}

// add calls addVersion, and returns the number of the version.
func (c *call) add(data []byte) (int64, error) {
	type payload struct {
		Data       []byte `json:"data"`
		DataCRC32C string `json:"dataCrc32c"`
	}
	sum := strconv.FormatUint(uint64(crc32.Checksum(data, castagnoli)), 10)
	in, err := json.Marshal(map[string]payload{"payload": {data, sum}})
	if err != nil {
		return 0, c.s.errorf("%w", errGarbage) // no bytes and no digits fail
	}
	body, err := c.do(http.MethodPost, ":addVersion", "secretmanager.versions.add", in)
	if err != nil {
		return 0, err
	}
	var answer struct{ Name string }
	if json.Unmarshal(body, &answer) != nil {
		return 0, c.s.errorf("%w", errGarbage)
	}
	number, ok := c.number(answer.Name)
	if !ok {
		return 0, c.s.errorf("%w", errGarbage)
	}
	c.s.seen(number)
	return number, nil
}

// number is that of a version's name, if it is one of this secret. The project may be
// called by its number there.
func (c *call) number(name string) (int64, bool) {
	_, secret, _ := strings.Cut(c.s.place.secret, "/secrets/")
	_, rest, _ := strings.Cut(name, "/secrets/")
	text, ok := strings.CutPrefix(rest, secret+"/versions/")
	n, err := strconv.ParseInt(text, 10, 64)
	return n, ok && err == nil && n > 0 && strings.HasPrefix(name, "projects/")
}

// do sends a request, and repeats what only reads where the service is not well. The
// permission is that which it needs.
func (c *call) do(method, path, permission string, in []byte) ([]byte, error) {
	wait := backoff
	for n := 1; ; n++ {
		body, err := c.once(method, path, permission, in)
		var r *refusal
		var link *remote.Failure
		again := errors.As(err, &r) && (r.status == http.StatusTooManyRequests || r.status >= 500) || errors.As(err, &link) && link.Again
		if !again || method != http.MethodGet || n == attempts {
			return body, err
		}
		select {
		case <-c.ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
		wait *= 2
	}
}

// once sends a request.
func (c *call) once(method, path, permission string, in []byte) ([]byte, error) {
	p := c.s.place
	req, err := http.NewRequestWithContext(c.ctx, method, p.endpoint+"/v1/"+p.secret+path, bytes.NewReader(in))
	if err != nil {
		return nil, c.s.errorf("the endpoint is not an address; see the parameter endpoint")
	}
	req.Header.Set("Authorization", "Bearer "+*c.bearer)
	req.Header.Set("User-Agent", "cloakroom")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.s.link.api.Do(req)
	if err != nil {
		return nil, c.linkError(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, c.linkError(err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, c.refused(resp.StatusCode, body, permission)
	}
	return body, nil
}
