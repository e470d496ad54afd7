package promises_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/rueidis"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// filesOf returns the bytes of all files of a folder.
func filesOf(tb testing.TB, dir string) []byte {
	tb.Helper()
	var all []byte
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// rows is raw access to a table.
type rows struct {
	open func(testing.TB) sqlstore.DB
	list string // the query of the tables' names
	db   sqlstore.DB
}

// use returns the database, which is opened once.
func (r *rows) use(tb testing.TB) sqlstore.DB {
	if r.db == nil {
		r.db = r.open(tb)
	}
	return r.db
}

// The columns of a session, numbers first.
var (
	numberColumns = []string{"version", "created", "seen", "expires", "deadline", "due", "ended", "ended_at"}
	byteColumns   = []string{"user_id", "info", "data"}
)

func (r *rows) read(tb testing.TB, id store.ID) map[string][]byte {
	tb.Helper()
	db := r.use(tb)
	numbers, values := make([]int64, len(numberColumns)), make([][]byte, len(byteColumns))
	var into []any
	for i := range numbers {
		into = append(into, &numbers[i])
	}
	for i := range values {
		into = append(into, &values[i])
	}
	query := "SELECT " + strings.Join(append(append([]string{}, numberColumns...), byteColumns...), ", ") + " FROM cloakroom_session WHERE id = ?"
	if err := db.Reader().QueryRowContext(tb.Context(), db.Dialect().SQL(query), id[:]).Scan(into...); err != nil {
		tb.Fatal(err)
	}
	parts := map[string][]byte{}
	for i, name := range numberColumns {
		parts[name] = binary.BigEndian.AppendUint64(nil, uint64(numbers[i]))
	}
	for i, name := range byteColumns {
		parts[name] = values[i]
	}
	return parts
}

func (r *rows) write(tb testing.TB, id store.ID, part string, value []byte) {
	tb.Helper()
	var v any = value
	for _, name := range numberColumns {
		if name == part {
			v = int64(binary.BigEndian.Uint64(value))
		}
	}
	db := r.use(tb)
	n, err := db.Exec(tb.Context(), db.Dialect().SQL("UPDATE cloakroom_session SET "+part+" = ? WHERE id = ?"), v, id[:])
	if err != nil || n != 1 {
		tb.Fatalf("write %s: %d rows, %v", part, n, err)
	}
}

// dump returns all rows of all tables.
func (r *rows) dump(tb testing.TB) []byte {
	tb.Helper()
	db := r.use(tb)
	var all bytes.Buffer
	for _, t := range query(tb, db, r.list) {
		for _, row := range query(tb, db, "SELECT * FROM "+string(t[0])) {
			for _, value := range row {
				all.Write(value)
				all.WriteByte('\n')
			}
		}
	}
	return all.Bytes()
}

func query(tb testing.TB, db sqlstore.DB, q string) (all [][][]byte) {
	tb.Helper()
	found, err := db.Reader().QueryContext(tb.Context(), q)
	if err != nil {
		tb.Fatal(err)
	}
	defer found.Close()
	columns, _ := found.Columns()
	for found.Next() {
		row := make([][]byte, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := found.Scan(into...); err != nil {
			tb.Fatal(err)
		}
		all = append(all, row)
	}
	if err := found.Err(); err != nil {
		tb.Fatal(err)
	}
	return all
}

// redisKeys is raw access to the keys of a Redis.
type redisKeys struct {
	url, prefix string
	client      rueidis.Client
}

// with calls f with a client, which is made once.
func (k *redisKeys) with(tb testing.TB, f func(ctx context.Context, c rueidis.Client)) {
	tb.Helper()
	if k.client == nil {
		option, err := rueidis.ParseURL(k.url)
		if err != nil {
			tb.Fatal(err)
		}
		option.DisableCache, option.ForceSingleClient = true, true
		if k.client, err = rueidis.NewClient(option); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(k.client.Close)
	}
	f(tb.Context(), k.client)
}

func (k *redisKeys) read(tb testing.TB, id store.ID) (parts map[string][]byte) {
	tb.Helper()
	k.with(tb, func(ctx context.Context, c rueidis.Client) {
		b, err := c.Do(ctx, c.B().Get().Key(k.prefix+keyOf(id)).Build()).AsBytes()
		if err != nil {
			tb.Fatal(err)
		}
		parts = map[string][]byte{"value": b}
	})
	return parts
}

func (k *redisKeys) write(tb testing.TB, id store.ID, _ string, value []byte) {
	tb.Helper()
	k.with(tb, func(ctx context.Context, c rueidis.Client) {
		err := c.Do(ctx, c.B().Set().Key(k.prefix+keyOf(id)).Value(rueidis.BinaryString(value)).Keepttl().Build()).Error()
		if err != nil {
			tb.Fatal(err)
		}
	})
}

// dump returns all keys, and what is under them.
func (k *redisKeys) dump(tb testing.TB) []byte {
	tb.Helper()
	var all bytes.Buffer
	k.with(tb, func(ctx context.Context, c rueidis.Client) {
		names, err := c.Do(ctx, c.B().Keys().Pattern(k.prefix+"*").Build()).AsStrSlice()
		if err != nil {
			tb.Fatal(err)
		}
		for _, name := range names {
			var what rueidis.RedisResult
			kind, _ := c.Do(ctx, c.B().Type().Key(name).Build()).ToString()
			switch kind {
			case "string":
				what = c.Do(ctx, c.B().Get().Key(name).Build())
			case "hash":
				what = c.Do(ctx, c.B().Hgetall().Key(name).Build())
			case "zset":
				what = c.Do(ctx, c.B().Zrange().Key(name).Min("0").Max("-1").Withscores().Build())
			default:
				tb.Fatalf("%s is a %s", name, kind)
			}
			m, err := what.ToMessage()
			if err != nil {
				tb.Fatal(err)
			}
			all.WriteString(name + "\n")
			writeMessage(&all, m)
		}
	})
	return all.Bytes()
}

func writeMessage(all *bytes.Buffer, m rueidis.RedisMessage) {
	if parts, err := m.ToArray(); err == nil {
		for _, p := range parts {
			writeMessage(all, p)
		}
		return
	}
	if parts, err := m.ToMap(); err == nil {
		for name, p := range parts {
			all.WriteString(name + "\n")
			writeMessage(all, p)
		}
		return
	}
	s, _ := m.ToString()
	all.WriteString(s + "\n")
}

// memcachedItems is raw access to the items of a Memcached.
type memcachedItems struct{ url, prefix string }

func (m *memcachedItems) addr(tb testing.TB) string {
	tb.Helper()
	u, err := url.Parse(m.url)
	if err != nil {
		tb.Fatal(err)
	}
	return u.Host
}

func (m *memcachedItems) key(id store.ID) string { return m.prefix + ":" + keyOf(id) }

func (m *memcachedItems) get(tb testing.TB, c *memcache.Client, key string) *memcache.Item {
	tb.Helper()
	item, err := c.Get(key)
	if err != nil {
		tb.Fatalf("%s: %v", key, err)
	}
	return item
}

func (m *memcachedItems) read(tb testing.TB, id store.ID) map[string][]byte {
	tb.Helper()
	c := memcache.New(m.addr(tb))
	defer c.Close()
	return map[string][]byte{"value": m.get(tb, c, m.key(id)).Value}
}

func (m *memcachedItems) write(tb testing.TB, id store.ID, _ string, value []byte) {
	tb.Helper()
	c := memcache.New(m.addr(tb))
	defer c.Close()
	if err := c.Set(&memcache.Item{Key: m.key(id), Value: value, Expiration: 24 * 60 * 60}); err != nil {
		tb.Fatal(err)
	}
}

// ask sends a command that is answered in lines, up to END, and returns these.
func (m *memcachedItems) ask(tb testing.TB, command string) (lines []string) {
	tb.Helper()
	conn, err := net.Dial("tcp", m.addr(tb))
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(conn, command+"\r\n")
	s := bufio.NewScanner(conn)
	for s.Scan() && s.Text() != "END" {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		tb.Fatal(err)
	}
	return lines
}

// stats returns the server's own figures.
func (m *memcachedItems) stats(tb testing.TB) map[string]string {
	tb.Helper()
	figures := map[string]string{}
	for _, line := range m.ask(tb, "stats") {
		if f := strings.Fields(line); len(f) == 3 {
			figures[f[1]] = f[2]
		}
	}
	return figures
}

// dump returns all keys, and what is under them.
func (m *memcachedItems) dump(tb testing.TB) []byte {
	tb.Helper()
	c := memcache.New(m.addr(tb))
	defer c.Close()
	var all bytes.Buffer
	for _, line := range m.ask(tb, "lru_crawler metadump all") {
		name, _, ok := strings.Cut(strings.TrimPrefix(line, "key="), " ")
		name, err := url.PathUnescape(name)
		if !ok || err != nil {
			tb.Fatalf("metadump: %q, %v", line, err)
		}
		if strings.HasPrefix(name, m.prefix) {
			all.WriteString(name + "\n")
			all.Write(m.get(tb, c, name).Value)
			all.WriteByte('\n')
		}
	}
	return all.Bytes()
}
