package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

func newKeyRetire(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retire --now ID",
		Short: "End all that a key has signed, at once: for the day that it leaks",
		Long: "End all that a key has signed, at once, at every instance: for the day that it leaks. Whoever\n" +
			"is signed in under it has to sign in again. It does not ask, as that is not a day for questions.\n" +
			"\n" +
			"In the place of the key that signs the next one does from now on, or a new one. Encrypted\n" +
			"hashes of passwords are brought under that one: nobody needs a new password. What the key has\n" +
			"signed in the audit log stays genuine, and what it signs there from now on is not.\n" +
			"\n" +
			"With a key that is retiring already, sessions have moved to the one that signs. Those in a store\n" +
			"go on: nobody has made one with the key alone. If the store's content was known as well, or could\n" +
			"be changed, \"cloakroom session end --all\" ends those. Sealed ones end with each key that they\n" +
			"were ever under, forged or not. If all of the keys leaked, retire each.\n" +
			"\n" +
			"When it has ended with 0, no instance that runs accepts the key. Else it names those that may:\n" +
			"stop them, and run it again. One that was silent within the hour counts as one that may, until\n" +
			"--stopped says that it does not run. It ends with 1 as well where the audit log may have been\n" +
			"written anew with the key since that ended: if it was not, say --vouch. The store of the sessions\n" +
			"need not be there: what it has of them is ended if it is, and nobody lets it in if it is not.\n" +
			"A database that hangs holds it up for little more than four times --wait: then it says what is left.",
		Args: exactly(1, "a key's id"),
	}
	now := cmd.Flags().Bool("now", false, "say that it is meant: who is signed in under the key is signed out")
	text := cmd.Flags().Bool("print", false, "change nothing, and print the keys as they are to be; for keys that cannot be written from here")
	insist := cmd.Flags().Bool("vouch", false, "take for genuine what the key has signed in the audit log, also where it may be of somebody else")
	wait := cmd.Flags().Duration("wait", keys.DefaultWait, "wait for the instances that run for this `time`")
	stopped := cmd.Flags().StringArray("stopped", nil, "say that the silent instance of this `id` does not run any more; may be given again")
	settings(cmd, append(slices.Clone(everywhere), "lifetime", "keys-interval")...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*now {
			return wrong(cmd, "this ends all that the key has signed, and whoever is signed in under it has to sign in again: say --now; "+
				"to exchange a key and sign nobody out, use \"cloakroom key rotate\"")
		}
		if *wait <= 0 {
			return wrong(cmd, "--wait must be positive")
		}
		// Whoever holds a lock in the database keeps the key no longer than this.
		urgent, cancel := context.WithTimeout(cmd.Context(), beforehand)
		defer cancel()
		d, err := openKeysIn(urgent, cmd, env)
		if err != nil {
			return err
		}
		d.wait, d.stopped = *wait, *stopped
		r := &retirement{keyDesk: d, insist: *insist}
		return errors.Join(r.retire(cmd, urgent, args[0], *text), d.Close())
	}
	return cmd
}

// retirement is a key on its way out.
type retirement struct {
	*keyDesk
	insist  bool          // vouch for the audit log whatever stands there
	key     keyring.Key   // as it was found
	others  []keyring.Key // with it
	ended   time.Time     // when it ended
	active  keyring.KeyID // that signed then
	next    keyring.KeyID // that signs in its place
	rotator *keys.Rotator

	unsure error // why it is not known that the key has ended by the others' clocks
	closed error // why the audit log cannot be opened
}

// retire ends a key. The order is that of urgency: nothing that can wait, and nothing
// that can fail but the keys themselves, comes before the keys.
func (r *retirement) retire(cmd *cobra.Command, urgent context.Context, id string, text bool) error {
	ctx, d := cmd.Context(), r.keyDesk
	list, err := d.keys(ctx)
	if err != nil {
		return err
	}
	k, err := named(cmd, list, id)
	if err != nil {
		return err
	}
	r.key, r.others = k, list
	// By a clock that is ahead it may have ended here alone.
	now, unsure := d.rotator(nil).Common(urgent)
	ended := k.Info().Ended(now)
	if text {
		if ended {
			return fmt.Errorf("%v is retired already: once every instance has these keys, finish with the same command without --print", k)
		}
		after, err := keyring.Retire(list, k.ID(), now)
		if unsure != nil {
			d.note("%v", unsure)
		}
		return d.printText(after, err, fmt.Sprintf("%v is accepted no more; once every instance has these keys, finish with the same command without --print", k))
	}
	w, ok := d.src.(keyring.Writer)
	if !ok && !ended {
		_, err := d.writer(cmd, "retire --now "+k.ID().String())
		return err
	}
	if !ok {
		w = readOnly{d.src}
	}
	if err := d.take(ctx, keyring.KeyID{}); err != nil {
		return err
	}
	if err := r.elsewhere(urgent, ended); err != nil {
		return err
	}
	_ = d.openAudit(urgent) // where it is away, that is told of below
	r.active = d.ring.Active()
	r.rotator = d.rotator(w)
	return r.run(ctx, urgent, ended)
}

// readOnly is a source in whose keys nothing is left to change.
type readOnly struct{ keyring.Source }

// Write implements keyring.Writer.
func (readOnly) Write(context.Context, []byte, []byte) error {
	return errors.New("keys: the source cannot be written from here")
}

// named finds a key. What was given is not repeated: it may be the key itself.
func named(cmd *cobra.Command, list []keyring.Key, text string) (keyring.Key, error) {
	for _, k := range list {
		switch id := k.ID().String(); {
		case text == id:
			return k, nil
		case text != "" && strings.HasPrefix(id, strings.ToLower(text)):
			return keyring.Key{}, wrong(cmd, "a key is named by all of its id, in lower case: did you mean %s", id)
		}
	}
	if _, err := keyring.ParseKeyID(text); err != nil {
		return keyring.Key{}, wrong(cmd, "a key's id is 8 hexadecimal digits, as \"cloakroom key list\" shows it")
	}
	return keyring.Key{}, errors.New("there is no such key: \"cloakroom key list\" lists them")
}

// run ends the key, and then what depends on it.
func (r *retirement) run(ctx, urgent context.Context, ended bool) error {
	if !ended {
		r.prepare(urgent)
	}
	// All that can be waited for before has been: now it is over, or nothing has happened.
	// Who has not followed is seen below.
	r.rotator.Wait = time.Millisecond
	if end, ok := urgent.Deadline(); ok {
		r.rotator.Before = max(time.Until(end), time.Millisecond)
	}
	failed := r.rotator.Retire(ctx, r.key.ID())
	r.rotator.Wait = r.wait
	if unsure, ok := errors.AsType[*keys.ClockError](failed); ok {
		r.unsure = unsure
	}
	list, err := r.keys(ctx)
	if err != nil {
		return errors.Join(failed, err)
	}
	i := slices.IndexFunc(list, func(k keyring.Key) bool { return k.ID() == r.key.ID() })
	switch {
	case i >= 0 && list[i].Info().Ended(time.Now()):
		r.ended = list[i].Until()
	case failed != nil:
		return failed
	case i >= 0:
		// It was written, and is not there: no error has told of that.
		return fmt.Errorf("keys: %v was retired in %s and is accepted again: somebody put the keys back that were there before, or what is read there is old: "+
			"stop what restores them, and run this again", r.key.ID(), r.cfg.Keys)
	default:
		// Somebody took it out as soon as it was over. Nobody accepts it, and what
		// depends on it is still to be done.
		r.ended = time.Now()
	}
	if err := r.take(ctx, keyring.KeyID{}); err != nil {
		return err
	}
	rest, cancel := context.WithTimeout(ctx, afterwards+4*r.wait)
	defer cancel()
	r.closed = r.openAudit(rest)
	r.next = r.ring.Active()
	in := ""
	if r.next != r.active {
		in = " in its place"
	}
	r.say("retired: %v is accepted no more; %v signs%s", r.key.ID(), r.next, in)
	r.remind()
	if r.b == nil {
		return r.blind()
	}
	return r.finish(ctx, rest)
}

// afterwards is how long what depends on the key is brought in order, at most, beside the
// time that instances are waited for: a database that hangs is to be told of.
const afterwards = 5 * time.Second

// finish brings what depends on the key in order, as far as that goes within the time of rest.
func (r *retirement) finish(ctx, rest context.Context) error {
	var left []string
	done := func(what string) {
		if rest.Err() != nil {
			left = append(left, what)
		}
	}
	r.rewrap(rest)
	done("hashes of passwords are brought under the key that signs")
	sessions := r.end(rest)
	done("records of its sessions are ended")
	lag := r.followed(rest)
	r.rewrap(rest) // what the last of them has done meanwhile
	done("no instance accepts it any more")
	kept := r.record(rest, lag == nil, sessions)
	done("the audit log has it, and what the key has signed there is vouched for")
	stuck := r.stuck(rest)
	if len(left) == 0 || ctx.Err() != nil {
		return errors.Join(r.unsure, lag, kept, stuck)
	}
	// Why each of them failed is that the time was over.
	slow := fmt.Errorf("keys: %v is accepted by no instance that has looked at the keys since; the rest took longer than %v, and it is not known whether %s: "+
		"see that the databases answer, and run this again", r.key.ID(), afterwards+4*r.wait, strings.Join(left, ", whether "))
	if errors.Is(lag, context.DeadlineExceeded) {
		lag = nil
	}
	return errors.Join(r.unsure, lag, slow)
}

// remind says what the end of the key does not end.
func (r *retirement) remind() {
	for _, k := range r.others {
		switch {
		case r.key.State() == keyring.Active && k.State() == keyring.Next:
			r.note("if all of the keys leaked, %v leaked with them, which was made before: retire it as well", k.ID())
		// Its end is set to some minutes before: one that never was beside the other is older.
		case r.key.State() == keyring.Retiring && k.State() == keyring.Active && r.key.Until().After(k.Created()) && r.cfg.Store.Scheme != config.Sealed:
			r.note("sessions that were under the key have moved to %v, which signs, at their next request, and go on: nobody made one with the key alone, "+
				"but if the sessions' store was open as well, \"cloakroom session end --all\" ends everybody", k.ID())
		}
	}
}

// followed returns nil once no instance accepts the key. Those that are said to have
// stopped are not asked.
func (r *retirement) followed(ctx context.Context) error {
	r.forget(ctx)
	if err := r.rotator.Ended(ctx, r.key.ID()); err != nil {
		return err
	}
	return r.keyDesk.followed(ctx)
}

// blind says what is not known, and not done, where the accounts are away.
func (r *retirement) blind() error {
	if r.away == nil {
		return nil // there never were any
	}
	return errors.Join(r.away, errors.New("keys: without the accounts' database nobody knows which instances have followed, and hashes of passwords "+
		"that are encrypted under the key stay so: run this again when it is back"))
}

// stuck returns an error if passwords depend on the key still: the time in which their users
// cannot sign in is to be short.
func (r *retirement) stuck(ctx context.Context) error {
	hashes, err := r.b.HashesByKey(ctx)
	if err == nil && hashes[r.key.ID()] > 0 {
		err = fmt.Errorf("keys: %d hashes of passwords are encrypted under the key still, and their users cannot sign in: run this again", hashes[r.key.ID()])
	}
	return err
}

// beforehand is how long the key goes on, at most, so that the instances learn of the next
// one, and hashes of passwords are brought under that: for whoever belongs to them there is
// no moment in which they cannot sign in. The clock, which is asked then, has a second more,
// and so a database that hangs keeps the key for five.
const beforehand = 4 * time.Second

// prepare has the key that follows accepted everywhere, and the hashes brought under it, while
// the one that leaked still lets their users in. What fails is done, or told of, afterwards.
func (r *retirement) prepare(ctx context.Context) {
	next := r.ring.Active()
	if r.key.State() == keyring.Active {
		var err error
		if next, err = r.rotator.Announce(ctx); err != nil {
			return
		}
		if err := r.rotator.Await(ctx); err != nil {
			return
		}
	}
	if r.b == nil {
		return
	}
	if hashes, err := r.b.HashesByKey(ctx); err != nil || hashes[r.key.ID()] == 0 {
		return
	}
	if r.follow(ctx, next) == nil {
		r.rewrap(ctx)
	}
}

// end ends the records of sessions that the key has sealed, and returns how many; below
// zero where nobody knows. Nobody lets them in, so what is left is no fault.
func (r *retirement) end(ctx context.Context) int {
	able, err := r.walks(ctx)
	switch {
	case err == nil && r.cfg.Store.Scheme == config.Sealed:
		r.say("ended: the sessions that were ever under it; how many cannot be known from here")
		return -1
	case err == nil && !able:
		r.say("ended: the sessions under it; how many cannot be known from here")
		return -1
	}
	n := 0
	if err == nil {
		n, err = r.endRecords(ctx)
	}
	if err != nil {
		r.note("records of sessions are left, which nobody lets in: %v", err)
		return -1
	}
	what := "sessions"
	if n == 1 {
		what = "session"
	}
	r.say("ended: %d %s under it; who was signed in has to sign in again", n, what)
	return n
}

func (r *retirement) endRecords(ctx context.Context) (n int, err error) {
	records := r.b.Records(false)
	for rec, err := range records.All(ctx) {
		if err != nil {
			return n, err
		}
		if id, ok := keyring.SealedBy(rec.Data); !ok || id != r.key.ID() {
			continue
		}
		switch err := records.End(ctx, rec.ID); {
		case err == nil:
			n++
		case !errors.Is(err, store.ErrEnded) && !errors.Is(err, store.ErrNotFound):
			return n, err
		}
	}
	return n, nil
}

// record writes the retirement into the audit log, under the key that signs now, so that the
// one that leaked has no part in it. Once nobody signs with that any more, it vouches for what
// that has signed.
func (r *retirement) record(ctx context.Context, all bool, sessions int) error {
	if r.audit == nil {
		return fmt.Errorf("the audit log is not vouched for: %w", r.closed)
	}
	if r.next != r.active {
		r.report(ctx, event.KeyActivated, r.next)
	}
	if !all {
		r.retiredEvent(ctx, sessions)
		return nil
	}
	return r.handOver(ctx, sessions)
}

// handedOver is the name of the note on keys from which the audit log was handed over, beside
// which the log can be older than it was.
const handedOver = "handed over"

// handOver vouches for what the key has signed in the audit log.
func (r *retirement) handOver(ctx context.Context, sessions int) (err error) {
	if err := r.audit.Flush(ctx); err != nil {
		return fmt.Errorf("the audit log is not vouched for: %w", err)
	}
	before, err := r.fleet.Note(ctx, handedOver)
	if err != nil {
		return err
	}
	ids := strings.Fields(before)
	again := slices.Contains(ids, r.key.ID().String())
	log, err := r.b.AuditWith(ctx, r.ring) // which takes the key
	if err != nil {
		return err
	}
	err = log.Retired(ctx, auditlog.Retirement{Key: r.key.ID(), Actor: admin.Console.ID, Count: sessions, Ended: r.ended, Again: again, Insist: r.insist})
	if errors.Is(err, auditlog.ErrLate) {
		err = fmt.Errorf("%w; compare the log lines that are kept elsewhere, and if they say the same, vouch for it with --vouch", err)
	}
	if err := errors.Join(err, log.Close()); err != nil {
		return fmt.Errorf("the audit log is not vouched for: %w", err)
	}
	if again {
		return nil
	}
	ids = append(ids, r.key.ID().String())
	return r.fleet.SetNote(ctx, handedOver, strings.Join(ids[max(0, len(ids)-keyring.MaxKeys):], " "))
}

// retiredEvent writes that the key was taken away, where somebody may go on with it.
func (r *retirement) retiredEvent(ctx context.Context, sessions int) {
	log := audit.Tee(slog.New(slog.DiscardHandler), r.audit.Handler)
	attrs := []slog.Attr{slog.String("actor", admin.Console.ID), slog.String("key", r.key.ID().String())}
	if sessions >= 0 {
		attrs = append(attrs, slog.Int("count", sessions))
	}
	event.Log(ctx, log, slog.LevelInfo, event.KeyRetired, attrs...)
}
