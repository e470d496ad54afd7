// Package throttle is the budget of failed attempts to sign in: how many guesses
// somebody gets, and how long the next one has to wait (ASVS 6.1.1, 6.3.1; NIST
// SP 800-63B-4 §3.2.2).
//
//	t, err := throttle.New(nil, nil)
//	…
//	ticket, err := t.Begin(ctx, throttle.Attempt{Account: user.ID, Source: addr})
//	if refused, ok := errors.AsType[*throttle.RefusedError](err); ok {
//		// 429, Retry-After: refused.RetryAfter. Nothing is verified.
//	} else if err != nil {
//		// 503: the store is away. Nothing is verified.
//	}
//	if verify(password) && !ticket.Locked {
//		err = t.Succeed(ctx, ticket)
//	}
//
// # The lanes
//
// An attempt goes through several lanes, each with a counter of its own. It is
// refused if any of them refuses, and counted in all of them or in none.
//
//	lane     counts                           free  then                    locks at
//	account  the account, from everywhere,    5     30 s, doubling to 1 h   100 in a row
//	         on devices that are not known
//	pair     the account from one source      5     the same                never
//	source   one source, whatever the         100   the same                never
//	         account
//	device   one known device of the account, 5     the same                100 in a row
//	         in place of the three above
//
// The account's lane is what bounds guessing, wherever it comes from. It is also
// what an attacker can keep full, and so keep the owner waiting: therefore a
// device on which the owner has signed in before has a lane of its own, and
// nothing that is done elsewhere holds it up, neither delay nor lock (ASVS 6.1.1).
// A guess costs its owner no more there, for who holds the device has 5 attempts
// and the same delays. A failure on a known device still counts as one of the
// account's 100.
//
// A success clears the account's lane and that pair, or that device and the
// account's failures in a row, but no other pair: else the network of an attacker
// had five new guesses each time that the owner signs in from elsewhere. The
// source gets back what this attempt took, and no more: else somebody with an
// account of his own had new guesses at all others with each login.
//
// The source's lane bounds the guessing of one password at many accounts. A source
// is an IPv4 address or the /64 of an IPv6 address; the address has to be one that
// the client cannot choose.
//
// Delays are forgotten 24 hours after the last failure. The failures in a row are
// not: only a success or an unlock ends them, or 30 days without any, as long as
// they are fewer than 100. A lock ends by [Throttle.Unlock] alone.
//
// # Attempts at the same moment
//
// An attempt is counted as a failure before anything is verified, and given back
// when it was none. So 200 guesses at the same moment, on however many instances
// that share a store, are 5 verifications and 195 refusals. Right passwords at the
// same moment are no different until they are verified: of six logins of one
// account at once the sixth is refused, with the delay that five failures would
// bring. That delay is gone as soon as one of the five has succeeded, and when the
// last of them has, nothing is left of any. Who calls Begin may therefore let the
// sixth wait for those that it knows to be under way, and call it again: package auth
// does, within one process.
//
// An attempt that is never settled, since the process died, stays counted.
//
// # Clocks
//
// Instances that share a store should agree on the time: a delay is shorter by as
// much as the clock of the one that is asked is ahead of the one that wrote it. It
// is never longer than the table says from the first refusal on, though a clock
// has been set back, and the counts do not depend on the time at all.
package throttle
