package web

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
)

// Faults of what an administrator sends.
const (
	errUnknown = malformed("The request has a field that is not known here")
	errRoles   = malformed("Field roles must be a list of strings")
)

type rawKey struct{}

// keep remembers the body as it was sent, for adminForm.
func keep(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw := new(bytes.Buffer)
		r = r.WithContext(context.WithValue(r.Context(), rawKey{}, raw))
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, raw), r.Body}
		next.ServeHTTP(w, r)
	})
}

// adminForm reads what an administrator sends: these fields and no others. One that
// is not known is refused rather than passed over, so that whoever tries to set a
// password, an ID or a state along with a name learns that nothing was set
// (ASVS 6.4.6, 8.2.3, 15.3.3).
func adminForm(r *http.Request, known ...string) (fields, error) {
	all, _ := r.Context().Value(bodyKey{}).(fields)
	known = append(known, "csrf_token")
	if isJSON, _ := contentType(r); !isJSON {
		for name := range all {
			if !slices.Contains(known, name) {
				return nil, errUnknown
			}
		}
		return all, nil
	}
	// The body is one object with each name once: body has seen to that.
	members := make(map[string]json.RawMessage)
	if raw, ok := r.Context().Value(rawKey{}).(*bytes.Buffer); ok {
		if err := json.Unmarshal(raw.Bytes(), &members); err != nil {
			return nil, errObject
		}
	}
	f := make(fields, len(members))
	for name, value := range members {
		if !slices.Contains(known, name) {
			return nil, errUnknown
		}
		text, isText := all[name]
		switch {
		case name == "roles":
			var roles []string
			if value[0] != '[' || json.Unmarshal(value, &roles) != nil || slices.ContainsFunc(roles, blank) {
				return nil, errRoles
			}
			text = strings.Join(roles, " ")
		case !isText:
			return nil, notText(name)
		}
		f[name] = text
	}
	for name := range all { // of the query
		if _, ok := f[name]; !ok {
			return nil, errUnknown
		}
	}
	return f, nil
}

// blank tells a role that would be none, or two, in a form's field.
func blank(role string) bool { return len(strings.Fields(role)) != 1 || strings.Contains(role, ",") }

// roles returns the roles of a form: those that are typed, with blanks or commas in
// between, and that of administrators from a box of its own.
func (f fields) roles() []string {
	roles := strings.FieldsFunc(f["roles"], func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\r' || r == '\n' })
	if f["admin"] != "" {
		roles = append(roles, sqlusers.Admin)
	}
	return roles
}
