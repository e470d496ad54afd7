package main

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// rotation are the flags of a command that rotates.
type rotation struct{ next, rollback, print bool }

func newKeyRotate(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Exchange the key that signs for a new one; nobody is signed out",
		Long: "Exchange the key that signs for a new one, while the service runs; nobody is signed out:\n" +
			"\n" +
			"  1. A new key is next: every instance accepts it, and none signs with it.\n" +
			"  2. Once every instance that runs has said so, it is active and signs. The old one is\n" +
			"     retiring: accepted for as long as a session may live, and ten minutes.\n" +
			"  3. Keys whose time has passed are removed, if nothing depends on them any more.\n" +
			"\n" +
			"If it breaks off, run it again: it goes on where it was. An instance that does not follow is\n" +
			"named, and nothing goes on without it. Give the lifetime that the service has.\n" +
			"\n" +
			"Where the keys cannot be written from here, as in a variable or a mounted secret, --print\n" +
			"prints what to put there, one step at a time, to be piped into whatever sets the secret:\n" +
			"\n" +
			"  cloakroom key rotate --print --keys env:SECRET_KEYS > new\n" +
			"\n" +
			"Set it everywhere, restart what does not look by itself, and run the same again.",
		Args: exactly(0, "none"),
	}
	var how rotation
	cmd.Flags().BoolVar(&how.next, "next", false, "stop after the first step: with a key that is next")
	cmd.Flags().BoolVar(&how.rollback, "rollback", false, "go back to the key before, and keep the one of now as next")
	cmd.Flags().BoolVar(&how.print, "print", false, "change nothing, and print the keys as they are to be after the next step")
	wait := cmd.Flags().Duration("wait", keys.DefaultWait, "wait for the instances that run for this `time`")
	stopped := cmd.Flags().StringArray("stopped", nil, "say that the silent instance of this `id` does not run any more; may be given again")
	settings(cmd, append(slices.Clone(everywhere), "lifetime", "keys-interval")...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if how.next && how.rollback {
			return wrong(cmd, "--next and --rollback contradict each other")
		}
		if *wait <= 0 {
			return wrong(cmd, "--wait must be positive")
		}
		d, err := openKeys(cmd, env)
		if err != nil {
			return err
		}
		d.wait, d.stopped = *wait, *stopped
		return errors.Join(d.rotate(cmd, how), d.Close())
	}
	return cmd
}

// errAway says that nobody knows which instances run.
func (d *keyDesk) errAway() error {
	if d.away == nil {
		return nil
	}
	return errors.Join(d.away, errors.New("keys: without the accounts' database nobody knows which instances run: rotate when it is back; a key that leaked can be retired now"))
}

// rotate takes the steps.
func (d *keyDesk) rotate(cmd *cobra.Command, how rotation) error {
	ctx := cmd.Context()
	if how.print {
		return d.printStep(ctx, how)
	}
	w, err := d.writer(cmd, "rotate")
	if err != nil {
		return err
	}
	if err := d.errAway(); err != nil {
		return err
	}
	if err := d.follow(ctx, keyring.KeyID{}); err != nil {
		return err
	}
	if err := d.used(ctx); err != nil {
		return err
	}
	d.forget(ctx)
	r := d.rotator(w)
	if how.rollback {
		return d.rollback(ctx, r)
	}
	active, unfinished := d.unfinished(ctx)
	if unfinished && !how.next {
		d.sayWhere()
		d.say("active: %v signs already; this ends the rotation that broke off, and makes no other key: for that run it again", active.ID)
		return d.settle(ctx, r)
	}
	next, err := r.Announce(ctx)
	if err != nil {
		return err
	}
	d.sayWhere()
	d.say("next: %v is accepted, and signs nothing yet", next)
	if err := d.await(ctx, r); err != nil || how.next {
		return err
	}
	if err := d.begun(ctx, next.String()); err != nil {
		return err
	}
	r.Lifetime = d.lifetime(ctx)
	if err := r.Activate(ctx, next); err != nil {
		return err
	}
	return d.activated(ctx, r)
}

// sayWhere says which keys are changed: with another source given, others than were meant.
func (d *keyDesk) sayWhere() { d.say("source: %v", d.cfg.Keys) }

// activated says which key signs, and since when the one before does not.
func (d *keyDesk) activated(ctx context.Context, r *keys.Rotator) error {
	list, err := d.keys(ctx)
	if err != nil {
		return err
	}
	for _, k := range list {
		if k.State() == keyring.Active {
			d.say("active: %v signs", k.ID())
		}
	}
	for _, k := range list {
		if k.State() == keyring.Retiring && !k.Info().Ended(time.Now()) {
			d.say("retiring: %v is accepted until %s", k.ID(), moment(k.Until()))
		}
	}
	return d.settle(ctx, r)
}

// settle is what follows once another key signs: every instance follows, nothing depends
// on the key before but what it signed, and what nothing depends on goes.
func (d *keyDesk) settle(ctx context.Context, r *keys.Rotator) error {
	if err := d.await(ctx, r); err != nil {
		return err
	}
	if err := d.follow(ctx, keyring.KeyID{}); err != nil {
		return err
	}
	d.rewrap(ctx)
	if err := d.begun(ctx, ""); err != nil {
		return err
	}
	return d.prune(ctx, r)
}

// await waits until every live instance has followed.
func (d *keyDesk) await(ctx context.Context, r *keys.Rotator) error {
	if err := r.Await(ctx); err != nil {
		return err
	}
	return d.followed(ctx)
}

// rollback goes back to the key before.
func (d *keyDesk) rollback(ctx context.Context, r *keys.Rotator) error {
	before := d.ring.Active()
	active, err := r.Rollback(ctx)
	if err != nil {
		return err
	}
	d.sayWhere()
	if active == before {
		// Nothing is changed. What follows is for a rollback that broke off behind the change.
		d.say("active: %v signs already, since the last rollback: nothing is changed, as a second one goes no further back", active)
	} else {
		d.say("active: %v signs again; the one that did is next", active)
	}
	if err := d.await(ctx, r); err != nil {
		return err
	}
	if err := d.follow(ctx, keyring.KeyID{}); err != nil {
		return err
	}
	d.rewrap(ctx)
	return d.begun(ctx, "")
}

// prune removes keys whose time has passed. That it cannot is no fault of the rotation.
func (d *keyDesk) prune(ctx context.Context, r *keys.Rotator) error {
	list, err := d.keys(ctx)
	if err != nil || !slices.ContainsFunc(list, func(k keyring.Key) bool { return k.Info().Ended(time.Now()) }) {
		return err
	}
	if d.b != nil {
		if err := d.openStore(ctx); err != nil {
			d.note("keys whose time has passed stay, as the store of the sessions says which one it needs: %v", err)
			return nil
		}
		r.Needed = d.needed
	}
	gone, err := r.Prune(ctx)
	for _, id := range gone {
		d.say("pruned: %v, whose time had passed", id)
	}
	for _, k := range list {
		if !k.Info().Ended(time.Now()) || slices.Contains(gone, k.ID()) || r.Needed == nil {
			continue
		}
		if why, err := r.Needed(ctx, k.ID()); err == nil && why != "" {
			d.say("kept: %v, whose time has passed: %s", k.ID(), why)
		}
	}
	return err
}

// rotating is the name of the note on a rotation that a command has begun.
const rotating = "rotating"

// lately is how long ago a command may have been broken off that another one goes on with.
const lately = 10 * time.Minute

// begun notes that this command is about to make a key active, or with "" that it is done.
// The note is signed: whoever can write to the database only would keep a key for ever.
func (d *keyDesk) begun(ctx context.Context, id string) error {
	if d.fleet == nil {
		return nil
	}
	if id != "" {
		id += " " + strconv.FormatInt(time.Now().Unix(), 10)
		signer, tag := d.ring.Purpose(rotating).Sign([]byte(id))
		id += " " + signer.String() + " " + hex.EncodeToString(tag[:])
	}
	ctx, cancel := context.WithTimeout(ctx, backend.Patience)
	defer cancel()
	return d.fleet.SetNote(ctx, rotating, id)
}

// unfinished tells whether a command has made the active key active and got no further. It
// was not long ago, or whoever asks for a rotation now means another one.
func (d *keyDesk) unfinished(ctx context.Context) (keyring.KeyInfo, bool) {
	active := d.ring.Keys()[0]
	if d.fleet == nil || time.Since(active.Created) > time.Hour {
		return active, false
	}
	ctx, cancel := context.WithTimeout(ctx, backend.Patience)
	defer cancel()
	text, err := d.fleet.Note(ctx, rotating)
	note := strings.Fields(text)
	if err != nil || len(note) != 4 || note[0] != active.ID.String() {
		return active, false
	}
	at, err := strconv.ParseInt(note[1], 10, 64)
	if ago := time.Since(time.Unix(at, 0)); err != nil || ago.Abs() > lately {
		return active, false
	}
	signer, err := keyring.ParseKeyID(note[2])
	if err != nil {
		return active, false
	}
	tag, err := hex.DecodeString(note[3])
	return active, err == nil && d.ring.Purpose(rotating).Verify(signer, []byte(note[0]+" "+note[1]), tag)
}
