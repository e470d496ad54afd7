package promises_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// Whatever a handler writes after its session could not be saved, by whichever
// way, reaches nobody: over HTTP/2 not even as a trailer, which net/http takes
// from the header map when the handler returns.
func TestPromise07_NothingOfAFailedPageIsSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, memstore.New(nil), nil)
	leaks := map[string]func(http.ResponseWriter){
		"write":   func(w http.ResponseWriter) { w.Write([]byte("secret")) },
		"string":  func(w http.ResponseWriter) { io.WriteString(w, "secret") },
		"copy":    func(w http.ResponseWriter) { io.Copy(w, io.LimitReader(secrets{}, 1<<20)) },
		"status":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted); w.Write([]byte("secret")) },
		"early":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK); w.WriteHeader(http.StatusEarlyHints) },
		"flush":   func(w http.ResponseWriter) { http.NewResponseController(w).Flush(); w.Write([]byte("secret")) },
		"header":  func(w http.ResponseWriter) { w.WriteHeader(200); w.Header().Set("X-Secret", "secret") },
		"trailer": func(w http.ResponseWriter) { w.Write(nil); w.Header().Set(http.TrailerPrefix+"X-Secret", "secret") },
		"declared": func(w http.ResponseWriter) {
			w.Header().Set("Trailer", "X-Secret")
			w.Write(nil)
			w.Header().Set("X-Secret", "secret")
		},
		"early secret": func(w http.ResponseWriter) {
			w.Write(nil)
			w.Header().Set("X-Secret", "secret")
			w.WriteHeader(http.StatusEarlyHints)
			http.NewResponseController(w).Flush()
		},
	}
	for _, h2 := range []bool{false, true} {
		for name, leak := range leaks {
			server := httptest.NewUnstartedServer(withTrace(func(string) *trace {
				return &trace{over: make(chan struct{}), gate: func(*call) fault { return refused }}
			}, w.instances[0].m.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("X-Secret", "secret")
				cloakroom.NewKey[int]("n").Set(cloakroom.FromContext(r.Context()), 1)
				leak(rw)
			}))))
			server.EnableHTTP2 = h2
			server.StartTLS()
			r, _ := http.NewRequest("GET", server.URL, nil)
			r.Header.Set("X-Trace", "any")
			res, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			a := answer{status: res.StatusCode, header: res.Header, body: string(body), err: err}
			if fault := a.refusal(); fault != nil || a.status != http.StatusServiceUnavailable || a.detail() != "Unavailable" {
				t.Errorf("%s over %s: %v: %v", name, res.Proto, a, fault)
			}
			if res.Header.Get("X-Secret") != "" || len(res.Trailer) > 0 {
				t.Errorf("%s over %s: %v %v", name, res.Proto, res.Header, res.Trailer)
			}
			server.Close()
		}
	}
}

type secrets struct{}

func (secrets) Read(p []byte) (int, error) { return copy(p, "secret"), nil }
