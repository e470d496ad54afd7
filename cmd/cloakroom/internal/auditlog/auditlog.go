// Package auditlog keeps the events of authentication and administration in the
// database of the accounts, where they can be searched and cannot be changed
// unnoticed.
//
//	log, err := auditlog.Open(ctx, db, keys)
//	if err != nil {
//		return err
//	}
//	defer log.Close()
//	logger = audit.Tee(logger, log.Handler)
//
// From then on whatever is written to logger by one of the names in package event
// that belong here becomes an [Entry] as well as a line; see kinds.go for which do.
//
// # Chain
//
// Each entry carries a hash of itself and of the hash before it, and a tag: the
// HMAC of that hash under a key of the ring. So who can write to the database and
// has no key can neither change, insert, remove nor reorder entries without
// [Log.Verify] telling where. That hash and tag are two things has a reason: an entry is
// covered by the tag of every later one, so that old entries stay bound when the
// key of their time is long gone, and the place of a change is found by the hash
// even where no key is at hand.
//
// To remove the newest entries cannot be seen from the inside. Verify therefore
// returns the head, number and hash of the newest entry, to be noted elsewhere and
// checked later; and a running Log that finds the head behind what it has
// written itself says so, in the log and in the chain.
//
// A key is exchanged before entries are: those of its time stay. Verify takes an entry of a
// key that is gone for genuine if a later one is signed by a key at hand, since
// whoever writes an entry behind one of somebody else's first looks whether that is signed by a
// key at hand, and if not says so in the chain, for Verify to find ([Report.Strange]). So what
// was added at the end without a key cannot pass for old once it is covered. This
// needs the old key to be retiring when the first entry under the new one is
// written, as every exchange of keys that lets sessions live has it.
//
// A key that leaked is taken away from one moment to the next. [Log.Retired] then
// verifies what was noted meanwhile, with the last ring that holds the key, and vouches for
// all of before in an entry under the next key; what the leaked key signs behind that entry
// is nobody's ([Report.Retired]). What it signed before is whoever's had it.
//
// Without keys entries have no tag; Verify counts them apart, and they are never taken for
// genuine.
//
// Any number of processes append to one chain: the row of the head is locked first,
// so that numbers have no gaps and no two entries follow the same one.
//
// # Writing
//
// One goroutine writes what has gathered, all in one transaction. Whoever reports a
// login, a logout, a change of password or an act of administration waits until
// that is kept, at most a quarter of a second, so that what was answered stands in
// the log. Nobody waits for what an attacker can cause at will, and of such events no
// more are kept one by one than
//
//   - 30 a minute and 100 an hour of one kind and source;
//   - 240 a minute, 2000 an hour and 10,000 a day of one kind from everywhere;
//   - behind these, 30 a minute and 60 an hour of one kind about one account, together 240 a
//     minute, 1000 an hour and 5000 a day: noise that names nobody hides no attack.
//
// The rest is counted, by source as far as there are few, and a sum says how many events
// it stands for, of how many accounts and, where it is of several, sources. A sum is
// written when the minute is over, and counts as an entry; where an hour or a day is
// full, it is written when the hour is over, and of these there are at most 17 of a kind. So
// a flood neither fills the disk nor slows the honest (ASVS 16.3.3): in a day, one address
// causes at most some 2400 entries of a kind that names no account, and all together some
// 10,400 of any of the 15 kinds, with accounts 15,400, of some 350 bytes each. What takes a
// password, such as to sign in, is not bounded here. The counts are those of one process,
// and begin anew with it.
//
// While the database is away, entries wait in memory, up to 4096, and nobody waits
// for them: sign-ins go on as far as they can without the database (ASVS 16.4.3). What
// does not fit is counted, in the log and, once the database is back, in the chain.
// What was in memory when the process was killed stands in the log alone.
package auditlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// Entry is one event, or several of one kind of which only the number was kept. All
// texts are printable ASCII; what was something else in the event is a quoted Go string.
type Entry struct {
	Seq        int64             `json:"seq"`  // its number, from 1 on without gaps
	Time       time.Time         `json:"time"` // when it happened: whole milliseconds, UTC
	Kind       string            `json:"kind"` // a name of package event
	Suspicious bool              `json:"suspicious,omitempty"`
	User       string            `json:"user,omitempty"`    // who it is about: an ID or, of refused logins, the name as typed
	Account    string            `json:"account,omitempty"` // the ID of the account that such a name has
	Actor      string            `json:"actor,omitempty"`   // who did it: an ID, or "console"
	Name       string            `json:"name,omitempty"`    // of a user, where the event tells it
	Addr       string            `json:"addr,omitempty"`    // where it came from
	Session    string            `json:"session,omitempty"` // a session's handle
	Request    string            `json:"request,omitempty"` // the request's id
	Reason     string            `json:"reason,omitempty"`
	Count      int               `json:"count"`             // how many events it stands for: 1, or what a flood was cut to
	Details    map[string]string `json:"details,omitempty"` // the other attributes of the event
}

// More is what the entry says for people beside who, what, when and where. It holds what
// came from outside.
func (e Entry) More() string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+" "+value)
		}
	}
	if e.Count > 1 {
		add(strconv.Itoa(e.Count), "times")
	}
	add("reason:", e.Reason)
	add("name:", e.Name)
	add("session:", e.Session)
	for _, name := range slices.Sorted(maps.Keys(e.Details)) {
		add(name+":", e.Details[name])
	}
	return strings.Join(parts, ", ")
}

// Bounds of the queue and of waiting.
const (
	maxQueue  = 4096                   // entries in memory
	maxFloods = maxQueue * 3 / 4       // from here on only those that somebody waits for
	maxBatch  = 256                    // entries in one transaction
	patience  = 250 * time.Millisecond // of whoever waits for an entry
	attempt   = 5 * time.Second        // of one transaction
	farewell  = 5 * time.Second        // of Close
	backoff   = 5 * time.Second        // the longest pause between attempts
)

// Log is an audit log. Use [Open], and Close it.
type Log struct {
	db    sqlstore.DB
	sql   statements
	chain chain

	mu      sync.Mutex
	queue   []*item
	room    int           // entries of a batch that is under way: they count against the bound
	flood   flood         // on mu
	marks   marks         // on mu
	lost    int           // entries that found no room
	down    bool          // the last attempt failed: nobody waits
	closed  bool          // no more entries
	stopped chan struct{} // closed by the writer at its end; nil before its beginning
	next    slog.Handler  // where failures go; never through the Log itself

	wake    chan struct{} // of room 1: there is something in the queue
	closing chan struct{} // closed by Close

	known  head // the writer's: the newest entry it has seen
	signed head // the writer's: the newest entry it has written
}

// item is an entry on its way. One without a kind is a caller's sign that
// everything before it has been kept.
type item struct {
	entry Entry
	once  sync.Once
	told  chan struct{} // closed once it is kept, or waiting has become idle
	err   error         // set before told is closed
}

func (i *item) tell(err error) {
	i.once.Do(func() { i.err = err; close(i.told) })
}

// Open opens the audit log in the database and makes its tables where they are
// missing. keys sign its entries; nil leaves them unsigned. It starts no goroutine
// before there is something to write.
func Open(ctx context.Context, db sqlstore.DB, keys *keyring.Ring) (*Log, error) {
	if err := schema(db.Dialect()).Apply(ctx, db); err != nil {
		return nil, fmt.Errorf("auditlog: %w", err)
	}
	l := &Log{
		db: db, sql: newStatements(db.Dialect()), chain: newChain(keys),
		wake: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	var err error
	l.known, err = l.readHead(ctx, db.Reader())
	// A head that is missing must neither keep a service from its start nor Verify from telling
	// so; what is to be kept fails.
	if err != nil && !errors.Is(err, errNoHead) {
		return nil, fmt.Errorf("auditlog: read the head: %w", err)
	}
	return l, nil
}

// Signs tells whether there are keys to sign entries with.
func (l *Log) Signs() bool { return l.chain.ring != nil }

// Close keeps what is in the queue, for which it takes five seconds at most, and
// ends. What is reported afterwards stands in the log alone.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.closing)
	stopped := l.stopped
	l.mu.Unlock()
	if stopped == nil {
		return nil
	}
	<-stopped
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.queue); n > 0 {
		return fmt.Errorf("auditlog: close: %d entries could not be kept", n)
	}
	return nil
}

// errClosed is what became of an entry that came after Close.
var errClosed = errors.New("auditlog: closed")

// add takes an entry. The item tells its caller; nil where nothing will be told.
func (l *Log) add(e Entry, now time.Time) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Suspicious = l.marks.suspicious(e, now)
	if l.closed {
		l.fail("add", 1, errClosed)
		return nil
	}
	class := kinds[e.Kind]
	if l.flood.over(now) {
		l.roll(now)
	}
	if class == flooding && !l.flood.admit(e, now) {
		l.begin() // it writes the sum when its time has come
		return nil
	}
	i := &item{entry: e, told: make(chan struct{})}
	if !l.push(i, class == flooding) || l.down || class != awaited {
		return nil
	}
	return i
}

// push puts an item into the queue, if there is room. l.mu is held.
func (l *Log) push(i *item, flooding bool) bool {
	n := len(l.queue) + l.room
	if n >= maxQueue || flooding && n >= maxFloods {
		if l.lost++; l.lost == 1 {
			l.fail("add", 1, errors.New("auditlog: the queue is full"))
		}
		return false
	}
	l.queue = append(l.queue, i)
	l.begin()
	return true
}

// begin starts the writer, or wakes it. l.mu is held.
func (l *Log) begin() {
	if l.stopped == nil {
		l.stopped = make(chan struct{})
		go l.write()
	}
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}

// roll puts the sums that are due into the queue, at the end all. l.mu is held.
func (l *Log) roll(now time.Time) {
	for _, e := range l.flood.sums(now, l.closed) {
		e.Suspicious = always(e)
		l.push(&item{entry: e, told: make(chan struct{})}, false)
	}
}

// Flush waits until everything that was reported before is kept.
func (l *Log) Flush(ctx context.Context) error {
	i := &item{told: make(chan struct{})}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errClosed
	}
	l.queue = append(l.queue, i)
	l.begin()
	l.mu.Unlock()
	select {
	case <-i.told:
		return i.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fail writes the line of an entry that could not be kept, past the Log itself.
// l.mu is held.
func (l *Log) fail(op string, n int, err error) {
	next := l.next
	if next == nil {
		next = slog.Default().Handler()
	}
	event.Log(context.Background(), slog.New(next), slog.LevelError, event.AuditFailed,
		slog.String("op", op), slog.Int("count", n), event.Err(err))
}
