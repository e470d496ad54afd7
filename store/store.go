// Package store says what a session store keeps: bytes and times, under the
// hash of a token.
//
// A program chooses a store and hands it to cloakroom.New: memstore for one
// process, sqlstore/sqlite for one machine, sqlstore/postgres, sqlstore/mariadb,
// redisstore or memcachestore for many. Whoever writes a store of their own
// implements [Store], better [UserStore] and [Sweeper] as well, and proves it
// with one call of storetest.Run.
//
// A store has no opinion. It does not judge whether a session has expired, it
// reads a clock only to refuse a sweep whose clock is wrong and to forget by
// itself what is long past, and it cannot read what it keeps: the values are
// sealed, and the key is half in the browser's cookie. What it owes is atomicity:
// [Store.Put] is a compare-and-set, and a session that has ended stays ended.
package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

// The errors of a store's contract. A store may wrap them; callers compare with
// errors.Is. Every other error means that the store could not answer, and
// nothing about the session.
var (
	// ErrNotFound says that nothing is known under the ID.
	ErrNotFound = errors.New("store: session not found")

	// ErrEnded says that the session has ended and must never live again. It is
	// also the answer where something stands that cannot be read, as garbage that
	// another program has written: an error for ever would lock the visitor out,
	// and a session that is missing could be created.
	ErrEnded = errors.New("store: session has ended")

	// ErrConflict says that the stored version is another one.
	ErrConflict = errors.New("store: session was changed by another request")

	// ErrNotAsked says that a store was not asked, since it has stopped answering:
	// see package breaker. Nothing of the call has reached it. It is for callers
	// that would otherwise tell of an outage once for each request.
	ErrNotAsked = errors.New("store: not asked, as it has stopped answering")

	// ErrImmutable says that a Put would have changed what is fixed at create:
	// UserID, Created or Deadline. It is a fault of the caller.
	ErrImmutable = errors.New("store: user, created and deadline of a session are fixed")
)

// Bounds that every store keeps and storetest.Run checks.
const (
	// MaxUserID is the longest UserID in bytes.
	MaxUserID = 255

	// MaxData is the size in bytes up to which a store takes Data. A store may
	// take more; one that takes less says so in its package comment and answers
	// with an error.
	MaxData = 1 << 20

	// Slack is how long after Expires, and after the end of a tombstone's time,
	// a store keeps what it has at least, and how far the clock of a sweep may
	// be off before the sweep is refused.
	Slack = 5 * time.Minute
)

// ID names a session: the SHA-256 of its token. It is not secret as a token is,
// since nobody can compute the token from it; but it is shown to nobody either:
// see [ID.Handle].
type ID [sha256.Size]byte

// String returns the ID in base64url without padding, 43 characters.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// IsZero reports whether id is the zero ID, which no session has.
func (id ID) IsZero() bool { return id == ID{} }

// Handle returns the name under which people and log lines see the session: 16
// characters of base64url, a hash of the ID from which the ID does not follow.
// Lists, URLs and logs carry the same one, so that they can be matched.
func (id ID) Handle() string {
	h := sha256.New()
	h.Write([]byte("cloakroom session handle"))
	h.Write(id[:])
	var sum [sha256.Size]byte
	return base64.RawURLEncoding.EncodeToString(h.Sum(sum[:0])[:12])
}

// ParseID reads what String wrote, and nothing else.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 43 {
		return ID{}, fmt.Errorf("store: %d characters are no session ID, it has 43", len(s))
	}
	if n, err := base64.RawURLEncoding.Strict().Decode(id[:], []byte(s)); err != nil || n != len(id) {
		return ID{}, errors.New("store: not a session ID")
	}
	return id, nil
}

// Reason says why a session ended.
type Reason uint8

// The reasons. Their numbers are stored: they never change.
const (
	NotEnded Reason = iota // a live record
	Logout                 // its own visitor ended it
	Renewed                // it goes on under another token
	Revoked                // ended from another session, by an administrator, or by an end of all
	Excess                 // its user had too many sessions
)

// String returns the reason as log lines write it.
func (r Reason) String() string {
	switch r {
	case NotEnded:
		return "not ended"
	case Logout:
		return "logout"
	case Renewed:
		return "renewed"
	case Revoked:
		return "revoked"
	case Excess:
		return "excess"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Ended is what a tombstone keeps. The zero value belongs to a live record.
// Nothing in it leads to the session that follows a renewed one.
type Ended struct {
	Reason Reason
	At     time.Time // whole milliseconds, UTC
}

// Record is a session as a store sees it.
//
// All times are whole milliseconds in UTC: a store may keep less than a
// nanosecond, and the times are bound into the seal of Data.
//
// The slices belong to the store as soon as Put has been called, and to
// everybody once Get has returned them: nobody changes their bytes.
type Record struct {
	ID       ID
	Version  uint64    // 0 until stored; every Put adds one
	UserID   string    // "" before login; opaque, immutable, at most MaxUserID bytes
	Created  time.Time // immutable
	Seen     time.Time // last activity; moves forward only
	Expires  time.Time // end of the idle time; moves forward only, never past Deadline
	Deadline time.Time // immutable
	Info     []byte    // sealed: device, address, method; what a device list shows
	Data     []byte    // sealed: the values
	Ended    Ended     // of a tombstone: reason and time. All other fields but ID may then be empty
}

// Store keeps sessions. Its methods may be called by many goroutines at once,
// and many instances of a program may share what is behind it. Each method is
// atomic, heeds ctx, and does not resend by itself what may have been applied.
type Store interface {
	// Get returns the record under id, whatever its times say. It returns
	// ErrNotFound where nothing is known, and for a tombstone a Record with ID
	// and Ended beside ErrEnded.
	Get(ctx context.Context, id ID) (Record, error)

	// Put stores r if the stored version is r.Version; then the stored version
	// is r.Version+1. Version 0 creates, and finds nothing there; every other
	// updates, and finds its record. It never creates where it should update:
	//
	//	stored       r.Version = 0   r.Version > 0
	//	nothing      created         ErrNotFound
	//	live         ErrConflict     updated, or ErrConflict if the versions differ
	//	a tombstone  ErrEnded        ErrEnded
	//
	// An update with another UserID, Created or Deadline returns ErrImmutable.
	// Seen and Expires of an update move forward only: an earlier time than the
	// stored one leaves the stored one. Ended of r is ignored.
	Put(ctx context.Context, r Record) error

	// Touch moves Seen and Expires of a live record forward, Expires at most to
	// Deadline. An earlier time than the stored one leaves the stored one. It
	// changes neither version nor bytes. It returns ErrNotFound or ErrEnded.
	Touch(ctx context.Context, id ID, seen, expires time.Time) error

	// End makes a tombstone of the session: of the one with this version, or
	// with version 0 of any. The tombstone keeps why, and lives until the later
	// of until and the record's Deadline. Exactly one caller gets nil; others
	// get ErrEnded. Another version returns ErrConflict and changes nothing. An
	// unknown id returns ErrNotFound, and leaves a tombstone all the same, so
	// that a create which is still on its way finds it.
	End(ctx context.Context, id ID, version uint64, why Ended, until time.Time) error
}

// UserStore is a Store that finds a user's sessions, in time that grows with
// their number and not with the store's.
type UserStore interface {
	Store

	// ListUser returns the live records of a user in no particular order,
	// expired ones that are still kept among them. Data may be nil. It is no
	// snapshot: each record is as it was at some moment of the call. A userID of
	// "" is no user: it has no records.
	ListUser(ctx context.Context, userID string) ([]Record, error)

	// EndUser ends the live sessions of a user, but not the one with the ID
	// except, and returns how many it ended. Whatever was created before the
	// call began is ended when it returns without an error. The tombstones are
	// those of End. A userID of "" is no user: it returns 0.
	EndUser(ctx context.Context, userID string, except ID, why Ended, until time.Time) (int, error)
}

// Sweeper is a Store that does not forget by itself.
type Sweeper interface {
	// Sweep forgets what may be forgotten at the time now: live records more
	// than Slack after Expires, tombstones more than Slack after the end of
	// their time. It returns how many. If now differs from the store's own clock
	// by more than Slack, it forgets nothing and returns an error: a wrong clock
	// would end every session at once.
	Sweep(ctx context.Context, now time.Time) (int, error)
}

// Scanner is a Store that can be walked, for moving and counting.
type Scanner interface {
	// Scan returns up to n live records with an ID behind after, in the order of
	// their IDs; fewer than n say that there are no more. The zero ID starts.
	Scan(ctx context.Context, after ID, n int) ([]Record, error)
}

// KnownKey is a key of a key ring that has been used with a store: its id, never
// the key.
type KnownKey struct {
	ID       string    // as it was remembered, 1 to 32 bytes
	LastUsed time.Time // whole milliseconds, UTC
}

// KeyRegistry is a Store that remembers the ids of the keys its sessions were
// signed with. An instance whose key ring lacks the one used last has lost its
// keys, or was given others than its siblings: to go on would sign everybody
// out, in silence.
type KeyRegistry interface {
	// KnownKeys returns the keys that were remembered, the one used last first.
	KnownKeys(ctx context.Context) ([]KnownKey, error)

	// RememberKey notes that the key with this id, of 1 to 32 bytes, is used at
	// the time now. A later time that is noted already stays.
	RememberKey(ctx context.Context, id string, now time.Time) error

	// ForgetKeys forgets all of them.
	ForgetKeys(ctx context.Context) error
}
