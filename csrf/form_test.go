package csrf_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/csrf"
)

// reader makes a program whose handler does with the body what it likes. It
// returns the handler and a session's cookie and token.
func reader(t testing.TB, po *csrf.Options, read func(w http.ResponseWriter, r *http.Request)) (h http.Handler, cookie, token string) {
	t.Helper()
	a := newApp(t, nil, po)
	login := serveOnce(a.handler, "POST", "/login", "{}", "Content-Type", "application/json")
	return a.manager.Handler(a.protect.Handler(http.HandlerFunc(read))), cookieOf(login), login.body
}

// multi writes a multipart form; parts come as name and value in turns, a file's
// name as "name=file".
func multi(t testing.TB, parts ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		name, file, isFile := strings.Cut(parts[i], "=")
		var part io.Writer
		var err error
		if isFile {
			part, err = w.CreateFormFile(name, file)
		} else {
			part, err = w.CreateFormField(name)
		}
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(part, parts[i+1])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

const urlForm = "application/x-www-form-urlencoded"

// The handler finds the body as it came, however it reads it.
func TestTheHandlerStillReadsTheBody(t *testing.T) {
	var got string
	h, cookie, token := reader(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/raw":
			text, err := io.ReadAll(r.Body)
			got = fmt.Sprint(string(text), err)
		case "/form":
			err := r.ParseForm()
			got = fmt.Sprint(r.PostForm["a"], r.PostForm["csrf_token"][0] == r.PostFormValue("csrf_token"), err)
		case "/multipart":
			err := r.ParseMultipartForm(1 << 10)
			if err == nil {
				defer r.MultipartForm.RemoveAll()
				f, _, ferr := r.FormFile("f")
				if ferr != nil {
					t.Error(ferr)
					return
				}
				text, _ := io.ReadAll(f)
				got = fmt.Sprint(r.PostFormValue("a"), len(text))
			}
		case "/stream":
			mr, err := r.MultipartReader()
			if err != nil {
				t.Error(err)
				return
			}
			got = ""
			for {
				p, err := mr.NextPart()
				if err != nil {
					break
				}
				n, _ := io.Copy(io.Discard, p)
				got += fmt.Sprint(p.FormName(), n, " ")
			}
		}
		if err := r.Body.Close(); err != nil {
			t.Error(err)
		}
	})
	form := encode("csrf_token", token, "a", "x&=ü")
	big := strings.Repeat("0123456789", 300_000) // far more than is searched
	multiForm, multiType := multi(t, "csrf_token", token, "a", "x", "f=big.bin", big)
	for _, c := range []struct{ path, media, body, want string }{
		{"/raw", urlForm, form, form + "<nil>"},
		{"/raw", urlForm, form + "&b=" + big, form + "&b=" + big + "<nil>"},
		{"/raw", multiType, multiForm, multiForm + "<nil>"},
		{"/form", urlForm, form, "[x&=ü] true <nil>"},
		{"/form", urlForm, form + "&b=" + big, "[x&=ü] true <nil>"},
		{"/multipart", multiType, multiForm, "x3000000"},
		{"/stream", multiType, multiForm, "csrf_token92 a1 f3000000 "},
	} {
		got = ""
		if v := serveOnce(h, "POST", c.path, c.body, "Content-Type", c.media, "Cookie", cookie); v.verdict() != "200 ok" {
			t.Errorf("%s of %s: %s", c.path, c.media, v.verdict())
		}
		if got != c.want {
			t.Errorf("%s of %s: %.80q, want %.80q", c.path, c.media, got, c.want)
		}
	}
	// With the token in the header the body is the handler's as well.
	if serveOnce(h, "POST", "/raw", "a=b", "Content-Type", urlForm, "Cookie", cookie, "X-CSRF-Token", token); got != "a=b<nil>" {
		t.Errorf("%q", got)
	}
	if serveOnce(h, "POST", "/raw", "not read", "Content-Type", "text/plain", "Cookie", cookie, "X-CSRF-Token", token); got != "not read<nil>" {
		t.Errorf("%q", got)
	}
}

// Where a request has several tokens, all have to be right.
func TestASVS_3_5_1_DifferingTokensAreRefused(t *testing.T) {
	h, cookie, token := reader(t, nil, func(http.ResponseWriter, *http.Request) {})
	_, _, wrong := reader(t, nil, nil)
	for _, c := range []struct {
		header, field []string
		ok            bool
	}{
		{[]string{token}, nil, true},
		{nil, []string{token}, true},
		{[]string{token}, []string{token}, true},
		{nil, []string{token, token}, true},
		{[]string{token}, []string{wrong}, false},
		{[]string{wrong}, []string{token}, false},
		{nil, []string{token, wrong}, false},
		{nil, []string{wrong, token}, false},
		{[]string{token, wrong}, nil, false},
		{[]string{wrong, token}, nil, false},
		{[]string{token}, []string{""}, false},
		{[]string{""}, []string{token}, false},
		{nil, []string{token, ""}, false},
		{[]string{token + "," + token}, nil, false},
		{nil, []string{token, token, token, token}, true},
		{nil, []string{token, token, token, token, token}, false},
		{[]string{token, token, token, token, token}, nil, false},
	} {
		var pairs []string
		for _, f := range c.field {
			pairs = append(pairs, "csrf_token", f)
		}
		multiBody, multiType := multi(t, pairs...)
		for media, body := range map[string]string{urlForm: encode(pairs...), multiType: multiBody} {
			header := []string{"Content-Type", media, "Cookie", cookie}
			for _, v := range c.header {
				header = append(header, "X-CSRF-Token", v)
			}
			if v := serveOnce(h, "POST", "/", body, header...).verdict(); (v == "200 ok") != c.ok {
				t.Errorf("%.30s, %d in the header, %d in the form: %s, want ok: %t", media, len(c.header), len(c.field), v, c.ok)
			}
		}
	}
}

// Only the fields of a form count, within the first MaxForm bytes.
func TestWhereAFieldIsFound(t *testing.T) {
	h, cookie, token := reader(t, &csrf.Options{MaxForm: 1024}, func(http.ResponseWriter, *http.Request) {})
	fill := func(n int) string { return strings.Repeat("a", n) }
	pair := "csrf_token=" + token // 103 bytes
	part := func(parts ...string) (string, string) { return multi(t, parts...) }
	type request struct {
		media, body string
		ok          bool
	}
	requests := map[string]request{
		"first":                      {urlForm, pair + "&b=" + fill(5000), true},
		"charset":                    {urlForm + "; charset=utf-8", pair, true},
		"capitals":                   {"Application/X-WWW-Form-URLEncoded", pair, true},
		"escaped name":               {urlForm, "%63srf_token=" + token, true},
		"escaped value":              {urlForm, "csrf_token=%" + fmt.Sprintf("%02x", token[0]) + token[1:], true},
		"fills the search":           {urlForm, "b=" + fill(1024-len(pair)-3) + "&" + pair, true},
		"a byte too far":             {urlForm, "b=" + fill(1024-len(pair)-2) + "&" + pair, false},
		"a byte too far, then more":  {urlForm, "b=" + fill(1024-len(pair)-2) + "&" + pair + "&c=d", false},
		"ends there, then more":      {urlForm, "b=" + fill(1024-len(pair)-4) + "&" + pair + "&c=d", true},
		"right up to the bound":      {urlForm, "b=" + fill(1024-len(pair)-3) + "&" + pair + "wrong", false},
		"one long value":             {urlForm, fill(2000), false},
		"name in capitals":           {urlForm, "CSRF_TOKEN=" + token, false},
		"broken escape":              {urlForm, pair + "%zz", false},
		"space":                      {urlForm, pair + "+", false},
		"semicolon":                  {urlForm, "a=b;" + pair, false},
		"no media type":              {"", pair, false},
		"malformed media type":       {urlForm + "; charset=\"", pair, false},
		"plain text":                 {"text/plain", pair, false},
		"JSON":                       {"application/json", `{"csrf_token":"` + token + `"}`, false},
		"multipart without boundary": {"multipart/form-data", pair, false},
		"multipart of other kind":    {"multipart/mixed; boundary=x", "--x\r\nContent-Disposition: form-data; name=csrf_token\r\n\r\n" + token + "\r\n--x--", false},
		"multipart cut":              {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=csrf_token\r\n\r\n" + token, false},
		"multipart with garbage":     {"multipart/form-data; boundary=x", "garbage" + token, false},
	}
	for name, parts := range map[string][]string{
		"multipart first":    {"csrf_token", token, "f=a.txt", fill(5000)},
		"multipart too late": {"f=a.txt", fill(5000), "csrf_token", token},
		"multipart as file":  {"csrf_token=a.txt", token},
		"multipart too long": {"csrf_token", token + "x"},
		"multipart empty":    {"csrf_token", ""},
	} {
		body, media := part(parts...)
		requests[name] = request{media, body, name == "multipart first"}
	}
	for name, c := range requests {
		if v := serveOnce(h, "POST", "/", c.body, "Content-Type", c.media, "Cookie", cookie).verdict(); (v == "200 ok") != c.ok {
			t.Errorf("%s: %s, want ok: %t", name, v, c.ok)
		}
	}
	// A method whose body net/http does not parse carries a form all the same.
	for _, method := range []string{"DELETE", "post", "PATCH"} {
		if v := serveOnce(h, method, "/", pair, "Content-Type", urlForm, "Cookie", cookie).verdict(); v != "200 ok" {
			t.Errorf("%s: %s", method, v)
		}
	}
}

// counting counts the bytes that are read of a body.
type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func (c *counting) Close() error { return nil }

// No more of a body is read than is searched, and nothing where the refusal is
// certain without it.
func TestABodyIsReadWithinBounds(t *testing.T) {
	h, cookie, token := reader(t, &csrf.Options{MaxForm: 4096}, func(http.ResponseWriter, *http.Request) {})
	for _, c := range []struct {
		name   string
		header []string
		most   int
	}{
		{"form without a token", []string{"Cookie", cookie}, 4097},
		{"no session and no cookie", nil, 0},
		{"another site", []string{"Cookie", cookie, "Sec-Fetch-Site", "cross-site"}, 0},
		{"wrong header", []string{"Cookie", cookie, "X-CSRF-Token", token + "x"}, 0},
	} {
		body := &counting{Reader: strings.NewReader(strings.Repeat("a=b&", 1<<18))}
		r := httptest.NewRequest("POST", "/", nil)
		r.Body = body
		r.Header.Set("Content-Type", urlForm)
		for i := 0; i < len(c.header); i += 2 {
			r.Header.Set(c.header[i], c.header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 403 || body.n > c.most {
			t.Errorf("%s: %d, %d bytes read, at most %d", c.name, w.Code, body.n, c.most)
		}
	}
}

// What somebody outside has parsed is not parsed again.
func TestAFormThatWasParsedBefore(t *testing.T) {
	inner, cookie, token := reader(t, nil, func(http.ResponseWriter, *http.Request) {})
	multiBody, multiType := multi(t, "csrf_token", token)
	wrongBody, wrongType := multi(t, "a", "b")
	for name, parse := range map[string]func(*http.Request) error{
		"ParseForm":          (*http.Request).ParseForm,
		"ParseMultipartForm": func(r *http.Request) error { return r.ParseMultipartForm(1 << 20) },
		"MultipartReader":    func(r *http.Request) error { _, err := r.MultipartReader(); return err },
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = parse(r)
			inner.ServeHTTP(w, r)
		})
		for _, c := range []struct{ media, body, want string }{
			{urlForm, encode("csrf_token", token), "200 ok"},
			{urlForm, encode("a", "b"), "403 token"},
			{multiType, multiBody, "200 ok"},
			{wrongType, wrongBody, "403 token"},
		} {
			want := c.want
			if name == "MultipartReader" && c.media == multiType {
				want = "403 token" // the body is somebody else's now
			}
			// The query is in r.Form then, and does not count.
			if v := serveOnce(h, "POST", "/?csrf_token="+token, c.body, "Content-Type", c.media, "Cookie", cookie).verdict(); v != want {
				t.Errorf("%s of %.20s: %s, want %s", name, c.media, v, want)
			}
		}
	}
}

// broken is a body that fails.
type broken struct{ err error }

func (b *broken) Read(p []byte) (n int, err error) {
	err, b.err = b.err, io.EOF // it does not say so twice
	return 0, err
}

func (b *broken) Close() error { return nil }

// A body that could not be read whole must not look to the handler as if it had
// been.
func TestTheHandlerLearnsThatTheBodyFailed(t *testing.T) {
	gone := errors.New("gone")
	var got error
	h, cookie, token := reader(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		_, got = io.ReadAll(r.Body)
	})
	r := httptest.NewRequest("POST", "/", nil)
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader("a=b"), &broken{gone}), io.NopCloser(nil)}
	for name, value := range map[string]string{"Content-Type": urlForm, "Cookie": cookie, "X-CSRF-Token": token} {
		r.Header.Set(name, value)
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
	if !errors.Is(got, gone) {
		t.Errorf("the handler read: %v", got)
	}
}

// The handler's writer can do what the one below can.
func TestTheWriterPassesOn(t *testing.T) {
	a := newApp(t, &cloakroom.Options{}, nil)
	a.handler = a.manager.Handler(a.protect.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hints":
			w.WriteHeader(http.StatusEarlyHints)
			csrf.Token(r.Context()) // the header has not left
		case "/flush":
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		case "/copy":
			if _, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("copied")); err != nil {
				t.Error(err)
			}
		case "/hijack":
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if csrf.Token(r.Context()) != "" {
				t.Error("a token after a hijack, whose cookie goes nowhere")
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhijacked")
		case "/deadline":
			if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
				t.Error(err) // found through Unwrap
			}
		}
	})))
	s := a.serve(t, true)
	for path, want := range map[string]string{"/hints": "", "/flush": "a", "/copy": "copied", "/hijack": "hijacked", "/deadline": ""} {
		b := visit(t, s)
		if got := b.get(path); got.status != 200 || got.body != want {
			t.Errorf("%s: %d %q", path, got.status, got.body)
		}
		if path == "/hints" && b.cookie("__Host-csrf") == "" {
			t.Error("no cookie after early hints")
		}
	}
}
