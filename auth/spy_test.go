package auth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/throttle"
)

// spy is a throttle's store that sees which lanes are taken, and can be told to fail.
type spy struct {
	throttle.Store

	mu    sync.Mutex
	lanes []string // of the last Take
	calls int
	fail  int    // the number of the call from which on all fail, counted from 1; 0: none
	hang  bool   // each call waits for the end of its context
	after func() // runs when an attempt has been counted
}

func (s *spy) call(ctx context.Context) error {
	s.mu.Lock()
	s.calls++
	fail, hang := s.fail > 0 && s.calls >= s.fail, s.hang
	s.mu.Unlock()
	switch {
	case hang:
		<-ctx.Done()
		return ctx.Err()
	case fail:
		return errBoom
	}
	return nil
}

func (s *spy) Take(ctx context.Context, lanes []throttle.Lane, now time.Time) ([]throttle.Mark, *throttle.Refusal, error) {
	s.mu.Lock()
	s.lanes = nil
	for _, l := range lanes {
		s.lanes = append(s.lanes, l.Name)
	}
	s.mu.Unlock()
	if err := s.call(ctx); err != nil {
		return nil, nil, err
	}
	marks, refused, err := s.Store.Take(ctx, lanes, now)
	if s.after != nil {
		s.after()
	}
	return marks, refused, err
}

func (s *spy) Settle(ctx context.Context, back []throttle.Return) error {
	if err := s.call(ctx); err != nil {
		return err
	}
	return s.Store.Settle(ctx, back)
}

// containsLine tells whether a text has this line.
func containsLine(text, line string) bool {
	for l := range strings.Lines(text) {
		if strings.TrimSuffix(l, "\n") == line {
			return true
		}
	}
	return false
}

// serveQuietly serves a request and drops the answer.
func serveQuietly(h http.Handler, r *http.Request) { h.ServeHTTP(httptest.NewRecorder(), r) }
