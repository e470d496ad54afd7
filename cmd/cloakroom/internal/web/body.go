package web

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxBody bounds a request's body in bytes. The longest honest one is a login
// with a password of 1,024 bytes, each written as %XX.
const maxBody = 64 << 10

// What is wrong with a body, as programs read it.
const (
	detailUnread   = "Request body could not be read"
	detailTooLarge = "Request body is over 64 KiB"
	detailFormat   = "Content type must be application/json or application/x-www-form-urlencoded"
)

// secrets are fields that belong into a body and never into a URL, where logs
// and histories keep them (ASVS 14.2.1). The setup link's token arrives by GET,
// and leaves in a body.
var secrets = []string{"username", "password", "current", "new", "token", "csrf_token"}

// malformed is what is wrong with a body: it is told as it stands, so it repeats
// nothing of the body but names of ours.
type malformed string

func (e malformed) Error() string { return string(e) }

const (
	errUTF8   = malformed("Request body or query is not UTF-8")
	errQuery  = malformed("Query is malformed")
	errForm   = malformed("Request body is not a form: send JSON as application/json")
	errObject = malformed("Request body is not one JSON object")
	errTwice  = malformed("A field is there twice")
	errInURL  = malformed("User name, password and tokens belong into the body, not into the URL")
)

// notText is a field that is something else than a string.
func notText(name string) error { return malformed("Field " + name + " must be a string") }

// fields are the texts of a body, each name once.
type fields map[string]string

type bodyKey struct{}

// field returns a field of the request's body, "" if it is not there.
func field(r *http.Request, name string) string {
	f, _ := r.Context().Value(bodyKey{}).(fields)
	return f[name]
}

// body reads the whole body before anything else looks at the request: a form or
// JSON, of a bounded size, each name once, all of it UTF-8 (ASVS 15.3.5, 15.3.7).
// A request without a body needs no content type.
func (s *Site) body(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		isJSON, known := contentType(r)
		if isJSON {
			r = inJSON(r)
		}
		// Closing tells a client that goes on sending that nobody listens.
		if r.ContentLength > maxBody {
			w.Header().Set("Connection", "close")
			s.fail(w, r, http.StatusRequestEntityTooLarge, detailTooLarge)
			return
		}
		raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		switch {
		case err != nil:
			s.fail(w, r, http.StatusBadRequest, detailUnread)
			return
		case len(raw) > maxBody:
			w.Header().Set("Connection", "close")
			s.fail(w, r, http.StatusRequestEntityTooLarge, detailTooLarge)
			return
		case !known && (len(raw) > 0 || r.Header.Get("Content-Type") != ""):
			w.Header().Set("Accept-Post", "application/json, application/x-www-form-urlencoded")
			s.fail(w, r, http.StatusUnsupportedMediaType, detailFormat)
			return
		}
		f, err := parse(raw, isJSON, r.URL.RawQuery)
		if err != nil {
			s.fail(w, r, http.StatusBadRequest, err.Error())
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), bodyKey{}, f))
		r.Body = http.NoBody
		// For whoever looks for a form's field: it has been read already.
		r.PostForm = make(url.Values, len(f))
		for name, value := range f {
			r.PostForm.Set(name, value)
		}
		r.Form = r.PostForm
		next.ServeHTTP(w, r)
	})
}

// contentType tells whether the body is JSON, and whether it is that or a form.
// Parameters do not matter but for a charset, which must be UTF-8.
func contentType(r *http.Request) (isJSON, known bool) {
	values := r.Header.Values("Content-Type")
	if len(values) != 1 {
		return false, false
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		return false, false
	}
	if c, ok := params["charset"]; ok && !strings.EqualFold(c, "utf-8") {
		return false, false
	}
	return media == "application/json", media == "application/json" || media == "application/x-www-form-urlencoded"
}

// inJSON returns the request of a client that reads JSON. Who speaks JSON is
// answered in it.
func inJSON(r *http.Request) *http.Request {
	r2 := *r
	r2.Header = r.Header.Clone()
	r2.Header.Set("Accept", "application/json")
	return &r2
}

// parse reads a body. What belongs into it must not stand in the query, and a
// name that stands in both is twice.
func parse(raw []byte, isJSON bool, rawQuery string) (fields, error) {
	if !utf8.Valid(raw) {
		return nil, errUTF8
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, errQuery
	}
	read := parseForm
	if isJSON {
		read = parseJSON
	}
	f, err := read(raw)
	if err != nil {
		return nil, err
	}
	for name, values := range query {
		if slices.Contains(secrets, name) {
			return nil, errInURL
		}
		if _, twice := f[name]; twice || len(values) > 1 {
			return nil, errTwice
		}
		if name == "next" && utf8.ValidString(values[0]) {
			f[name] = values[0]
		}
	}
	return f, nil
}

// parseForm reads a form. A brace at its beginning is JSON under a wrong name:
// a form would have written it as %7B.
func parseForm(raw []byte) (fields, error) {
	if len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') {
		return nil, errForm
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, errForm
	}
	f := make(fields, len(form))
	for name, values := range form {
		if len(values) > 1 {
			return nil, errTwice
		}
		if !utf8.ValidString(name) || !utf8.ValidString(values[0]) {
			return nil, errUTF8
		}
		f[name] = values[0]
	}
	return f, nil
}

// parseJSON reads one object whose known members are strings. encoding/json by
// itself takes the last of two equal names, any case of a name, what stands
// behind the object, and puts U+FFFD where a character is broken: each of them
// lets two readers of one body see different things.
func parseJSON(raw []byte) (fields, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errObject
	}
	f, seen := make(fields), make(map[string]bool)
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errObject
		}
		if seen[name] {
			return nil, errTwice
		}
		seen[name] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errObject
		}
		var s string
		if value[0] == '"' && whole(value) && json.Unmarshal(value, &s) == nil {
			f[name] = s
		} else if name == "next" || slices.Contains(secrets, name) {
			return nil, notText(name)
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, errObject
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errObject
	}
	return f, nil
}

// whole tells whether a JSON string, known to be valid UTF-8, has no half of a
// surrogate pair among its escapes.
func whole(s []byte) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		i++ // the escaped character
		if i >= len(s) || s[i] != 'u' {
			continue
		}
		switch c := escaped(s, i+1); {
		case 0xDC00 <= c && c <= 0xDFFF:
			return false
		case 0xD800 <= c && c <= 0xDBFF:
			i += 5
			if i+1 >= len(s) || s[i] != '\\' || s[i+1] != 'u' {
				return false
			}
			if low := escaped(s, i+2); low < 0xDC00 || low > 0xDFFF {
				return false
			}
			i++
		}
		i += 4
	}
	return true
}

// escaped returns the value of four hex digits at i, 0 if there are none.
func escaped(s []byte, i int) uint64 {
	if i+4 > len(s) {
		return 0
	}
	n, _ := strconv.ParseUint(string(s[i:i+4]), 16, 16)
	return n
}
