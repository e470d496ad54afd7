package web_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
)

func TestBodies(t *testing.T) {
	for _, tc := range []struct {
		body   string
		isJSON bool
		query  string
		want   map[string]string // nil: refused
	}{
		{`{"username":"ada","password":"x"}`, true, "", map[string]string{"username": "ada", "password": "x"}},
		{" {\n\"username\" : \"a\\u00e9\\uD83D\\uDE00\\\\u\" }\n ", true, "", map[string]string{"username": "aé😀\\u"}},
		{`{}`, true, "", map[string]string{}},
		{`{"other":{"username":"x"},"n":1,"username":"ada"}`, true, "", map[string]string{"username": "ada"}},
		{`{"username":"\ud83d"}`, true, "", nil},
		{`{"username":"\ude00"}`, true, "", nil},
		{`{"username":"\ud83d\u0041"}`, true, "", nil},
		{`{"username":"\ud83dx"}`, true, "", nil},
		{`{"other":"\ud83d"}`, true, "", map[string]string{}},
		{`{"username":"a"}]`, true, "", nil},
		{`{"username":"a",}`, true, "", nil},
		{`{"username":"a"}{"username":"b"}`, true, "", nil},
		{`{"x":1,"x":2}`, true, "", nil},
		{`null`, true, "", nil},
		{``, true, "", nil},
		{`username=ada&password=%C3%A9+x`, false, "", map[string]string{"username": "ada", "password": "é x"}},
		{``, false, "", map[string]string{}},
		{`next=/a`, false, "next=/b", nil},
		{``, false, "next=/b", map[string]string{"next": "/b"}},
		{``, false, "next=/b&next=/c", nil},
		{``, false, "next=%ff", map[string]string{}},
		{`username=a`, false, "username=b", nil},
		{``, false, "password=b", nil},
		{``, false, "utm=1", map[string]string{}},
		{`username=a;password=b`, false, "", nil},
		{`username=a&username=a`, false, "", nil},
		{`[1]`, false, "", nil},
		{"username=a\xff", false, "", nil},
	} {
		got, err := web.Parse([]byte(tc.body), tc.isJSON, tc.query)
		if (err == nil) != (tc.want != nil) || len(got) != len(tc.want) {
			t.Errorf("%q, %q: %q, %v; want %q", tc.body, tc.query, got, err, tc.want)
		}
		for name, want := range tc.want {
			if got[name] != want {
				t.Errorf("%q: %s is %q, want %q", tc.body, name, got[name], want)
			}
		}
	}
}

// Whatever is read from a body, every other reader of it reads the same.
func FuzzLoginBody(f *testing.F) {
	for _, s := range []string{
		`{"username":"ada","password":"correct horse"}`, `{"username":"a","username":"b"}`, `{"username":["a"]}`,
		`{"username":"\ud83d\ude00","password":"\ud83d"}`, `{"\u0075sername":"a","username":"b"}`, `{"USERNAME":"a"}`,
		`{"username":"a"} x`, `[]`, `null`, "{\"username\":\"\xff\"}", `{"a":{"a":{"a":[1e999]}}}`, `{"username":"\\ud800"}`,
	} {
		f.Add([]byte(s), true)
	}
	for _, s := range []string{
		"username=ada&password=x", "username=a&username=b", "username=%ff", "username=%zz", "a;b", "=", "&&", "username", "{\"a\":1}", "username=a%00b",
	} {
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, isJSON bool) {
		got, err := web.Parse(raw, isJSON, "")
		if err != nil {
			return
		}
		if !utf8.Valid(raw) {
			t.Fatalf("took what is no UTF-8: %q", raw)
		}
		if !isJSON {
			form, err := url.ParseQuery(string(raw))
			if err != nil || len(form) != len(got) {
				t.Fatalf("%q: %q, but as a form %q, %v", raw, got, form, err)
			}
			for name, values := range form {
				if len(values) != 1 || values[0] != got[name] || !utf8.ValidString(values[0]) {
					t.Fatalf("%q: %s is %q, but as a form %q", raw, name, got[name], values)
				}
			}
			return
		}
		var object map[string]any
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber() // 1e999 is JSON, and no float64
		if err := dec.Decode(&object); err != nil || object == nil {
			t.Fatalf("took what is no object: %q: %v", raw, err)
		}
		for name, value := range got {
			if object[name] != value {
				t.Fatalf("%q: %s is %q, but %v to others", raw, name, value, object[name])
			}
		}
		for _, name := range []string{"username", "password", "token", "csrf_token", "next"} {
			if value, ok := object[name]; ok && got[name] != value {
				t.Fatalf("%q: %s is %q, but %v to others", raw, name, got[name], value)
			}
			if strings.ContainsRune(got[name], utf8.RuneError) && !strings.ContainsRune(string(raw), utf8.RuneError) && !strings.Contains(strings.ToLower(string(raw)), `\ufffd`) {
				t.Fatalf("%q: a character was put in the place of a broken one in %s", raw, name)
			}
		}
	})
}
