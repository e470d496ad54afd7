package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// keyDesk is what the commands on keys work with: the source of the keys, and, as far as
// they are there, the accounts, the instances and the audit log.
type keyDesk struct {
	cfg  *config.Config
	env  *environment
	out  io.Writer
	wait time.Duration
	src  keyring.Source

	stopped []string // IDs of instances that are said not to run

	// b is nil where there is no database yet, and where it is away, for which away is the
	// reason. What it opens is nil then, too.
	b     *backend.Backend
	away  error
	fleet *fleet.Fleet

	// ring is the desk's own: it opens and verifies also what a key made that nobody
	// accepts any more, so that it can be handed on to the next.
	ring  *keyring.Ring
	audit *auditlog.Log

	// signer is the ring of the audit log. A key that ended long ago is over for it: what that
	// has signed since is not to be covered as if it were genuine.
	signer *keyring.Ring
}

// openKeys opens what the settings name. It makes nothing, and does without a database.
func openKeys(cmd *cobra.Command, env *environment) (*keyDesk, error) {
	return openKeysIn(cmd.Context(), cmd, env)
}

// openKeysIn opens what of it is a database as long as ctx lasts.
func openKeysIn(ctx context.Context, cmd *cobra.Command, env *environment) (_ *keyDesk, err error) {
	cfg, err := load(cmd, env)
	if err != nil {
		return nil, err
	}
	d := &keyDesk{cfg: cfg, env: env, out: cmd.OutOrStdout()}
	switch d.b, err = backend.OpenAccounts(ctx, cfg, false); {
	case errors.Is(err, backend.ErrNoData):
		d.b = nil
	case err != nil:
		d.b, d.away = nil, err
	default:
		if d.fleet, err = d.b.Fleet(ctx); err != nil {
			d.away = errors.Join(err, d.b.Close())
			d.b = nil
		}
	}
	if d.b != nil {
		d.src, err = d.b.KeySource()
	} else {
		d.src, err = cfg.Keys.Open()
	}
	if err != nil {
		return nil, errors.Join(&backend.ConfigError{Err: fmt.Errorf("keys: %w", err)}, d.Close())
	}
	return d, nil
}

// Close writes what the audit log has not kept yet, and closes everything.
func (d *keyDesk) Close() error {
	var err error
	if d.audit != nil {
		if err = d.audit.Close(); err != nil {
			err = fmt.Errorf("the audit log does not have it: %w", err)
		}
	}
	if d.b != nil {
		err = errors.Join(err, d.b.Close())
	}
	return err
}

// say prints a line of what has been done.
func (d *keyDesk) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// note prints a line beside it.
func (d *keyDesk) note(format string, args ...any) {
	fmt.Fprintf(d.env.stderr, "cloakroom: "+format+"\n", args...)
}

// keys reads the keys, secrets included. They are such that an instance would take them.
func (d *keyDesk) keys(ctx context.Context) ([]keyring.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, backend.Patience)
	defer cancel()
	text, err := d.src.Read(ctx)
	var list []keyring.Key
	if err == nil {
		if _, err = keyring.Read(bytes.NewReader(text)); err == nil {
			list, err = keyring.ReadKeys(bytes.NewReader(text))
		}
		if err != nil {
			err = fmt.Errorf("keys: %s: %w", d.cfg.Keys, err)
		}
	}
	if err != nil && !d.cfg.Keys.Remote() {
		return nil, &backend.ConfigError{Err: err}
	}
	return list, err
}

// writer returns the source if it can be written, else says what to do.
func (d *keyDesk) writer(cmd *cobra.Command, use string) (keyring.Writer, error) {
	if w, ok := d.src.(keyring.Writer); ok && d.cfg.Keys.Writable() {
		return w, nil
	}
	return nil, wrong(cmd, "keys: %s cannot be written from here: print what to put there, one step at a time, with \"cloakroom key %s --print\"", d.cfg.Keys, use)
}

// rotator returns what takes the steps of a rotation, and writes them into the audit log.
func (d *keyDesk) rotator(w keyring.Writer) *keys.Rotator {
	r := &keys.Rotator{Source: w, Wait: d.wait, Interval: d.cfg.KeysInterval, Log: d.log()}
	r.Waits = func(rest time.Duration, why string) {
		d.say("waiting: %v, in which an instance that is not heard of looks at the keys by itself (%s)", rest.Round(time.Second), why)
	}
	if d.fleet != nil {
		r.Fleet = d.fleet
	}
	return r
}

// lifetime is how long a session may live: what the settings say, or longer where sessions do
// that have begun. The service may have been given another lifetime than this command; what
// it has noted is for the [keys.Rotator].
func (d *keyDesk) lifetime(ctx context.Context) time.Duration {
	longest := d.cfg.Lifetime
	if d.b == nil {
		return longest
	}
	able, err := d.walks(ctx)
	more := false
	if able && err == nil {
		more, err = d.walk(ctx, func(rec store.Record) { longest = max(longest, time.Until(rec.Deadline)) })
	}
	if err != nil {
		d.note("sessions are taken to live for %v, as their store cannot be asked: %v", longest, err)
	}
	if more {
		d.note("not all sessions were looked at, but %d of them: if a service was ever given a longer lifetime than %v, give it with --lifetime", maxCounted, longest)
	}
	return longest
}

// opened returns a ring of these keys in which nothing is over that was not before a time: it
// signs with the key of this ID, or with the active one for the zero ID.
func opened(list []keyring.Key, signs keyring.KeyID, before time.Time) (*keyring.Ring, error) {
	soon := time.Now().Add(time.Hour)
	var active keyring.Key
	var others []keyring.Key
	for _, k := range list {
		switch {
		case k.ID() == signs, signs == keyring.KeyID{} && k.State() == keyring.Active:
			active = k.AsActive()
		case k.State() == keyring.Active, k.State() == keyring.Retiring && k.Until().Before(soon) && !k.Until().Before(before):
			others = append(others, k.AsRetiring(soon))
		default:
			others = append(others, k)
		}
	}
	return keyring.New(active, others...)
}

// follow brings the desk's ring to what the source says, and opens the audit log, whose
// entries it signs.
func (d *keyDesk) follow(ctx context.Context, signs keyring.KeyID) error {
	if err := d.take(ctx, signs); err != nil {
		return err
	}
	return d.openAudit(ctx)
}

// take brings the desk's ring to what the source says.
func (d *keyDesk) take(ctx context.Context, signs keyring.KeyID) error {
	list, err := d.keys(ctx)
	if err != nil {
		return err
	}
	ring, err := opened(list, signs, time.Time{})
	if err != nil {
		return err
	}
	signer, err := opened(list, signs, time.Now().Add(-auditlog.Hurry))
	if err != nil {
		return err
	}
	if d.ring == nil {
		d.ring, d.signer = ring, signer
	} else {
		d.ring.ReplaceWith(ring)
		d.signer.ReplaceWith(signer)
	}
	return nil
}

// openAudit opens the audit log, once.
func (d *keyDesk) openAudit(ctx context.Context) (err error) {
	if d.b != nil && d.audit == nil {
		d.audit, err = d.b.AuditWith(ctx, d.signer)
	}
	return err
}

// log returns the logger whose events become entries of the audit log.
func (d *keyDesk) log() *slog.Logger {
	discard := slog.New(slog.DiscardHandler)
	if d.audit == nil {
		return discard
	}
	return slog.New(keyEvents{audit.Tee(discard, d.audit.Handler).Handler(), d})
}

// keyEvents signs what happens to keys with the one that it leaves active.
type keyEvents struct {
	slog.Handler
	desk *keyDesk
}

// Handle implements slog.Handler.
func (h keyEvents) Handle(ctx context.Context, r slog.Record) error {
	switch r.Message {
	case event.KeyRetired:
		return nil // is told at the end, with what became of the rest
	case event.KeyActivated, event.KeyRolledBack:
		// If the source is away now, the key before signs, which is accepted still.
		_ = h.desk.follow(ctx, keyring.KeyID{})
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h keyEvents) WithAttrs(attrs []slog.Attr) slog.Handler {
	return keyEvents{h.Handler.WithAttrs(attrs), h.desk}
}

// WithGroup implements slog.Handler.
func (h keyEvents) WithGroup(name string) slog.Handler {
	return keyEvents{h.Handler.WithGroup(name), h.desk}
}

// report writes an event of the console.
func (d *keyDesk) report(ctx context.Context, name string, id keyring.KeyID, attrs ...slog.Attr) {
	event.Log(ctx, d.log(), slog.LevelInfo, name, append([]slog.Attr{slog.String("actor", "console"), slog.String("key", id.String())}, attrs...)...)
}

// followed says that every live instance has followed.
func (d *keyDesk) followed(ctx context.Context) error {
	if d.fleet == nil {
		d.say("followed: there is no database, and so no instance")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, backend.Patience)
	defer cancel()
	list, err := d.fleet.Instances(ctx)
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		d.say("followed: no instance runs")
	case len(list) == 1:
		d.say("followed: the instance that runs")
	default:
		d.say("followed: all %d instances that run", len(list))
	}
	return nil
}

// forget takes out the instances that are said to have stopped. One that runs reports
// itself again soon, and is none that is silent.
func (d *keyDesk) forget(ctx context.Context) {
	if d.fleet == nil || len(d.stopped) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, beforehand)
	defer cancel()
	silent, err := d.fleet.Silent(ctx)
	for _, id := range d.stopped {
		switch {
		case err != nil:
		case !slices.ContainsFunc(silent, func(i fleet.Instance) bool { return i.ID == id }):
			d.note("--stopped: no instance of that id is silent")
		default:
			err = d.fleet.Leave(ctx, id)
		}
	}
	if err != nil {
		d.note("--stopped: %v", err)
	}
}

// rewrap brings encrypted hashes of passwords under the key that signs. Those that it
// cannot open are no fault of this key.
func (d *keyDesk) rewrap(ctx context.Context) {
	if d.b == nil {
		return
	}
	var hashes sqlusers.Rewrapped
	var err error
	for more := true; more; {
		// Many hashes take many steps: who gets on goes on.
		var some sqlusers.Rewrapped
		some, err = inTime(ctx, func(ctx context.Context) (sqlusers.Rewrapped, error) { return d.b.Rewrap(ctx, d.ring) })
		hashes.Done, hashes.Left = hashes.Done+some.Done, some.Left
		more = some.Done > 0 && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
	}
	if hashes.Done > 0 {
		d.say("rewrapped: %d encrypted hashes of passwords are under %v now", hashes.Done, d.ring.Active())
		d.report(ctx, event.KeyRewrapped, d.ring.Active(), slog.Int("count", hashes.Done))
	}
	if hashes.Left > 0 {
		d.note("%d hashes of passwords are encrypted under a key that is not here: their users need a reset link", hashes.Left)
	}
	if err != nil {
		d.note("hashes of passwords are left under other keys: %v", err)
	}
}

// inTime does one step of a command, and waits for it no longer than the page of operations
// says.
func inTime[T any](ctx context.Context, step func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, backend.Patience)
	defer cancel()
	return step(ctx)
}

// needed says why a key has to stay; see [backend.Backend.KeyNeeded].
func (d *keyDesk) needed(ctx context.Context, id keyring.KeyID) (string, error) {
	return inTime(ctx, func(ctx context.Context) (string, error) { return d.b.KeyNeeded(ctx, id) })
}

// openStore opens the store of sessions, once.
func (d *keyDesk) openStore(ctx context.Context) error {
	if d.b.Store != nil {
		return nil
	}
	if err := d.b.OpenStore(ctx, false, d.env.log(d.cfg)); err != nil {
		return err
	}
	return d.b.Guard(ctx, backend.Patience, d.env.log(d.cfg))
}
