package auditlog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Query selects entries. What is not set does not filter; what is set holds
// together. The zero Query selects the newest.
type Query struct {
	// User is who is asked for: an entry matches whose User, Account or Actor it is. For
	// refused logins User is the name as it was typed, see [Who].
	User string

	// Also are other texts for the same person: their name beside their ID.
	Also []string

	Kind       string
	Addr       string
	From, To   time.Time // From is included, To is not
	Suspicious bool

	// Before is the number of an entry: those that come after it are returned, the
	// next page if it was the last of one.
	Before int64

	// Limit is how many entries are returned at most: 0 stands for 100, and more than
	// 1000 are not.
	Limit int
}

// Bounds of a page.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func (q Query) limit() int {
	if q.Limit <= 0 {
		return defaultLimit
	}
	return min(q.Limit, maxLimit)
}

// Find returns a page of the entries that q selects, the newest first. Entries of one
// time are in the order of their numbers.
func (l *Log) Find(ctx context.Context, q Query) ([]Entry, error) {
	from, ok, err := l.start(ctx, q)
	if err != nil || !ok {
		return nil, err
	}
	return l.page(ctx, q, from)
}

// place is where a page begins: behind the entry with this time and number.
type place struct {
	time int64
	seq  int64 // 0: at the newest
}

// start finds the place of the entry Before; none if it is no more, and with it
// whatever was older.
func (l *Log) start(ctx context.Context, q Query) (p place, ok bool, err error) {
	if q.Before == 0 {
		return p, true, nil
	}
	p.seq = q.Before
	err = l.db.Reader().QueryRowContext(ctx, l.sql.timeOf, q.Before).Scan(&p.time)
	if errors.Is(err, sql.ErrNoRows) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("auditlog: find entries: %w", err)
	}
	return p, true, nil
}

// page reads one page from a place on. A person may stand in three columns, of which each has an
// index: no database goes through several of them in order, so each is asked for
// by itself.
func (l *Log) page(ctx context.Context, q Query, from place) ([]Entry, error) {
	conditions, args := q.where(from)
	var people []string
	for _, who := range append([]string{q.User}, q.Also...) {
		if who != "" && !slices.Contains(people, who) {
			people = append(people, who)
		}
	}
	if len(people) == 0 {
		return l.read(ctx, conditions, args, q.limit())
	}
	var all []Entry
	for _, who := range people {
		for _, column := range []string{"user_id", "account", "actor"} {
			found, err := l.read(ctx, append(slices.Clip(conditions), column+" = ?", filled(column)), append(slices.Clip(args), []byte(who)), q.limit())
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	slices.SortFunc(all, newest)
	all = slices.CompactFunc(all, func(a, b Entry) bool { return a.Seq == b.Seq })
	return all[:min(len(all), q.limit())], nil
}

// newest is the order of entries.
func newest(a, b Entry) int {
	if n := b.Time.Compare(a.Time); n != 0 {
		return n
	}
	return int(b.Seq - a.Seq)
}

// where returns the conditions of a query, but that of the person.
func (q Query) where(from place) (conditions []string, args []any) {
	add := func(condition string, arg ...any) {
		conditions, args = append(conditions, condition), append(args, arg...)
	}
	if q.Kind != "" {
		add("kind = ? AND length(kind) > 0", []byte(q.Kind))
	}
	if q.Addr != "" {
		add("addr = ? AND "+filled("addr"), []byte(q.Addr))
	}
	if q.Suspicious {
		add("suspicious = 1")
	}
	if !q.From.IsZero() {
		add("time_ms >= ?", q.From.UnixMilli())
	}
	if !q.To.IsZero() {
		add("time_ms < ?", q.To.UnixMilli())
	}
	if from.seq != 0 {
		// Not as one comparison of two columns: MariaDB would not use the index.
		add("time_ms <= ? AND (time_ms < ? OR seq < ?)", from.time, from.time, from.seq)
	}
	return conditions, args
}

// read runs one query.
func (l *Log) read(ctx context.Context, conditions []string, args []any, limit int) ([]Entry, error) {
	query := "SELECT " + entryColumns + " FROM cloakroom_audit"
	if len(conditions) > 0 {
		query += " WHERE " + strings.Join(conditions, " AND ")
	}
	query += " ORDER BY time_ms DESC, seq DESC LIMIT ?"
	rows, err := l.db.Reader().QueryContext(ctx, l.sql.dialect.SQL(query), append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("auditlog: find entries: %w", err)
	}
	defer rows.Close()
	var list []Entry
	for rows.Next() {
		var r row
		if err := scan(rows, &r, false); err != nil {
			return nil, fmt.Errorf("auditlog: find entries: %w", err)
		}
		if r.Details, err = decodeDetails(r.details); err != nil {
			r.Details = map[string]string{"unreadable": err.Error()} // Verify says where
		}
		list = append(list, r.Entry)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("auditlog: find entries: %w", err)
	}
	return list, nil
}

// scan reads a row. With all it is strict: SQLite keeps a value of any type in a
// column of any other, and one of the same bytes and another type would have the same
// hash and be found by no query.
func scan(rows *sql.Rows, r *row, all bool) error {
	var seq, ms, suspicious, times strict[int64]
	var kind, user, account, actor, name, addr, session, request, reason, details strict[[]byte]
	to := []any{&seq, &ms, &kind, &suspicious, &user, &account, &actor, &name, &addr, &session, &request, &reason, &times, &details}
	var batch, key, hash, tag strict[[]byte]
	if all {
		to = append(to, &batch, &key, &hash, &tag)
	}
	if err := rows.Scan(to...); err != nil {
		return err
	}
	r.odd = suspicious.v != number(suspicious.v == 1)
	for _, n := range []strict[int64]{seq, ms, suspicious, times} {
		r.odd = r.odd || n.odd
	}
	for _, b := range []strict[[]byte]{kind, user, account, actor, name, addr, session, request, reason, details, batch, key, hash, tag} {
		r.odd = r.odd || b.odd
	}
	r.Seq, r.Time, r.Suspicious, r.Count = seq.v, time.UnixMilli(ms.v).UTC(), suspicious.v != 0, int(times.v)
	r.Kind, r.User, r.Account, r.Actor = string(kind.v), string(user.v), string(account.v), string(actor.v)
	r.Name, r.Addr, r.Session, r.Request, r.Reason = string(name.v), string(addr.v), string(session.v), string(request.v), string(reason.v)
	r.details, r.batch, r.key, r.hash, r.tag = details.v, batch.v, key.v, hash.v, tag.v
	return nil
}

// strict is a column that tells whether its value is of the column's type. It takes
// any other nevertheless, as a list shows what is there.
type strict[T int64 | []byte] struct {
	v   T
	odd bool
}

func (s *strict[T]) Scan(src any) error {
	switch src := src.(type) {
	case []byte:
		s.set(slices.Clone(src))
	case int64:
		s.set(src)
	case string:
		s.set([]byte(src))
		s.odd = true
	default:
		s.odd = true
	}
	return nil
}

// set takes a value if it is of the type.
func (s *strict[T]) set(v any) {
	t, ok := v.(T)
	s.v, s.odd = t, !ok
}

// Each goes through all entries that q selects, the newest first. Before and Limit bound
// them as well, but for Limit 0, which is all. It reads a page at a time, so that no
// connection is held while the caller is at work.
func (l *Log) Each(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		left := q.Limit
		from, ok, err := l.start(ctx, q)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for ok {
			q.Limit = maxLimit
			if left > 0 {
				q.Limit = min(left, maxLimit)
			}
			list, err := l.page(ctx, q, from)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range list {
				if !yield(e, nil) {
					return
				}
			}
			if len(list) < q.Limit || left > 0 && left == len(list) {
				return
			}
			left = max(left-len(list), 0)
			last := list[len(list)-1]
			from = place{last.Time.UnixMilli(), last.Seq}
		}
	}
}
