package promises_test

import (
	"context"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// piecemeal is a store that ends a user's sessions one after the other, as the
// contract allows, and tells when it is between two of them.
type piecemeal struct {
	backend
	between func()
}

func (p *piecemeal) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	recs, err := p.backend.ListUser(ctx, userID)
	n := 0
	for _, r := range recs {
		p.between()
		if r.ID != except && p.backend.End(ctx, r.ID, 0, why, until) == nil {
			n++
		}
	}
	return n, err
}

// An end of all is not one moment in every store. A session that is renewed
// behind its back, so that neither of its tokens was there when the store came
// by, is ended all the same.
func TestPromise01_EndOfAllMeetsARenewal(t *testing.T) {
	t.Parallel()
	const devices = 4
	onEach(t, func(t *testing.T, st backend) {
		slow := &piecemeal{backend: st}
		w := newWorld(t, slow, nil)
		for step := range devices {
			user := w.fresh("u")
			cookies := make([]string, devices)
			for i := range cookies {
				cookies[i] = w.login(t, user, "")
			}
			left := step
			slow.between = func() {
				if left--; left >= 0 {
					return
				}
				left = 1 << 20
				for i, c := range cookies {
					if a := w.do(request{at: 1, method: "POST", path: "/renew", cookie: c}); a.cookie != "" {
						cookies[i] = a.cookie
					}
				}
			}
			if _, err := w.instances[0].m.EndUser(context.Background(), user, store.ID{}); err != nil {
				t.Fatal(err)
			}
			for _, c := range cookies {
				if err := w.nobody(c); err != nil {
					t.Fatalf("renewed at step %d: %v", step, err)
				}
			}
		}
	})
}
