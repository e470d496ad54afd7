package auditlog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Bounds of a summary: an attack must not take away the page that shows it.
const (
	maxSummed  = 20_000 // entries that are looked at
	maxTallies = 20     // of each sort
)

// Summary is what stood out, for a page: the most frequent first, at most 20 of each.
type Summary struct {
	Total    int // events, those of floods counted
	Kinds    []Tally
	Sources  []Tally // by address
	Accounts []Tally // by the account's ID, else by the name as typed

	Entries int  // how many entries were looked at: the newest, at most 20,000
	More    bool // there are older ones that were not
}

// Tally counts the suspicious events that have something in common.
type Tally struct {
	What  string // the kind, address, or account
	Count int
	Last  time.Time // when one was last seen
}

// Summary counts the suspicious events since a time.
func (l *Log) Summary(ctx context.Context, since time.Time) (s Summary, err error) {
	rows, err := l.db.Reader().QueryContext(ctx, l.sql.suspicious, since.UnixMilli(), maxSummed+1)
	if err != nil {
		return Summary{}, fmt.Errorf("auditlog: count entries: %w", err)
	}
	defer rows.Close()
	kinds, sources, accounts := make(tallies), make(tallies), make(tallies)
	for rows.Next() {
		if s.Entries == maxSummed {
			s.More = true
			break
		}
		var ms, times strict[int64]
		var kind, addr, account, user strict[[]byte]
		if err := rows.Scan(&ms, &times, &kind, &addr, &account, &user); err != nil {
			return Summary{}, fmt.Errorf("auditlog: count entries: %w", err)
		}
		if len(account.v) == 0 {
			account = user
		}
		s.Entries++
		s.Total += int(times.v)
		kinds.add(kind.v, int(times.v), ms.v)
		sources.add(addr.v, int(times.v), ms.v)
		accounts.add(account.v, int(times.v), ms.v)
	}
	if err := rows.Err(); err != nil {
		return Summary{}, fmt.Errorf("auditlog: count entries: %w", err)
	}
	s.Kinds, s.Sources, s.Accounts = kinds.most(), sources.most(), accounts.most()
	return s, nil
}

// tallies counts by what entries have in common.
type tallies map[string]*Tally

// add counts what an entry stands for. The newest come first.
func (m tallies) add(what []byte, n int, ms int64) {
	if len(what) == 0 {
		return
	}
	t := m[string(what)]
	if t == nil {
		t = &Tally{What: string(what), Last: time.UnixMilli(ms).UTC()}
		m[t.What] = t
	}
	t.Count += n
}

// most returns the most frequent.
func (m tallies) most() []Tally {
	var list []Tally
	for _, t := range m {
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.What, b.What))
	})
	return slices.Clip(list[:min(len(list), maxTallies)])
}
