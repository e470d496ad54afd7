package memcachestore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/store"
)

// Errors of this store, beside those of package store. Callers compare with
// errors.Is.
var (
	// ErrTooLarge says that a record is larger than the largest item of the
	// server, which memcached -I sets and which is 1 MiB by default, keys and
	// bookkeeping included. What was stored before is untouched.
	ErrTooLarge = errors.New("the record is larger than the server's largest item (memcached -I)")

	// ErrFull says that the server has no memory left and may not evict, as it
	// runs with -M. What was stored before is untouched.
	ErrFull = errors.New("the server is out of memory (memcached -M)")

	// ErrTooManySessions says that the list of a user's sessions has no room for
	// another one. All others can be used, listed and ended.
	ErrTooManySessions = errors.New("the user has too many sessions")
)

// errClosed says that Close has been called.
var errClosed = errors.New("store is closed")

// Options of a store. Nil and the zero value are fine.
type Options struct {
	// MaxConns is how many connections the store has to each server at most;
	// a call beyond them waits for one until its context ends. Zero is 32, the
	// most is 1024, which is what memcached itself takes from all its clients
	// together (memcached -c).
	MaxConns int

	// AllowPlaintext permits links without TLS to a server that is neither on a
	// loopback address nor behind a Unix socket: for a network that is encrypted
	// below, and for nothing else (ASVS 12.3.1).
	AllowPlaintext bool

	// Logger gets a line for each item that cannot be read. Nil means
	// slog.Default.
	Logger *slog.Logger
}

const (
	defaultMaxConns = 32
	maxConns        = 1024
)

// Store keeps sessions in one or several Memcached servers. Use [Open]. Its
// methods may be called by many goroutines at once, and many instances of a
// program may share the servers: all of them with the same list.
type Store struct {
	servers []*server
	prefix  string // of all keys, with the colon behind it
	log     *slog.Logger
}

var (
	_ store.UserStore   = (*Store)(nil)
	_ store.KeyRegistry = (*Store)(nil)
)

// Open returns the store behind a URL:
//
//	memcache://[user:password@]host[:port][,host2[:port2]…][/prefix]
//	memcaches://…                  the same over TLS
//	memcache:///prefix?socket=/run/memcached.sock
//
// The port is 11211 where none is given. Prefix stands before all keys, with a
// colon behind it, and is "cloakroom" where none is given; it is printable ASCII
// without a space and at most 204 bytes long. User and password are those of
// memcached -Y. A memcaches URL may give the files ca, cert and key (PEM) and the
// server-name that the certificate must have in its query. Whatever needs it is
// percent-encoded, an @ in any part of it.
//
// Every fault of the URL is told at once, and no password is in the error. Then
// each server must answer under ctx; one that does not fails the call.
func Open(ctx context.Context, url string, opts *Options) (*Store, error) {
	c, err := resolve(url, opts)
	if err != nil {
		return nil, err
	}
	s := &Store{prefix: c.prefix + ":", log: c.log}
	for _, addr := range c.addrs {
		s.servers = append(s.servers, newServer(addr, c.dialer(addr), c.conns))
	}
	for _, srv := range s.servers {
		if err := srv.probe(ctx, s.prefix+"k:probe"); err != nil {
			s.Close()
			return nil, fmt.Errorf("memcachestore: connect to %s: %w", srv.name, err)
		}
	}
	return s, nil
}

// CheckURL returns what Open would refuse of a URL and options before it
// connects, for a program that lists all faults of its configuration at once; and,
// for one that has rules of its own about it, how the servers are reached.
func CheckURL(url string, opts *Options) (link.Login, error) {
	c, err := resolve(url, opts)
	if err != nil {
		return link.Login{}, err
	}
	return c.login(), nil
}

// Close ends the calls that are under way, with an error, and closes all
// connections. It returns nil, when they have gone. Every later call fails.
func (s *Store) Close() error {
	for _, srv := range s.servers {
		srv.close()
	}
	return nil
}

// The keys. Between the last two colons stands what a key is for, and behind the
// last is no colon: so the keys of two prefixes never meet, whatever these are.

// sessionKey returns the key of a session: 46 bytes behind the prefix.
func (s *Store) sessionKey(id store.ID) string { return s.prefix + "s:" + id.String() }

// userKey returns the key of the list of a user's sessions. A UserID may hold
// what a key may not, so the key has its hash; the item has the name.
func (s *Store) userKey(userID string) string {
	sum := sha256.Sum256([]byte(userID))
	return s.prefix + "u:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// registryKey returns the key of the ids of keys.
func (s *Store) registryKey() string { return s.prefix + "k:keys" }

// server returns the server that keeps a key: the one whose name gives the
// highest value together with the key (rendezvous hashing; Thaler and
// Ravishankar 1998). The order of the servers does not matter, and a server that
// comes or goes moves no key between the others.
func (s *Store) server(key string) *server {
	best := s.servers[0]
	if len(s.servers) == 1 {
		return best
	}
	var most uint64
	for _, srv := range s.servers {
		h := fnv.New64a()
		h.Write([]byte(srv.name))
		h.Write([]byte{0})
		h.Write([]byte(key))
		// FNV hardly mixes what comes last into its upper bits.
		v := h.Sum64()
		v ^= v >> 33
		v *= 0xff51afd7ed558ccd
		v ^= v >> 33
		v *= 0xc4ceb9fe1a85ec53
		v ^= v >> 33
		if v > most {
			best, most = srv, v
		}
	}
	return best
}
