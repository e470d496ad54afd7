package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// What every visitor's session holds. The handlers read theme and set visits.
const (
	visitorName  = "ada lovelace"
	visitorTheme = "dark"
)

// body is what every handler answers.
const body = visitorTheme

// An app is one program, written with one library: the same four pages.
type app struct {
	name string

	fill  http.Handler // stores the three values
	read  http.Handler // reads theme and answers it
	write http.Handler // sets visits to what next returns, and answers
	idle  http.Handler // does not look at the session
}

// A counter gives every write another value.
type counter struct{ n int }

func (c *counter) next() int { c.n++; return c.n }

// A visitor sends one request to a handler again and again.
type visitor struct {
	handler  http.Handler
	template *http.Request
	leave    context.CancelFunc
	request  http.Request
	answer   recorder
}

// newVisitor returns a visitor with this Cookie header, or without any. Their
// request has a context that can be cancelled, as a server's has.
func newVisitor(h http.Handler, method, cookie string) *visitor {
	ctx, leave := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, method, "http://bench.example/", nil)
	if err != nil {
		panic(err)
	}
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	return &visitor{handler: h, template: r, leave: leave, answer: recorder{header: http.Header{}}}
}

// visit sends the request. It is made anew each time, since some libraries keep
// what they have loaded in it.
func (v *visitor) visit() {
	v.request = *v.template
	v.answer.reset()
	v.handler.ServeHTTP(&v.answer, &v.request)
}

// check visits once and says what is wrong with the answer.
func (v *visitor) check() error {
	v.visit()
	if v.answer.status >= 400 || v.answer.written != len(body) {
		return fmt.Errorf("status %d, %d bytes, want 200 and %d", v.answer.status, v.answer.written, len(body))
	}
	return nil
}

// enter fills a session and returns the Cookie header of its visitor.
func (a app) enter() (string, error) {
	v := newVisitor(a.fill, "POST", "")
	if err := v.check(); err != nil {
		return "", fmt.Errorf("%s: %w", a.name, err)
	}
	var cookies []string
	for _, line := range v.answer.header["Set-Cookie"] {
		pair, _, _ := strings.Cut(line, ";")
		cookies = append(cookies, pair)
	}
	return strings.Join(cookies, "; "), nil
}

// A recorder takes an answer and keeps what the bench checks.
type recorder struct {
	header  http.Header
	status  int
	written int
}

func (r *recorder) reset() {
	clear(r.header)
	r.status, r.written = 0, 0
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	r.written += len(p)
	return len(p), nil
}

func (r *recorder) WriteString(s string) (int, error) {
	r.WriteHeader(http.StatusOK)
	r.written += len(s)
	return len(s), nil
}

// page is the bare handler.
func page(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
