package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/metrics"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/store"
)

// Bounds of a connection. A login waits a few seconds at most for its hash, so an
// answer that takes longer than writeTimeout goes to somebody who reads a byte at
// a time.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10

	// stopTimeout is how long running requests may take to finish at the end.
	stopTimeout = 10 * time.Second

	// arriveTimeout is how long a connection that was taken before the end may take
	// to say what it wants; a browser opens some that say nothing.
	arriveTimeout = 250 * time.Millisecond

	// healthTimeout is how long a store may take to show that it is there.
	healthTimeout = 2 * time.Second
)

// listen listens on the address of a setting.
func listen(setting, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		var oe *net.OpError
		if errors.As(err, &oe) {
			err = oe.Err // the message names the address already
		}
		return nil, fmt.Errorf("%s: cannot listen on %s: %w: stop what listens there, or choose another address", setting, addr, err)
	}
	return ln, nil
}

// certificate reads the certificate, nil where none is configured.
func certificate(cfg *config.Config) (*tls.Certificate, error) {
	if !cfg.TLS() {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			return nil, &backend.ConfigError{Err: fmt.Errorf("tls-cert, tls-key: %s cannot be read: %w", secretfile.Shown(pe.Path), pe.Err)}
		}
		return nil, &backend.ConfigError{Err: fmt.Errorf("tls-cert, tls-key: not a certificate and its key: %w", err)}
	}
	return &cert, nil
}

// newServer returns a server with every bound set. cert may be nil.
func newServer(h http.Handler, cert *tls.Certificate, log *slog.Logger) *http.Server {
	srv := &http.Server{
		Handler: h,
		// OPTIONS * is ours to answer, too, with the headers of every answer.
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		ErrorLog:                     audit.ErrorLog(log),
	}
	if cert != nil {
		srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert}}
	}
	return srv
}

// listening is a server and where it listens.
type listening struct {
	srv *http.Server
	ln  net.Listener
}

func (l listening) serve() error {
	if l.srv.TLSConfig != nil {
		return l.srv.ServeTLS(l.ln, "", "")
	}
	return l.srv.Serve(l.ln)
}

// arrivals are the connections from which no request has been read yet.
// http.Server.Shutdown closes them without an answer as soon as one is: who was
// let in a moment before the end would lose the request.
type arrivals struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// note is an http.Server.ConnState.
func (a *arrivals) note(c net.Conn, s http.ConnState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s == http.StateNew {
		a.conns[c] = struct{}{}
	} else {
		delete(a.conns, c)
	}
}

// wait returns when there are none, or the time is up. A state changes a moment
// after what it tells of, hence the pause on both sides.
func (a *arrivals) wait() {
	const moment = 5 * time.Millisecond
	for end := time.Now().Add(arriveTimeout); ; {
		time.Sleep(moment)
		a.mu.Lock()
		n := len(a.conns)
		a.mu.Unlock()
		if n == 0 || time.Now().After(end) {
			break
		}
	}
	time.Sleep(moment)
}

// serveAll serves until ctx ends or a server fails, and then lets running
// requests finish, those that are just arriving among them. stop is called before
// that, so that a second signal ends the program at once.
func serveAll(ctx context.Context, stop func(), servers []listening) error {
	failed := make(chan error, len(servers))
	arriving := &arrivals{conns: map[net.Conn]struct{}{}}
	for _, l := range servers {
		l.srv.ConnState = arriving.note
		go func() { failed <- l.serve() }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	for _, l := range servers {
		l.ln.Close() // nobody new
	}
	arriving.wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, l := range servers {
		wg.Go(func() {
			if l.srv.Shutdown(ctx) != nil {
				l.srv.Close() // their time is up
			}
		})
	}
	wg.Wait()
	return err
}

// health answers whether the process lives, whether it can do its work, and what it has
// done.
func health(b *backend.Backend, counts *metrics.Metrics, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", counts.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answerHealth(w, nil)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
		defer cancel()
		err := b.Ready(ctx)
		if err != nil {
			level := slog.LevelError
			if errors.Is(err, store.ErrNotAsked) {
				level = slog.LevelDebug
			}
			event.Log(ctx, log, level, event.StoreFailed, slog.String("op", "readiness"), event.Err(err))
		}
		answerHealth(w, err)
	})
	return mux
}

// answerHealth says no more than yes or no: what is wrong stands in the log.
func answerHealth(w http.ResponseWriter, err error) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "unavailable")
		return
	}
	fmt.Fprintln(w, "ok")
}
