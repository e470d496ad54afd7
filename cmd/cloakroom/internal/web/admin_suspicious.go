package web

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// suspiciousDays is how far back the page of suspicious activity looks.
const suspiciousDays = 7

// tally counts suspicious events that have something in common.
type tally struct {
	What  string    `json:"what"`
	Count int       `json:"count"`
	Last  time.Time `json:"last"`

	Words  string `json:"-"` // what it means, or whose it is
	Filter string `json:"-"` // the address of their entries
}

// adminSuspicious shows what stands out in the audit log: in numbers first, then the
// newest entries (ASVS 16.3.3).
func (s *Site) adminSuspicious(w http.ResponseWriter, r *http.Request) {
	if s.Administration.Audit == nil {
		s.fail(w, r, http.StatusNotFound, "")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	since := time.Now().UTC().AddDate(0, 0, -suspiciousDays).Truncate(time.Second)
	sum, err := s.Administration.Audit.Summary(ctx, since)
	var newest []auditlog.Entry
	if err == nil {
		newest, err = s.Administration.Audit.Find(ctx, auditlog.Query{Suspicious: true, From: since, Limit: entriesPage})
	}
	if err != nil {
		s.unavailable(w, r, "read the audit log", err)
		return
	}
	l := &logView{
		Days: suspiciousDays, Total: sum.Total, Looked: sum.Entries, More: sum.More,
		ByKind:    s.tallies(ctx, "kind", sum.Kinds),
		BySource:  s.tallies(ctx, "addr", sum.Sources),
		ByAccount: s.tallies(ctx, "user", sum.Accounts),
	}
	if !problem.WantsHTML(r) {
		writeJSON(w, http.StatusOK, map[string]any{
			"since": since, "total": l.Total, "more": l.More, "kinds": l.ByKind, "sources": l.BySource, "accounts": l.ByAccount,
			"entries": append([]auditlog.Entry{}, newest...),
		})
		return
	}
	l.Items = s.named(ctx, newest)
	l.Next = s.logAddress("", url.Values{"suspicious": {"true"}}, 0)
	v := &adminView{Tab: "suspicious", Log: l}
	v.Title = text("suspicious.title")
	s.adminPage(w, r, http.StatusOK, "admin-suspicious", v)
}

// tallies puts words and addresses to what was counted by this field of the filter.
func (s *Site) tallies(ctx context.Context, by string, counted []auditlog.Tally) []tally {
	all := make([]tally, len(counted))
	for i, c := range counted {
		all[i] = tally{What: c.What, Count: c.Count, Last: c.Last, Words: c.What}
		all[i].Filter = s.logAddress("", url.Values{"suspicious": {"true"}, by: {c.What}}, 0)
		switch by {
		case "kind":
			all[i].Words = kindWords(c.What)
		case "user":
			if a, err := s.Administration.Accounts.Account(ctx, c.What); err == nil {
				all[i].Words = a.Name
			}
		}
	}
	return all
}
