// Package keys keeps the keys of the service: a [Keeper] in each instance follows
// their source, and a [Rotator] takes the steps of a rotation, for the commands and for
// the one instance that rotates by itself.
//
// A step is over once every live instance has followed it. How long that takes:
//
//   - A file: at most 2 s. Every instance looks at it each second, and believes what it
//     finds once that has stayed the same for a tenth of a second, or for a quarter where
//     keys are missing.
//   - A manager: at most 2 s and the time of two of its answers, as long as the
//     database of the accounts answers. Whoever changes keys there with a command raises
//     a number for which each instance asks once a second. What is changed in the
//     manager itself, or while that database is away, is found at the next look in turn:
//     a minute later, unless keys-interval says otherwise.
//   - An environment variable: with a restart.
//
// While a source does not answer, or has none of the keys in hand, an instance goes on
// with those, and asks again after 1, 2, 4, … seconds up to its interval.
//
// An instance that the database does not show, because it cannot reach it or is stopped
// in its tracks, cannot be seen to follow. It is given time: where one has fallen silent
// within the hour, a command makes a key active only two intervals later; and the
// rotation that the service does by itself always waits for so long, and for a minute.
// So such an instance has followed too, unless it cannot reach the source either.
//
// A key that leaked is retired in the same time; where it was the active one, its
// successor is given up to 5 s more to become known.
package keys
