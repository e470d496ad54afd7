package auditlog

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Summary is what stood out, for a page: the most frequent first, at most 20 of each.
type Summary struct {
	Total    int // events, those of floods counted
	Kinds    []Tally
	Sources  []Tally // by address
	Accounts []Tally // by the account's ID, else by the name as typed
}

// Tally counts the suspicious events that have something in common.
type Tally struct {
	What  string // the kind, address, or account
	Count int
	Last  time.Time // when one was last seen
}

// Summary counts the suspicious events since a time.
func (l *Log) Summary(ctx context.Context, since time.Time) (s Summary, err error) {
	for _, g := range []struct {
		to *[]Tally
		by string
	}{
		{&s.Kinds, "kind"},
		{&s.Sources, "addr"},
		{&s.Accounts, "CASE WHEN length(account) > 0 THEN account ELSE user_id END"},
	} {
		if *g.to, err = l.tally(ctx, g.by, since); err != nil {
			return Summary{}, fmt.Errorf("auditlog: count entries: %w", err)
		}
	}
	err = l.db.Reader().QueryRowContext(ctx, l.sql.dialect.SQL(
		`SELECT COALESCE(sum(times), 0) FROM cloakroom_audit WHERE suspicious = 1 AND time_ms >= ?`), since.UnixMilli()).Scan(&s.Total)
	if err != nil {
		return Summary{}, fmt.Errorf("auditlog: count entries: %w", err)
	}
	return s, nil
}

// tally groups by an expression of this file.
func (l *Log) tally(ctx context.Context, by string, since time.Time) ([]Tally, error) {
	rows, err := l.db.Reader().QueryContext(ctx, l.sql.dialect.SQL(`SELECT what, sum(times) AS n, max(time_ms) FROM
		(SELECT `+by+` AS what, times, time_ms FROM cloakroom_audit WHERE suspicious = 1 AND time_ms >= ?) t
		WHERE length(what) > 0 GROUP BY what ORDER BY n DESC, what LIMIT 20`), since.UnixMilli())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Tally
	for rows.Next() {
		var what sql.RawBytes
		var t Tally
		var ms int64
		if err := rows.Scan(&what, &t.Count, &ms); err != nil {
			return nil, err
		}
		t.What, t.Last = string(what), time.UnixMilli(ms).UTC()
		list = append(list, t)
	}
	return list, rows.Err()
}
