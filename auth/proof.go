package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// proof is somebody's attempt to prove who they are.
type proof struct {
	name    string // as it was typed, or the ID of who is signed in
	user    User   // the zero User where there is none of that name
	account string // under which it is counted
	reason  string // why it fails, for the log alone

	device   string // under which the browser is known for the user; "" for none
	failures int    // how many had failed in a row before
}

// find reads the user whose name it is. That there is none is no error: it takes the
// work of a wrong password to say so. Names that are none are counted as they are
// typed, others in their canonical form, known or not.
func (a *Auth) find(ctx context.Context, p *proof) (User, error) {
	canonical, err := CanonicalName(p.name)
	if err != nil {
		p.account, p.reason = "?"+p.name, "bad name"
		return User{}, nil
	}
	p.user, err = a.byName(ctx, canonical)
	switch {
	case errors.Is(err, ErrNoUser):
		p.account, p.reason = "?"+canonical, "unknown"
	case err != nil:
		p.reason = "unavailable"
		return User{}, err
	default:
		p.account = p.user.ID
	}
	return p.user, nil
}

// prove finds out whether the password is that of the proof's user. Nil says that it
// is.
//
// Every way through it to ErrBadCredentials computes one hash, but for a password
// that is refused for its length, which computes none for anybody, and is counted
// for nobody.
func (a *Auth) prove(r *http.Request, p *proof, pw string) error {
	switch {
	case pw == "":
		p.reason = "empty password"
		return ErrBadCredentials
	case len(pw) > password.MaxLength:
		p.reason = "too long"
		return ErrBadCredentials
	}
	ticket, done, err := a.begin(r, p)
	if err != nil {
		return err
	}
	defer done()
	ok, err := a.hasher.Verify(a.sourced(r), p.user.Password, pw) // of the zero User: equal work, and false
	if err != nil {
		// What cannot be given back stays counted, on the safe side.
		_ = a.throttle.Cancel(r.Context(), ticket)
		return p.unverified(err)
	}
	if a.judge(p, ticket, ok); p.reason != "" {
		if ticket.Locks {
			a.event(r.Context(), slog.LevelWarn, event.Locked, a.who(r, p)...)
		}
		return ErrBadCredentials
	}
	if err := a.throttle.Succeed(r.Context(), ticket); err != nil {
		p.reason = "unavailable"
		return unavailable("clear failed attempts", err)
	}
	return nil
}

// begin counts an attempt before its password is looked at, or refuses it. Whoever is
// let through calls done when it is known what came of it.
func (a *Auth) begin(r *http.Request, p *proof) (ticket *throttle.Ticket, done func(), err error) {
	p.device = a.device(r, p.user)
	try := a.turns.attempt(throttle.Attempt{Account: p.account, Source: a.m.ClientAddr(r), Device: p.device})
	defer func() {
		if ticket == nil { // also where the throttle's store panics
			try.leave()
		}
	}()
	for {
		try.ask()
		ticket, err := a.count(r.Context(), try.Attempt)
		if err == nil {
			try.run()
			p.failures = ticket.Failures
			return ticket, try.settled, nil
		}
		refused, ok := errors.AsType[*throttle.RefusedError](err)
		if !ok {
			p.reason = "unavailable"
			return nil, nil, unavailable("count attempt", err)
		}
		again, err := try.wait(r.Context(), refused.Lane)
		switch {
		case err != nil:
			return nil, nil, p.unverified(err)
		case !again:
			p.reason = reasons[refused.Lane]
			return nil, nil, &ThrottledError{RetryAfter: wholeSeconds(refused.RetryAfter)}
		}
	}
}

// count asks the throttle, for as long as it may take to answer.
func (a *Auth) count(ctx context.Context, attempt throttle.Attempt) (*throttle.Ticket, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return a.throttle.Begin(ctx, attempt)
}

// reasons are the words of the log for the lanes of the throttle.
var reasons = map[string]string{"account": "account", "pair": "account", "source": "network", "device": "device"}

// judge says why a proof fails whose password is right or wrong.
func (a *Auth) judge(p *proof, ticket *throttle.Ticket, right bool) {
	switch {
	case p.reason != "":
	case ticket.Locked:
		p.reason = "locked"
	case p.user.Disabled:
		p.reason = "disabled"
	case right:
	case p.user.Password == "":
		p.reason = "no password"
	case a.hasher.Check(p.user.Password) != nil:
		p.reason = "unusable hash"
	default:
		p.reason = "password"
	}
}

// unverified is the error of a password that was not verified.
func (p *proof) unverified(err error) error {
	var busy *password.BusyError
	if errors.As(err, &busy) {
		p.reason = "busy"
		return busy
	}
	p.reason = "unavailable"
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return unavailable("verify password", err) // ctx has ended
}

// sourced is the request's context for a hash: clients wait for their turn with
// those of the same address.
func (a *Auth) sourced(r *http.Request) context.Context {
	return password.WithSource(r.Context(), a.m.ClientAddr(r))
}

// proofRefused logs why a proof was refused, under the event's name.
func (a *Auth) proofRefused(r *http.Request, name string, p *proof, err error) {
	ctx := r.Context()
	attrs := a.who(r, p)
	if name != event.LoginRefused {
		attrs = append(attrs, event.Session(a.m.FromContext(ctx).ID()))
	}
	level := slog.LevelWarn
	var throttled *ThrottledError
	switch {
	case errors.Is(err, ErrUnavailable), errors.Is(err, cloakroom.ErrUnavailable):
		level = outage(err)
	case errors.As(err, &throttled):
		name = event.Throttled
	}
	a.event(ctx, level, name, append(attrs, event.Reason(p.reason), cause(err))...)
}

// who is whom a line about a proof speaks of, and where they are.
func (a *Auth) who(r *http.Request, p *proof) []slog.Attr {
	attrs := []slog.Attr{event.User(p.name), event.Addr(a.m.ClientAddr(r))}
	if p.user.ID != "" {
		attrs = append(attrs, event.Text("account", p.user.ID))
	}
	return attrs
}

// newDevice logs a login from a browser that is not known to be the user's: what
// wrong passwords before it have led to may be somebody else's luck.
func (a *Auth) newDevice(r *http.Request, p *proof) {
	ctx := r.Context()
	level, attrs := slog.LevelInfo, []slog.Attr{event.User(p.user.ID), event.Addr(a.m.ClientAddr(r)), event.Session(a.m.FromContext(ctx).ID())}
	if p.failures > 0 {
		level, attrs = slog.LevelWarn, append(attrs, event.Reason("after failures"))
	}
	a.event(ctx, level, event.NewDevice, attrs...)
}

// cause is the attribute of an error that says more than its reason does.
func cause(err error) slog.Attr {
	var throttled *ThrottledError
	if errors.Is(err, ErrBadCredentials) || errors.As(err, &throttled) {
		return slog.Attr{}
	}
	return event.Err(err)
}
