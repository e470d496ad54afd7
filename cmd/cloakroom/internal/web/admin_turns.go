package web

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// turns lets few requests at a time do what costs much, so that administrators who ask
// for it many times over, or whoever has stolen the session of one, do not take the
// database from everybody else. The zero turns lets two.
type turns struct {
	once sync.Once
	free chan struct{}
}

// Bounds of costly reads.
const (
	costlyAtOnce = 2           // at a time
	turnPatience = time.Second // how long one more waits
)

// errNoTurn says that too many costly reads are under way.
var errNoTurn = errors.New("web: too many costly reads at once")

// take waits a moment for a turn. The caller gives it back.
func (t *turns) take(ctx context.Context) (giveBack func(), err error) {
	t.once.Do(func() { t.free = make(chan struct{}, costlyAtOnce) })
	timer := time.NewTimer(turnPatience)
	defer timer.Stop()
	select {
	case t.free <- struct{}{}:
		return func() { <-t.free }, nil
	case <-timer.C:
		return nil, errNoTurn
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inTurn serves what costs much when it is its turn, and else 503.
func (s *Site) inTurn(of func(*Administration) *turns, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		giveBack, err := of(s.Administration).take(r.Context())
		if err != nil {
			s.busy(w, r)
			return
		}
		defer giveBack()
		next(w, r)
	}
}

// busy answers who has not got a turn. Nothing is wrong with the database.
func (s *Site) busy(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "5")
	s.fail(w, r, http.StatusServiceUnavailable, problem.Unavailable)
}
