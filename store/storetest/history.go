package storetest

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

func historyCases() []testCase {
	return []testCase{
		{"History/Linearizable", []string{saysAtomic, saysMany, saysVersions, saysForward, saysOne}, 0, histories},
	}
}

// Measures of a history.
const (
	clients  = 12
	sessions = 8
	steps    = 40 // of each client
)

// histories runs random calls of many clients upon few sessions, and looks
// whether what came back could have come from calls made one after the other.
// Each history is made from a seed, which a failure prints; how the calls fall
// together is not.
func histories(p *probe) {
	most, budget := 60, 2*time.Second
	if testing.Short() {
		most, budget = 10, time.Second/2
	}
	begin := time.Now()
	n := 0
	for ; n < most && (n < 3 || time.Since(begin) < budget) && !p.Failed(); n++ {
		newHistory(p, rand.Uint64()).run()
	}
	p.Logf("%d histories of %d calls by %d clients", n, clients*steps, clients)
}

// A history is one run of clients, and what they have noted.
type history struct {
	*probe
	seed      uint64
	records   [sessions]store.Record // as their creates have them
	clock     atomic.Int64
	mu        sync.Mutex
	calls     [sessions][]call
	wide      int  // how many sessions all EndUser together say they ended
	uncertain bool // some call got no answer
}

func newHistory(p *probe, seed uint64) *history {
	h := &history{probe: p, seed: seed}
	for i, userID := range [sessions]string{"alice", "alice", "alice", "bob", "bob", "", "", ""} {
		r := p.record(userID)
		r.Deadline = p.now.Add(30*time.Minute + 3*time.Second) // so that some pass it
		h.records[i] = r
	}
	return h
}

func (h *history) run() {
	h.Helper()
	race(clients, func(i int) error {
		c := &client{history: h, n: i, rand: rand.New(rand.NewPCG(h.seed, uint64(i)))}
		for range steps {
			c.step()
		}
		return nil
	})
	last := &client{history: h, n: clients}
	byUser := 0
	for i := range h.calls {
		end := last.get(i)
		if end.kind == ended && h.createdAndNotEndedAlone(i) {
			byUser++
		}
	}
	for i, calls := range h.calls {
		deadline := h.records[i].Deadline.UnixMilli()
		if !linearizable(calls, deadline) {
			h.Errorf("no order of these calls about one session explains what they returned (seed %#x, deadline %d):%s",
				h.seed, deadline, narrate(shrink(calls, deadline)))
			return
		}
	}
	if !h.uncertain && byUser != h.wide {
		h.Errorf("EndUser says that it ended %d sessions, but it was %d (seed %#x)", h.wide, byUser, h.seed)
	}
	for _, userID := range []string{"alice", "bob"} {
		if h.users != nil {
			h.endUserOf(userID)
		}
	}
}

// createdAndNotEndedAlone tells of an ended session that only EndUser can have
// ended.
func (h *history) createdAndNotEndedAlone(i int) bool {
	created := false
	for _, c := range h.calls[i] {
		if c.op == opEnd && c.err == nil {
			return false
		}
		created = created || c.op == opPut && c.arg.version == 0 && c.err == nil
	}
	return created
}

// endUserOf cleans up for the next history.
func (h *history) endUserOf(userID string) {
	h.Helper()
	why := store.Ended{Reason: store.Revoked, At: h.now}
	if _, err := h.users.EndUser(h.ctx, userID, store.ID{}, why, h.now); err != nil {
		h.fatalf("EndUser: %v", err)
	}
	h.onlyOf(userID)
}

// note keeps a call about a session. An error that is none of the contract's
// leaves open what has happened.
func (h *history) note(i int, c call, err error) {
	c.end = h.clock.Add(1)
	c.err = outcome(err)
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.err == errLost {
		h.uncertain = true
		if c.op == opGet || c.op == opList {
			return // nothing was read
		}
	}
	h.calls[i] = append(h.calls[i], c)
}

// outcome reduces an error to the contract's, or to errLost.
func outcome(err error) error {
	if err == nil {
		return nil
	}
	for _, want := range contract {
		if errors.Is(err, want) {
			return want
		}
	}
	return errLost
}

// A client makes calls, one after the other.
type client struct {
	*history
	n     int
	rand  *rand.Rand
	puts  int
	known [sessions]uint64 // the version that it has seen last
}

// step makes one random call. Ends are rare: a session that has ended has no
// more to tell.
func (c *client) step() {
	if c.rand.IntN(4) == 0 {
		runtime.Gosched() // on few processors calls would hardly meet
	}
	i := c.rand.IntN(sessions)
	switch n := c.rand.IntN(200); {
	case n < 60:
		c.get(i)
	case n < 130:
		c.put(i)
	case n < 180:
		c.touch(i)
	case n < 184:
		c.end(i)
	case n < 185 && c.users != nil:
		c.endUser()
	case n < 195 && c.users != nil:
		c.list()
	case n < 197 && c.sweeper != nil:
		// There is nothing to forget, so it leaves no trace.
		if _, err := c.sweeper.Sweep(c.ctx, time.Now()); err != nil {
			c.Errorf("Sweep: %v", err)
		}
	}
}

func (c *client) begin(op op) call {
	return call{op: op, client: c.n, begin: c.clock.Add(1)}
}

func (c *client) get(i int) state {
	note := c.begin(opGet)
	r, err := c.Get(c.ctx, c.records[i].ID)
	if outcome(err) != errLost {
		note.got = read(r, err)
		err = nil
	}
	c.note(i, note, err)
	c.known[i] = note.got.version
	return note.got
}

func (c *client) put(i int) {
	r := c.records[i]
	r.Version = c.known[i]
	if c.rand.IntN(6) == 0 {
		r.Version = uint64(c.rand.IntN(5))
	}
	c.puts++
	tag := c.n<<16 | c.puts
	r.Data = binary.BigEndian.AppendUint64(make([]byte, 0, 100), uint64(tag))
	r.Data, r.Info = r.Data[:100], r.Data[:8]
	r.Seen, r.Expires = c.times()

	note := c.begin(opPut)
	note.arg = state{version: r.Version, data: tag, seen: r.Seen.UnixMilli(), expires: r.Expires.UnixMilli()}
	err := c.Put(c.ctx, r)
	c.note(i, note, err)
	if err == nil {
		c.known[i] = r.Version + 1
	}
}

func (c *client) touch(i int) {
	seen, expires := c.times()
	note := c.begin(opTouch)
	note.arg = state{seen: seen.UnixMilli(), expires: expires.UnixMilli()}
	c.note(i, note, c.Touch(c.ctx, c.records[i].ID, seen, expires))
}

func (c *client) end(i int) {
	note := c.begin(opEnd)
	note.arg = state{reason: store.Logout + store.Reason(c.rand.IntN(4))}
	if c.rand.IntN(2) == 0 {
		note.arg.version = c.known[i]
	}
	why := store.Ended{Reason: note.arg.reason, At: c.now}
	c.note(i, note, c.End(c.ctx, c.records[i].ID, note.arg.version, why, c.now.Add(time.Hour)))
}

// endUser and list are calls about all sessions of a user; each session's history
// has its part of them.
func (c *client) endUser() {
	userID := c.records[c.rand.IntN(sessions)].UserID
	except := c.records[c.rand.IntN(sessions)].ID
	note := c.begin(opEndUser)
	note.arg.reason = store.Logout + store.Reason(c.rand.IntN(4))
	why := store.Ended{Reason: note.arg.reason, At: c.now}
	n, err := c.users.EndUser(c.ctx, userID, except, why, c.now.Add(time.Hour))
	for i, r := range c.records {
		if r.UserID == userID && userID != "" && r.ID != except {
			c.note(i, note, err)
		}
	}
	c.mu.Lock()
	c.wide += n
	c.mu.Unlock()
}

func (c *client) list() {
	userID := c.records[c.rand.IntN(sessions)].UserID
	note := c.begin(opList)
	list, err := c.users.ListUser(c.ctx, userID)
	found := map[store.ID]store.Record{}
	for _, r := range list {
		r.Data = nil
		found[r.ID] = r
	}
	for i, r := range c.records {
		if r.UserID == userID && userID != "" {
			note.got = state{}
			if r, ok := found[r.ID]; ok {
				note.got = read(r, nil)
			}
			c.note(i, note, err)
		}
	}
}

// times returns a Seen and an Expires, in no order.
func (c *client) times() (seen, expires time.Time) {
	seen = c.now.Add(time.Duration(c.rand.IntN(1000)) * time.Millisecond)
	expires = c.now.Add(30*time.Minute + time.Duration(c.rand.IntN(4000))*time.Millisecond)
	return seen, expires
}

// read reduces what a store returned to a state. Bytes that are no write's, or of
// two writes, become those of the write -1, which nothing explains.
func read(r store.Record, err error) state {
	switch outcome(err) {
	case store.ErrNotFound:
		return state{}
	case store.ErrEnded:
		return state{kind: ended, reason: r.Ended.Reason}
	}
	s := state{kind: live, version: r.Version, data: -1, seen: r.Seen.UnixMilli(), expires: r.Expires.UnixMilli()}
	if len(r.Info) == 8 && (r.Data == nil || len(r.Data) == 100 && string(r.Data[:8]) == string(r.Info)) {
		s.data = int(binary.BigEndian.Uint64(r.Info))
	}
	return s
}
