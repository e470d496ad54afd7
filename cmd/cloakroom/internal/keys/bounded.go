package keys

import (
	"context"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
)

// patience is how long the fleet is waited for with a question, however it hangs: a lock
// that somebody holds in the database is waited for by it for ever.
const patience = 5 * time.Second

// bounded is a Fleet that answers in time, as far as a Rotator asks it.
type bounded struct {
	Fleet
	within time.Duration
}

// fleet returns the instances for whoever has patience, and less where nobody waits anyway.
func (r *Rotator) fleet() Fleet {
	return bounded{r.Fleet, min(patience, max(r.wait(), time.Second))}
}

// answer returns what ask does, in time.
func answer[T any](ctx context.Context, within time.Duration, ask func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return ask(ctx)
}

func (b bounded) Instances(ctx context.Context) ([]fleet.Instance, error) {
	return answer(ctx, b.within, b.Fleet.Instances)
}

func (b bounded) Silent(ctx context.Context) ([]fleet.Instance, error) {
	return answer(ctx, b.within, b.Fleet.Silent)
}

func (b bounded) Call(ctx context.Context) (int64, error) { return answer(ctx, b.within, b.Fleet.Call) }

func (b bounded) Clock(ctx context.Context) (time.Time, error) {
	return answer(ctx, b.within, b.Fleet.Clock)
}

func (b bounded) Note(ctx context.Context, name string) (string, error) {
	return answer(ctx, b.within, func(ctx context.Context) (string, error) { return b.Fleet.Note(ctx, name) })
}

func (b bounded) SetNote(ctx context.Context, name, text string) error {
	_, err := answer(ctx, b.within, func(ctx context.Context) (struct{}, error) { return struct{}{}, b.Fleet.SetNote(ctx, name, text) })
	return err
}
