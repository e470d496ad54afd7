package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/store"
)

// The checks of places, by what they need.
var (
	reachChecks   = []string{"database-reachable", "latency"}
	sqlChecks     = []string{"database-missing", "clock", "durability", "replica", "schema", "rights"}
	sessionChecks = append([]string{"sweep"}, sizeChecks...)
	accountChecks = []string{"no-admin", "one-admin", "pepper-plain", "pepper-key", "fleet-keys", "fleet-failing", "fleet-version", "fleet-url"}
	redisChecks   = []string{"clock", "durability", "replica", "failover", "eviction", "memory-full"}
	cacheChecks   = []string{"durability", "eviction", "memory-full", "item-size"}
)

// target is a place, and what is kept there.
type target struct {
	place              config.Place
	settings           string // that name it
	accounts, sessions bool
	registry           bool // of the keys in use
	checks             []string
}

// name is how findings call the place.
func (t *target) name() string { return t.settings + " (" + t.place.String() + ")" }

// placeParts are the parts of the places of accounts and sessions, which are one part
// if they are one place.
func (e *examination) placeParts() []part {
	c := e.cfg
	users := &target{place: c.Users, settings: "users", accounts: true}
	sessions := &target{place: c.Store, settings: "store", sessions: true, registry: true}
	list := []*target{users, sessions}
	switch {
	case c.Store.Scheme == config.Memory:
		list = list[:1]
	case c.Store.Scheme == config.Sealed: // what has ended is kept with the accounts
		users.registry, list = true, list[:1]
	case c.Store.Scheme == config.Memcache: // it may forget the keys with everything else
		users.registry, sessions.registry = true, false
	case c.Store.Same(c.Users):
		users.settings, users.sessions, users.registry, list = "store and users", true, true, list[:1]
	}
	var parts []part
	for _, t := range list {
		run := e.database
		t.checks = slices.Concat(reachChecks, sqlChecks)
		switch t.place.Scheme {
		case config.Redis:
			run, t.checks = e.redis, slices.Concat(reachChecks, redisChecks, sizeChecks)
		case config.Memcache:
			run, t.checks = e.memcached, slices.Concat(reachChecks, cacheChecks, sizeChecks)
		default:
			if t.sessions {
				t.checks = append(t.checks, sessionChecks...)
			}
		}
		if t.accounts {
			t.checks = append(t.checks, accountChecks...)
		}
		if t.registry {
			t.checks = append(t.checks, "key-registry")
		}
		parts = append(parts, part{t.checks, func(ctx context.Context, l *notes) {
			for setting := range strings.SplitSeq(t.settings, " and ") {
				if e.Settings.Bad[setting] || e.Settings.Bad[setting+"-file"] {
					l.skip("the setting "+setting+" cannot be read", t.checks...)
					return
				}
			}
			run(ctx, l, t)
		}})
	}
	return parts
}

// away notes that a place cannot be reached, and that nothing more is known of it.
func (t *target) away(l *notes, err error) {
	l.skip(t.name()+" cannot be reached", t.checks[1:]...)
	do := "start the server, and see that this machine reaches it and the URL is right"
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer")
	}
	switch {
	case t.place.Path != "":
		do = "see what the file is, and whose; restore a backup if it is damaged"
	case strings.Contains(err.Error(), "password"):
		do = "write the right user and password into the URL"
	}
	l.find("database-reachable", finding.Error, do, "%s: %s", t.name(), bareText(err))
}

// bareText is the text of an error without the package that made it: the finding names
// the place.
func bareText(err error) string {
	text := err.Error()
	for _, p := range []string{"postgres: ", "mariadb: ", "redisstore: ", "memcachestore: ", "sqlite: "} {
		text = strings.TrimPrefix(text, p)
	}
	return text
}

// The rounds of a measurement.
const rounds = 9

// latency judges how long a server takes for a question that costs it nothing.
func (e *examination) latency(ctx context.Context, l *notes, t *target, ask func(context.Context) error) {
	var times []time.Duration
	for range rounds {
		start := time.Now()
		if err := ask(ctx); err != nil {
			l.skip(t.name()+" does not answer any more", "latency")
			return
		}
		times = append(times, time.Since(start))
	}
	e.judgeLatency(l, t, times)
}

func (e *examination) judgeLatency(l *notes, t *target, times []time.Duration) {
	slices.Sort(times)
	median, limit := times[len(times)/2], e.cfg.StoreTimeout
	level := finding.Warning
	if median > limit {
		level = finding.Error
	}
	if median > limit/4 {
		l.find("latency", level, "bring server and service closer together, see what keeps the server busy, or raise store-timeout",
			"%s takes %v to answer the simplest question, and store-timeout is %v", t.name(), median.Round(time.Millisecond), limit)
	}
}

// How far two clocks may be apart. The second is the courtesy that a request just
// after a renewal gets; beyond store.Slack the service removes nothing any more.
const (
	clocksDiffer = 2 * time.Second
	clocksWrong  = 30 * time.Second
)

// clock compares a server's clock with ours.
func (e *examination) clock(ctx context.Context, l *notes, t *target, ask func(context.Context) (time.Time, error)) {
	before := e.World.Now()
	theirs, err := ask(ctx)
	after := e.World.Now()
	if err != nil {
		l.skip(t.name()+" does not say: "+bareText(err), "clock")
		return
	}
	// It was read in between, nobody knows when.
	off := theirs.Sub(before.Add(after.Sub(before) / 2))
	off = max(off.Abs()-after.Sub(before)/2, 0)
	if off <= clocksDiffer {
		return
	}
	level := finding.Warning
	if off > clocksWrong {
		level = finding.Error
	}
	ahead := "behind"
	if theirs.Before(before) {
		ahead = "ahead of"
	}
	l.find("clock", level, "set both clocks by the network: timedatectl set-ntp true", "the clock of this machine is %v %s that of %s", off.Round(time.Second), ahead, t.name())
}

// registry compares the keys with those that the store has seen in use.
func (e *examination) registry(ctx context.Context, l *notes, t *target, r store.KeyRegistry) {
	if !t.registry {
		return
	}
	known, err := r.KnownKeys(ctx)
	if err != nil {
		l.skip(t.name()+" does not say: "+bareText(err), "key-registry")
		return
	}
	ring := e.keys.wait(ctx)
	if ring == nil {
		l.skip("the keys cannot be read", "key-registry")
		return
	}
	switch k, claimed := backend.Wanted(known, ring); {
	case k.ID == "":
	case claimed:
		l.find("key-registry", finding.Error, "start the instance that has it again, or give this one its keys; if they are lost: cloakroom session end --all",
			"%s has no key %s, which another instance claims at %s: it starts for the first time, or was killed as it did", e.cfg.Keys, k.ID, t.name())
	default:
		l.find("key-registry", finding.Error, "name or restore the keys that have it; if it is lost: cloakroom session end --all",
			"%s has no key %s, which %s saw in use on %s", e.cfg.Keys, k.ID, t.name(), date(k.LastUsed))
	}
}

// missingFile notes that a database file is not there.
func (t *target) missingFile(l *notes) bool {
	info, err := os.Stat(t.place.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.skip("there is no database", slices.DeleteFunc(slices.Clone(t.checks), func(c string) bool { return c == "database-missing" })...)
		l.find("database-missing", finding.Warning, "start the service once with \"cloakroom serve\", or name its directory with data",
			"there is no database %s", secretfile.Shown(t.place.Path))
		return true
	case err == nil && !info.Mode().IsRegular():
		t.away(l, errors.New("not a file"))
		return true
	}
	return false
}
