package fleet

import (
	"context"
	"fmt"
	"time"
)

// look is the signal at which instances look at the source of the keys.
const look = "look"

// Generation returns a number that [Fleet.Call] raises: where it is another one than
// before, somebody asks every instance to look at the source of the keys.
func (f *Fleet) Generation(ctx context.Context) (int64, error) {
	var n number
	err := f.db.Reader().QueryRowContext(ctx, f.sql.generation, []byte(look)).Scan(&n)
	if none(err) {
		return 0, nil
	}
	return int64(n), wrap("read the generation", err)
}

// Call makes every instance look at the source of the keys, within about a second,
// and returns the generation at which it has. An instance that looked at this one, or
// at a later one, has read what the source said when Call was called, or something
// newer.
func (f *Fleet) Call(ctx context.Context) (int64, error) {
	n, err := f.db.Exec(ctx, f.sql.raise, []byte(look))
	if err == nil && n == 0 {
		if _, err = f.db.Exec(ctx, f.sql.signal, []byte(look), []byte{}); err == nil {
			_, err = f.db.Exec(ctx, f.sql.raise, []byte(look))
		}
	}
	if err != nil {
		return 0, wrap("call the instances", err)
	}
	// Another call may have come between: it asks for a look that is later still.
	return f.Generation(ctx)
}

// SetNote leaves a text of up to 4096 bytes for all instances under a name of up to
// 64 bytes.
func (f *Fleet) SetNote(ctx context.Context, name, text string) error {
	if err := named(name, text); err != nil {
		return wrap("set a note", err)
	}
	_, err := f.db.Exec(ctx, f.sql.setNote, []byte("note/"+name), []byte(text))
	return wrap("set a note", err)
}

// Note returns the text that was left last, "" where there is none.
func (f *Fleet) Note(ctx context.Context, name string) (string, error) {
	var text string
	err := f.db.Reader().QueryRowContext(ctx, f.sql.note, []byte("note/"+name)).Scan(&text)
	if none(err) {
		return "", nil
	}
	return text, wrap("read a note", err)
}

func named(name, text string) error {
	if len(name) == 0 || len(name) > maxID-len("note/") || len(text) > maxKeys {
		return fmt.Errorf("a name of %d bytes, want 1 to %d, or a text of %d, want up to %d", len(name), maxID-len("note/"), len(text), maxKeys)
	}
	return nil
}

// How much earlier than in the database a lease ends for its holder, so that nobody
// else has it before by a clock that is ahead: a quarter of it and at most this.
const margin = 5 * time.Second

// longest is the longest lease; all that ask for the same task ask for the same time. Their
// clocks are less than apart.
const (
	longest = time.Hour
	apart   = time.Minute
)

// Lead takes the lease on a task for the holder, an instance's ID, or prolongs it, and
// returns until when it leads. The zero time says that another one does.
//
// At most one holder leads at a time, as long as clocks differ by less than the
// quarter of the lease, and less than five seconds. A holder that does not know how
// long it has slept asks the time before it acts:
//
//	if time.Now().Before(until) { … }
//
// A lease that has run out, was released, or ends by a clock that was wrong, later than
// any that begins within a minute from now, is anybody's.
func (f *Fleet) Lead(ctx context.Context, name, holder string, now time.Time, lease time.Duration) (until time.Time, err error) {
	led, err := f.lead(ctx, name, holder, now, lease)
	if err != nil || !led {
		return time.Time{}, wrap("lead "+name, err)
	}
	return now.Add(lease - min(lease/4, margin)), nil
}

func (f *Fleet) lead(ctx context.Context, name, holder string, now time.Time, lease time.Duration) (bool, error) {
	if name == "" || holder == "" || len(name) > maxID || len(holder) > maxID || lease <= 0 || lease > longest {
		return false, fmt.Errorf("a holder of %d bytes, want 1 to %d, or a lease of %v, want up to %v", len(holder), maxID, lease, longest)
	}
	// Most of the time somebody else leads, and nothing has to be written.
	var (
		other string
		ends  number
	)
	err := f.db.Reader().QueryRowContext(ctx, f.sql.lease, []byte(name)).Scan(&other, &ends)
	at, wrong, until := now.UnixMilli(), now.Add(lease+apart).UnixMilli(), now.Add(lease).UnixMilli()
	switch {
	case none(err):
		n, err := f.db.Exec(ctx, f.sql.takeFirst, []byte(name), []byte(holder), until)
		return n == 1, err
	case err != nil:
		return false, err
	case other != holder && int64(ends) > at && int64(ends) <= wrong:
		return false, nil
	}
	n, err := f.db.Exec(ctx, f.sql.lead, []byte(holder), until, []byte(name), []byte(holder), at, wrong)
	return n == 1, err
}

// Release gives the lease back, if it is the holder's still.
func (f *Fleet) Release(ctx context.Context, name, holder string) error {
	_, err := f.db.Exec(ctx, f.sql.release, []byte(name), []byte(holder))
	return wrap("release "+name, err)
}
