package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// maxGroup is how many writes share a transaction at most: some ten milliseconds
// of work, so that other processes get their turn.
const maxGroup = 256

// writer gathers writes into transactions.
//
// Whoever comes first starts a goroutine that commits; whoever comes while it is
// at work joins the queue and is taken along with the next transaction. The
// goroutine ends when the queue is empty: there is none while nobody writes. The
// queue is first come, first served, so that neither a touch nor a login
// starves.
type writer struct {
	path string
	busy time.Duration
	pool *sql.DB // of one connection

	mu      sync.Mutex
	queue   []*write
	working bool // a goroutine takes from the queue
	closed  bool
	idle    sync.Cond // on mu: working has become false

	conn *conn // the working goroutine's; nil until needed
}

// settle is how long a caller whose context has ended waits for a write of its
// own that is under way. It takes a few milliseconds, and to know what became of
// it is worth them: whoever reads the record to find out could read it too early.
// Only a disk that hangs leaves the question open.
const settle = time.Second

// write is one call of do.
type write struct {
	ctx   context.Context
	f     func(context.Context, sqlstore.Queryer) error
	begun bool // under writer.mu: it is in a transaction, or will never be
	err   error
	done  chan struct{} // closed when err is set

	panicked any // what f panicked with; the caller's goroutine goes on with it
}

// errPanicked undoes what an f did that panicked.
var errPanicked = errors.New("sqlite: a write panicked")

// run calls f. A panic is caught here, as it is nobody's in this goroutine: a
// server that survives a panic of its handler has to survive this one.
func (r *write) run(tx sqlstore.Queryer) (err error) {
	r.panicked = nil
	defer func() {
		if r.panicked = recover(); r.panicked != nil {
			err = errPanicked
		}
	}()
	return r.f(context.Background(), tx)
}

// finish tells the caller.
func (r *write) finish(err error) {
	r.err = err
	close(r.done)
}

// answer is what the caller gets once it has been told.
func (r *write) answer() error {
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.err
}

// newWriter opens the writing handle and puts the database into WAL mode.
func newWriter(path, dsn string, busy time.Duration) (*writer, error) {
	pool, err := open(path, dsn, 1)
	if err != nil {
		return nil, err
	}
	w := &writer{path: path, busy: busy, pool: pool}
	w.idle.L = &w.mu
	// Everything below can meet another process that does the same: only one can
	// change the mode of a new file, and SQLite lets nobody wait for that.
	err = w.patiently(func() error {
		var mode string
		if err := pool.QueryRow("PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
			return err
		}
		if mode != "wal" {
			return fmt.Errorf("the write-ahead log does not work there (mode %q): name a file on a local disk", mode)
		}
		return nil
	})
	if err != nil {
		pool.Close()
		return nil, describe(path, "open", err)
	}
	return w, nil
}

// patiently calls f again while another process has the database locked. SQLite
// itself would sleep for up to 100 ms between attempts, and a process that never
// pauses between two transactions would keep the others out; short and uneven
// pauses meet the gap.
func (w *writer) patiently(f func() error) error {
	deadline := time.Now().Add(w.busy)
	for n := 0; ; n++ {
		err := f()
		if c := code(err); c != codeBusy && c != codeLocked || time.Now().After(deadline) {
			return err
		}
		p := pause(n)
		time.Sleep(p/2 + rand.N(p))
	}
}

// do puts f into the queue and waits until it is kept. When ctx ends first, f is
// not run any more or, if it is under way, waited for a little longer.
func (w *writer) do(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &write{ctx: ctx, f: f, done: make(chan struct{})}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	w.queue = append(w.queue, r)
	if !w.working {
		w.working = true
		go w.work()
	}
	w.mu.Unlock()
	select {
	case <-r.done:
		return r.answer()
	case <-ctx.Done():
	}
	w.mu.Lock()
	begun := r.begun
	r.begun = true // nobody else begins it
	w.mu.Unlock()
	if !begun {
		return ctx.Err()
	}
	select {
	case <-r.done:
		return r.answer()
	case <-time.After(settle):
		return ctx.Err()
	}
}

// work commits until the queue is empty.
func (w *writer) work() {
	for {
		w.mu.Lock()
		if len(w.queue) == 0 {
			w.working = false
			w.queue = nil
			w.idle.Broadcast()
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		w.commit()
	}
}

// take removes the writes of the next transaction from the queue: not those
// whose callers have gone.
func (w *writer) take() []*write {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.queue), maxGroup)
	group := make([]*write, 0, n)
	for _, r := range w.queue[:n] {
		if !r.begun {
			r.begun = true
			group = append(group, r)
		}
	}
	clear(w.queue[:n])
	w.queue = w.queue[n:]
	return group
}

// commit runs one transaction. The group is taken when the lock is there, not
// before: whoever comes during the wait is taken along.
func (w *writer) commit() {
	if err := w.begin(); err != nil {
		err = describe(w.path, "write to", err)
		for _, r := range w.take() {
			r.finish(err)
		}
		return
	}
	group := w.take()
	var failed error
	for _, r := range group {
		if failed = r.run(w.conn); failed != nil {
			break
		}
	}
	if failed == nil {
		err := w.end("COMMIT")
		if err != nil {
			err = describe(w.path, "write to", err)
		}
		for _, r := range group {
			r.finish(err)
		}
		return
	}
	// One of them failed. Its traces have to go, and nobody else's: nothing is
	// kept, and each gets a transaction of its own.
	w.end("ROLLBACK")
	if len(group) == 1 {
		group[0].finish(failed)
		return
	}
	for _, r := range group {
		r.finish(w.alone(r))
	}
}

// alone runs one write in a transaction of its own.
func (w *writer) alone(r *write) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if err := w.begin(); err != nil {
		return describe(w.path, "write to", err)
	}
	if err := r.run(w.conn); err != nil {
		w.end("ROLLBACK")
		return err
	}
	if err := w.end("COMMIT"); err != nil {
		return describe(w.path, "write to", err)
	}
	return nil
}

// begin starts a transaction with the writing lock, on a new connection if there
// is none.
func (w *writer) begin() error {
	if w.conn == nil {
		c, err := w.pool.Conn(context.Background())
		if err != nil {
			return err
		}
		w.conn = &conn{conn: c}
	}
	err := w.patiently(func() error {
		_, err := w.conn.ExecContext(context.Background(), "BEGIN IMMEDIATE")
		return err
	})
	if err != nil && code(err) != codeBusy {
		w.drop()
	}
	return err
}

// end ends the transaction. A connection on which that fails is in a state that
// nobody knows: it is closed, which undoes what was not kept.
func (w *writer) end(how string) error {
	_, err := w.conn.ExecContext(context.Background(), how)
	if err != nil {
		w.drop()
	}
	return err
}

// drop closes the connection, so that the next write opens another.
func (w *writer) drop() {
	w.conn.prepared.close()
	w.conn.conn.Raw(func(any) error { return driver.ErrBadConn })
	w.conn.conn.Close()
	w.conn = nil
}

// close waits for the queue, copies the log into the file and closes the
// connection.
func (w *writer) close() error {
	w.mu.Lock()
	w.closed = true
	for w.working {
		w.idle.Wait()
	}
	w.mu.Unlock()
	var errs []error
	if w.conn != nil {
		errs = append(errs, w.conn.prepared.close(), w.conn.conn.Close())
		w.conn = nil
	}
	// The last connection to a file copies the log by itself when it closes, and
	// takes it away. Where another process holds the file this does the former,
	// unless that process is at work: then it will.
	if _, err := w.pool.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); code(err) != codeBusy {
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, w.pool.Close())...); err != nil {
		return describe(w.path, "close", err)
	}
	return nil
}

// conn is the writing connection with its prepared statements.
type conn struct {
	conn *sql.Conn
	prepared
}

func (c *conn) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := c.get(ctx, c.conn, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (c *conn) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := c.get(ctx, c.conn, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (c *conn) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := c.get(ctx, c.conn, query)
	if err != nil {
		return c.conn.QueryRowContext(ctx, query, args...)
	}
	return s.QueryRowContext(ctx, args...)
}
