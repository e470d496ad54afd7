package csrf_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/csrf"
)

// null is a response that is thrown away.
type null struct{ h http.Header }

func (n *null) Header() http.Header         { return n.h }
func (n *null) Write(p []byte) (int, error) { return len(p), nil }
func (n *null) WriteHeader(int)             {}

func BenchmarkHandler(b *testing.B) {
	h, cookie, token := reader(b, nil, func(http.ResponseWriter, *http.Request) {})
	page, _, _ := reader(b, nil, func(_ http.ResponseWriter, r *http.Request) { csrf.Token(r.Context()) })
	form := encode("csrf_token", token, "a", "b")
	for _, c := range []struct {
		name, method string
		h            http.Handler
		header       http.Header
		body         string
	}{
		{"GET", "GET", h, http.Header{}, ""},
		{"GETWithToken", "GET", page, http.Header{}, ""},
		{"POSTHeader", "POST", h, http.Header{"Cookie": {cookie}, "X-Csrf-Token": {token}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {"http://example.com"}}, ""},
		{"POSTForm", "POST", h, http.Header{"Cookie": {cookie}, "Content-Type": {urlForm}}, form},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			whole := httptest.NewRequest(c.method, "/", nil)
			whole.Header = c.header
			for b.Loop() {
				r := *whole
				r.Body = io.NopCloser(strings.NewReader(c.body))
				c.h.ServeHTTP(&null{http.Header{}}, &r)
			}
		})
	}
}
