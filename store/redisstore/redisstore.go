package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/store"
)

// DefaultPrefix is the default of [Options.Prefix].
const DefaultPrefix = "cloakroom:"

// maxConns bounds Options.MaxConns: each one is served in turn by a server that
// does one thing at a time.
const maxConns = 64

// Options of a store. Nil and the zero value are fine.
type Options struct {
	// Prefix begins the name of every key; empty means [DefaultPrefix]. Programs
	// that share a server and not their sessions differ in it. At most 64 bytes,
	// none of them a brace: it would choose the slot in a cluster.
	Prefix string

	// MaxConns is how many connections [Open] makes, at most 64; zero means 1,
	// which carries all calls behind one another and is fastest unless sessions
	// are large. 512 calls are under way on each at once, and a call beyond that
	// waits as long as its context lasts. [New] does not use it.
	MaxConns int

	// AllowPlaintext lets Open talk to another host without TLS: sessions, and
	// the password of the server, can be read and changed on the way there.
	AllowPlaintext bool

	// Logger gets a line for every stored value that cannot be read: garbage, or
	// the format of a later version. Nil means slog.Default.
	Logger *slog.Logger
}

// unreadableError says that under a session's key there is something that is not
// a session: garbage, a value of another type, or the format of a later version.
// It is a [store.ErrEnded], so that the visitor signs in anew rather than being
// refused for ever, and so that nothing brings the session back: an End replaces
// the value with a tombstone, and no method stores a session over it.
type unreadableError struct {
	id  store.ID
	err error
}

// Error names the session by its handle.
func (e *unreadableError) Error() string {
	return "redisstore: session " + e.id.Handle() + " cannot be read: " + e.err.Error()
}

// Unwrap returns [store.ErrEnded] and what was wrong.
func (e *unreadableError) Unwrap() []error { return []error{store.ErrEnded, e.err} }

// Store keeps sessions in Redis or Valkey. Use [Open] or [New]. Its methods may be
// called by many goroutines at once, and many Stores may share a server.
type Store struct {
	conns  []*conn
	prefix string
	log    *slog.Logger

	own bool // the clients are the Store's to close
}

var (
	_ store.UserStore   = (*Store)(nil)
	_ store.KeyRegistry = (*Store)(nil)
)

// New returns a Store that uses a client of the program's own. The client must be
// of a single server, not of a cluster, and it must not send again by itself what
// may have been applied: rueidis repeats read-only commands alone, and no write
// unless its option ConnLifetime is set, so leave that at zero. DisableRetry is
// best set as well: otherwise a read during an outage is asked again until its
// context ends, rather than failing at once. AlwaysPipelining is what makes every
// call heed its context, and not only its deadline.
func New(client rueidis.Client, opts *Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("redisstore: New needs a client")
	}
	if client.Mode() == rueidis.ClientModeCluster {
		return nil, errors.New("redisstore: New needs a client of one server: sessions and indexes are in different slots of a cluster")
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	if err := link.Join(o.faults()); err != nil {
		return nil, fmt.Errorf("redisstore: %w", err)
	}
	s := newStore(&o)
	s.conns = []*conn{newConn(client)}
	return s, nil
}

// newStore returns a Store without a connection.
func newStore(o *Options) *Store {
	log := o.Logger
	if log == nil {
		log = slog.Default()
	}
	return &Store{prefix: cmp.Or(o.Prefix, DefaultPrefix), log: log}
}

// Close ends the connections that Open made, after the calls under way, and
// returns nil. Of a Store from New it leaves the client open. Calls after it fail.
func (s *Store) Close() error {
	for _, c := range s.conns {
		c.close(s.own)
	}
	return nil
}

// conn returns the connection that all calls about a session take: so they are
// applied in the order in which they were made.
func (s *Store) conn(id *store.ID) *conn { return s.conns[int(id[31])%len(s.conns)] }

// recordKey names the key of a session, indexKey that of a user's sessions.
func (s *Store) recordKey(id store.ID) string { return s.prefix + "s:" + id.String() }
func (s *Store) indexKey(user string) string  { return s.prefix + "u:" + user }
func (s *Store) registryKey() string          { return s.prefix + "keys" }

// unreadable logs that what stands under a session's key cannot be read, and
// returns the error that says so.
func (s *Store) unreadable(ctx context.Context, id store.ID, why error) error {
	err := &unreadableError{id: id, err: why}
	s.log.LogAttrs(ctx, slog.LevelError, "record_unreadable",
		slog.String("session", id.Handle()), slog.String("err", err.Error()))
	return err
}

// run runs a script. A server that does not know it has run nothing, so that it
// may be asked again with the text.
func run(ctx context.Context, c *conn, sc *script, keys, args []string) (rueidis.RedisMessage, error) {
	cmd := c.client.B().Evalsha().Sha1(sc.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
	m, err := c.do(ctx, cmd)
	if e, ok := rueidis.IsRedisErr(err); ok && e.IsNoScript() {
		cmd = c.client.B().Eval().Script(sc.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
		m, err = c.do(ctx, cmd)
	}
	return m, err
}

// write runs a script about one session and turns its answer into an error.
func (s *Store) write(ctx context.Context, id store.ID, what string, sc *script, keys, args []string) error {
	m, err := run(ctx, s.conn(&id), sc, keys, args)
	if isWrongType(err) {
		return s.unreadable(ctx, id, errFormat)
	}
	if err != nil {
		return fmt.Errorf("redisstore: %s: %w", what, err)
	}
	answer, err := m.AsInt64()
	if err != nil {
		return fmt.Errorf("redisstore: %s: answer of the server: %w", what, err)
	}
	switch answer {
	case answerDone:
		return nil
	case answerNotFound:
		return store.ErrNotFound
	case answerEnded:
		return store.ErrEnded
	case answerConflict:
		return store.ErrConflict
	case answerImmutable:
		return store.ErrImmutable
	case answerUnreadable:
		return s.unreadable(ctx, id, errFormat)
	}
	return fmt.Errorf("redisstore: %s: the server answers %d", what, answer)
}

// Get returns the record under id; see [store.Store].
func (s *Store) Get(ctx context.Context, id store.ID) (store.Record, error) {
	c := s.conn(&id)
	m, err := c.do(ctx, c.client.B().Get().Key(s.recordKey(id)).Build())
	var b []byte
	if err == nil {
		b, err = m.AsBytes()
	}
	if err != nil {
		return store.Record{}, s.getError(ctx, id, err)
	}
	r, err := decode(id, b)
	if err == errFormat { // decode does not wrap it
		err = s.unreadable(ctx, id, err)
	}
	return r, err
}

// isWrongType reports whether an error says that a key holds a value of another type.
func isWrongType(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(e.Error(), "WRONGTYPE")
}

// getError says what the error of a GET means.
func (s *Store) getError(ctx context.Context, id store.ID, err error) error {
	if rueidis.IsRedisNil(err) {
		return store.ErrNotFound
	}
	if isWrongType(err) {
		return s.unreadable(ctx, id, errFormat)
	}
	return fmt.Errorf("redisstore: get: %w", err)
}

// Put stores r if the stored version is r.Version; see [store.Store].
func (s *Store) Put(ctx context.Context, r store.Record) error {
	value, err := encode(&r)
	if err != nil {
		return fmt.Errorf("redisstore: put: %w", err)
	}
	expires := r.Expires
	if expires.After(r.Deadline) {
		expires = r.Deadline
	}
	keys := append(make([]string, 0, 2), s.recordKey(r.ID))
	if r.UserID != "" {
		keys = append(keys, s.indexKey(rueidis.BinaryString(value[offIndex:][:lenIndex])))
	}
	if r.Version > 0 {
		old := appendUint(append(make([]byte, 0, offSeen), kindRecord...), r.Version, lenVersion)
		immutable := value[offCreated : lenHeader+len(r.UserID)]
		return s.write(ctx, r.ID, "put", updateScript, keys, []string{
			rueidis.BinaryString(old), rueidis.BinaryString(immutable), rueidis.BinaryString(value), keep(expires),
		})
	}
	args := append(make([]string, 0, 4), rueidis.BinaryString(value), keep(expires))
	if r.UserID != "" {
		args = append(args, keep(r.Deadline), r.ID.String())
	}
	return s.write(ctx, r.ID, "put", createScript, keys, args)
}

// Touch moves Seen and Expires forward; see [store.Store].
func (s *Store) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	at, err1 := text(seen)
	until, err2 := text(expires)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("redisstore: touch: %w", err)
	}
	return s.write(ctx, id, "touch", touchScript, []string{s.recordKey(id)}, []string{at, until})
}

// End makes a tombstone of the session; see [store.Store]. It works on a server
// that is out of memory too.
func (s *Store) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	tomb, err1 := tombstone(why)
	last, err2 := text(until)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("redisstore: end: %w", err)
	}
	var of string
	if version > 0 {
		of = string(appendUint(nil, version, lenVersion))
	}
	return s.write(ctx, id, "end", endScript, []string{s.recordKey(id)}, []string{of, tomb, last})
}
