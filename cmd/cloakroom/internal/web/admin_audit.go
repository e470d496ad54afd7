package web

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// How many entries stand on a page.
const (
	entriesPage    = 50
	maxEntriesPage = 1000
	lastOfUser     = 8 // on the page about a user
)

// logItem is an entry of the audit log with names for IDs.
type logItem struct {
	auditlog.Entry
	What    string // the kind in words
	Subject person // who it is about
	By      person // who did it, if that is somebody else
	More    string // what else is known
}

// Second is when it happened, as a column of times shows it.
func (i logItem) Second() string { return i.Time.UTC().Format("2006-01-02 15:04:05") }

// person is somebody in an entry: the name of an account and the address of its page,
// or what the entry says where there is no account.
type person struct{ Name, Page string }

// logView is a page of the audit log.
type logView struct {
	Items            []logItem
	User, Kind, Addr string // of the filter
	From, To         string
	Suspicious       bool
	Kinds            []kindOption
	First, Next      string // addresses; "" for none
	JSONL, CSV       string
	Filtered         bool

	ByKind, BySource, ByAccount []tally // of the page of suspicious activity
	Days, Total                 int
	Looked                      int  // how many entries that is of
	More                        bool // there are older ones
}

type kindOption struct{ Kind, Words string }

const (
	errTime   = malformed("Parameters from and to must be times like 2006-01-02T15:04:05Z")
	errBefore = malformed("Parameter before must be the number of an entry")
	errMany   = malformed("Parameter limit must be a number from 1 to 1000")
	errYes    = malformed("Parameter suspicious must be true or false")
)

// parseLogQuery reads what entries are asked for, but the person.
func parseLogQuery(q url.Values) (auditlog.Query, error) {
	aq := auditlog.Query{Kind: q.Get("kind"), Addr: strings.TrimSpace(q.Get("addr")), Limit: entriesPage}
	var err error
	if aq.From, err = parseTime(q.Get("from")); err != nil {
		return aq, err
	}
	if aq.To, err = parseTime(q.Get("to")); err != nil {
		return aq, err
	}
	if text := q.Get("before"); text != "" {
		if aq.Before, err = strconv.ParseInt(text, 10, 64); err != nil || aq.Before < 1 {
			return aq, errBefore
		}
	}
	if text := q.Get("limit"); text != "" {
		if aq.Limit, err = strconv.Atoi(text); err != nil || aq.Limit < 1 || aq.Limit > maxEntriesPage {
			return aq, errMany
		}
	}
	switch q.Get("suspicious") {
	case "", "false":
	case "true":
		aq.Suspicious = true
	default:
		return aq, errYes
	}
	return aq, nil
}

// parseTime reads a time as programs write it, or as a browser's field for it does:
// in UTC, which the page says.
func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errTime
}

// logQuery reads the whole of what entries are asked for. A person may be given by
// name or by ID; one that has no account stands in the log as it was typed.
func (s *Site) logQuery(ctx context.Context, q url.Values) (auditlog.Query, error) {
	aq, err := parseLogQuery(q)
	who := strings.TrimSpace(q.Get("user"))
	if err != nil || who == "" {
		return aq, err
	}
	aq.User = auditlog.Who(who)
	if a, err := s.Administration.Accounts.Account(ctx, who); err == nil {
		aq.User, aq.Also = a.ID, []string{auditlog.Who(a.Name)}
	} else if canonical, err := auth.CanonicalName(who); err == nil {
		if u, err := s.Accounts.ByName(ctx, canonical); err == nil {
			aq.Also = []string{u.ID}
		}
	}
	return aq, nil
}

// entries finds a page of the log; false: it has been answered.
func (s *Site) entries(w http.ResponseWriter, r *http.Request) (aq auditlog.Query, list []auditlog.Entry, ok bool) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	aq, err := s.logQuery(ctx, r.URL.Query())
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, err.Error())
		return aq, nil, false
	}
	aq.Limit++ // the one more tells whether there is another page
	list, err = s.Administration.Audit.Find(ctx, aq)
	aq.Limit--
	if err != nil {
		s.unavailable(w, r, "read the audit log", err)
		return aq, nil, false
	}
	return aq, list, true
}

// adminAudit shows the audit log, the newest entries first.
func (s *Site) adminAudit(w http.ResponseWriter, r *http.Request) {
	if s.Administration.Audit == nil {
		s.fail(w, r, http.StatusNotFound, "")
		return
	}
	aq, list, ok := s.entries(w, r)
	if !ok {
		return
	}
	next := int64(0)
	if len(list) > aq.Limit {
		list = list[:aq.Limit]
		next = list[len(list)-1].Seq
	}
	if !problem.WantsHTML(r) {
		writeJSON(w, http.StatusOK, struct {
			Entries []auditlog.Entry `json:"entries"`
			Next    int64            `json:"next,omitempty"`
		}{append([]auditlog.Entry{}, list...), next})
		return
	}
	q := r.URL.Query()
	l := &logView{
		Items: s.named(r.Context(), list), User: q.Get("user"), Kind: aq.Kind, Addr: aq.Addr,
		From: localTime(aq.From), To: localTime(aq.To), Suspicious: aq.Suspicious, Kinds: kindOptions(),
		JSONL: s.logAddress("/export.jsonl", q, 0), CSV: s.logAddress("/export.csv", q, 0),
	}
	l.Filtered = s.logAddress("", q, 0) != s.logAddress("", nil, 0)
	if aq.Before != 0 {
		l.First = s.logAddress("", q, 0)
	}
	if next != 0 {
		l.Next = s.logAddress("", q, next)
	}
	v := &adminView{Tab: "audit", Log: l}
	v.Title = text("audit.title")
	s.adminPage(w, r, http.StatusOK, "admin-audit", v)
}

// logAddress is an address of the log under the same filter.
func (s *Site) logAddress(page string, q url.Values, before int64) string {
	to := make(url.Values)
	for _, name := range []string{"user", "kind", "addr", "from", "to", "suspicious"} {
		if value := q.Get(name); value != "" {
			to.Set(name, value)
		}
	}
	if before != 0 {
		to.Set("before", strconv.FormatInt(before, 10))
	}
	if len(to) == 0 {
		return s.Prefix + "/admin/audit" + page
	}
	return s.Prefix + "/admin/audit" + page + "?" + to.Encode()
}

// localTime is a time as a browser's field for it takes it.
func localTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04")
}

// kindOptions are the kinds of entries by their words.
func kindOptions() []kindOption {
	var all []kindOption
	for name := range adminTexts {
		if kind, ok := strings.CutPrefix(name, "kind."); ok {
			all = append(all, kindOption{kind, kindWords(kind)})
		}
	}
	slices.SortFunc(all, func(a, b kindOption) int { return cmp.Compare(a.Words, b.Words) })
	return all
}

// kindWords says what an event means. One that a newer program has written keeps its
// name.
func kindWords(kind string) string {
	if words, ok := adminTexts["kind."+kind]; ok {
		return words
	}
	return kind
}

// aboutUsers are the kinds of entries whose name is that of the user.
var aboutUsers = map[string]bool{event.UserAdded: true, event.UserRemoved: true, event.UserRenamed: true}

// named puts names to the IDs of entries. Each account is looked up once; what cannot
// be looked up stays as it is.
func (s *Site) named(ctx context.Context, list []auditlog.Entry) []logItem {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	known, called := make(map[string]person), make(map[string]string)
	for _, e := range list {
		// The name of whose account is gone stands in other entries about them.
		if called[e.User] == "" && aboutUsers[e.Kind] {
			called[e.User] = e.Name
		}
	}
	who := func(id string) person {
		if id == "" {
			return person{}
		}
		p, ok := known[id]
		if !ok {
			p = person{Name: cmp.Or(called[id], id)}
			if a, err := s.Administration.Accounts.Account(ctx, id); err == nil {
				p = person{a.Name, s.userPage(a.ID)}
			} else if id == "console" || id == "rotation" {
				p.Name = text("audit." + id)
			}
			known[id] = p
		}
		return p
	}
	items := make([]logItem, len(list))
	for i, e := range list {
		items[i] = logItem{Entry: e, What: kindWords(e.Kind), Subject: person{Name: e.User}, More: e.More()}
		if !typed(e) {
			items[i].Subject = who(cmp.Or(e.Account, e.User))
		}
		if e.Actor != "" && e.Actor != e.User {
			items[i].By = who(e.Actor)
		}
	}
	return items
}

// typed tells whether the user of an entry is what somebody typed who wanted to sign in,
// and no account's name: an ID or "console" that was typed there is nobody's.
func typed(e auditlog.Entry) bool {
	return e.Account == "" && (e.Kind == event.LoginRefused || e.Kind == event.Throttled) && e.Reason != "not saved"
}

// lastEntries are the last entries about a user or of theirs, and the address of all.
// A page about a user is not worth less without them.
func (s *Site) lastEntries(r *http.Request, id string) ([]logItem, string) {
	if s.Administration.Audit == nil {
		return nil, ""
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	q := url.Values{"user": {id}}
	aq, err := s.logQuery(ctx, q)
	if err == nil {
		aq.Limit = lastOfUser
		var list []auditlog.Entry
		if list, err = s.Administration.Audit.Find(ctx, aq); err == nil {
			return s.named(ctx, list), s.logAddress("", q, 0)
		}
	}
	s.log(r, "read the audit log", err)
	return nil, s.logAddress("", q, 0)
}
