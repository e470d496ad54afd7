package main

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/sqlite3store"
	_ "modernc.org/sqlite" // the driver "sqlite", of all contestants

	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// writers write at once, each for a visitor of its own.
const writers = 8

// careful are the settings with which SQLite lets several write.
const careful = "?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(%s)"

// A writing contestant has one operation for each writer, which reports whether
// the write was acknowledged.
type writing struct {
	name string
	ops  [writers]func() bool
	end  func() error
}

// sqliteWrites measures eight writers on one SQLite file, at both levels of
// flushing. All have the same driver, on the same disk.
func sqliteWrites(c config) ([]line, error) {
	var lines []line
	for _, level := range []struct {
		name string
		sync sqlite.Sync
	}{{"FULL", sqlite.Full}, {"NORMAL", sqlite.Normal}} {
		more, err := writesAt(c, level.name, level.sync)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return lines, nil
}

// writesAt measures one level.
func writesAt(c config, level string, sync sqlite.Sync) (_ []line, err error) {
	dir, err := os.MkdirTemp("", "cloakroom-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	dsn := fmt.Sprintf(careful, level)
	var all []writing
	defer func() {
		for _, w := range all {
			err = errors.Join(err, w.end())
		}
	}()
	for _, open := range []func() (writing, error){
		func() (writing, error) { return rawWriting(filepath.Join(dir, "raw.db") + dsn) },
		func() (writing, error) { return ourWriting(filepath.Join(dir, "ours.db"), sync) },
		func() (writing, error) { return scsWriting("scs, 1 connection", filepath.Join(dir, "scs1.db")+dsn, 1) },
		func() (writing, error) {
			return scsWriting("scs, 8 connections", filepath.Join(dir, "scs8.db")+dsn, writers)
		},
		func() (writing, error) { return scsWriting("scs, default DSN", filepath.Join(dir, "default.db"), 0) },
	} {
		w, err := open()
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return compareWrites("SQLite "+level+", 8 writers", all, measureWrites(c, all)), nil
}

// written is what became of one contestant's writes, round by round.
type written struct {
	rate   []float64 // acknowledged writes a second
	failed []float64 // part of all
}

// measureWrites lets the contestants write by turns.
func measureWrites(c config, all []writing) []written {
	results := make([]written, len(all))
	for round := range c.rounds + 1 {
		for i, w := range all {
			long := c.turn
			if round == 0 {
				long /= 4 // warm-up, not counted
			}
			ok, failed, took := together(w.ops, long)
			if round > 0 {
				results[i].rate = append(results[i].rate, float64(ok)/took.Seconds())
				results[i].failed = append(results[i].failed, float64(failed)/float64(max(ok+failed, 1)))
			}
		}
	}
	return results
}

// together lets all writers write for so long.
func together(ops [writers]func() bool, long time.Duration) (ok, failed int64, took time.Duration) {
	var good, bad atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for _, op := range ops {
		wg.Go(func() {
			for time.Since(start) < long {
				if op() {
					good.Add(1)
				} else {
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return good.Load(), bad.Load(), time.Since(start)
}

// compareWrites makes the lines of one level. The goal is to beat scs at its best.
func compareWrites(what string, all []writing, r []written) []line {
	describe := func(i int) string {
		return fmt.Sprintf("%s writes/s, %s %% errors", digits(median(r[i].rate)), part(r[i]))
	}
	floor, ours := r[0], r[1]
	best := 2
	if ratio(r[3].rate, r[2].rate) > 1 {
		best = 3
	}
	order := []int{best, 5 - best, 4}
	var lines []line
	for _, i := range order {
		lines = append(lines, line{
			peer: all[i].name + " " + describe(i), overPeer: times(ratio(ours.rate, r[i].rate)), name: all[i].name,
			counts: fmt.Sprintf("%s %% errors; %s %%; %s %%", part(ours), part(floor), part(r[i])),
		})
	}
	first := &lines[0]
	first.what, first.floor, first.ours, first.overFloor = what, describe(0), describe(1), times(ratio(ours.rate, floor.rate))
	first.goal = "no errors, more writes a second than scs"
	first.holds = yes(median(ours.failed) == 0 && ratio(ours.rate, r[best].rate) > 1)
	return lines
}

// part is how many of all writes failed, in percent.
func part(w written) string { return fmt.Sprintf("%.4g", 100*median(w.failed)) }

// visiting makes the operations of a program: each writer is a visitor.
func visiting(a app) (ops [writers]func() bool, err error) {
	for i := range ops {
		cookie, err := a.enter()
		if err != nil {
			return ops, err
		}
		v := newVisitor(a.write, "POST", cookie)
		ops[i] = func() bool {
			v.visit()
			return v.answer.status < http.StatusInternalServerError
		}
	}
	return ops, nil
}

// shared is a counter of several goroutines.
func shared() func() int {
	var n atomic.Int64
	return func() int { return int(n.Add(1)) }
}

func ourWriting(path string, sync sqlite.Sync) (writing, error) {
	db, err := sqlite.Open(path, &sqlite.Options{Sync: sync})
	if err != nil {
		return writing{}, err
	}
	a, err := cloakroomApp(db.Store(), shared())
	if err != nil {
		return writing{}, err
	}
	w := writing{name: "cloakroom", end: db.Close}
	w.ops, err = visiting(a)
	return w, err
}

// scsWriting opens scs with so many connections, or with database/sql's own choice
// for 0.
func scsWriting(name, dsn string, connections int) (writing, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return writing{}, err
	}
	db.SetMaxOpenConns(connections)
	if connections > 0 {
		db.SetMaxIdleConns(connections)
	}
	if _, err := db.Exec("CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL); CREATE INDEX sessions_expiry_idx ON sessions(expiry)"); err != nil {
		return writing{}, err
	}
	m := newSCS(sqlite3store.NewWithCleanupInterval(db, 0), 0)
	m.ErrorFunc = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusInternalServerError) }
	w := writing{name: name, end: db.Close}
	w.ops, err = visiting(scsApp(m, shared()))
	return w, err
}

// rawWriting is the floor: a read and an update by the driver alone, on one
// connection, with prepared statements.
func rawWriting(dsn string) (writing, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return writing{}, err
	}
	db.SetMaxOpenConns(1)
	w := writing{name: "the driver", end: db.Close}
	if _, err := db.Exec("CREATE TABLE session (id BLOB PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID"); err != nil {
		return w, err
	}
	read, err := db.Prepare("SELECT data FROM session WHERE id = ?")
	if err != nil {
		return w, err
	}
	update, err := db.Prepare("UPDATE session SET data = ? WHERE id = ?")
	if err != nil {
		return w, err
	}
	for i := range w.ops {
		id, data := make([]byte, 32), make([]byte, 200)
		id[0] = byte(i)
		if _, err := db.Exec("INSERT INTO session VALUES (?, ?)", id, data); err != nil {
			return w, err
		}
		w.ops[i] = func() bool {
			var old []byte
			if read.QueryRow(id).Scan(&old) != nil {
				return false
			}
			// Other bytes each time: SQLite does not write what is there already.
			binary.BigEndian.PutUint64(data, binary.BigEndian.Uint64(data)+1)
			_, err := update.Exec(data, id)
			return err == nil
		}
	}
	return w, nil
}
