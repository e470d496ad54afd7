package auditlog_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// hostile are texts that would begin a line of their own in a log, or make a terminal, a
// viewer or a spreadsheet show or do something else than is there.
var hostile = []string{
	"a\r\nlevel=ERROR msg=forged", "\x1b[2J\x1b]0;x\x07", "nul\x00", "\u2028line", "\u202etxt.exe", "\u0085next",
	"zero\u200bwidth\ufeff", "broken\xff\xfe", `quote" } { "msg":"forged"`, "\u2066isolate\u2069", "=1+1", "+1", "-1", "@SUM(A1)",
	"\t=1", "\r=1", `=HYPERLINK("http://evil.example","x")`, "a,b;c\td", "'; DROP TABLE cloakroom_audit; --", strings.Repeat("\u202e", 10_000),
	strings.Repeat("x", 100_000), "%s%d%n", "",
}

// report reports an event of some time.
func report(t *testing.T, log *slog.Logger, at time.Time, kind string, attrs ...slog.Attr) {
	t.Helper()
	r := slog.NewRecord(at, slog.LevelWarn, kind, 0)
	r.AddAttrs(attrs...)
	must(t, log.Handler().Handle(t.Context(), r))
}

// TestFindFilters compares every combination of filters with a loop over all entries.
func TestFindFilters(t *testing.T) { each(t, proveFilters) }

func proveFilters(t *testing.T, db database) {
	l, log := open(t, db, ring(t))
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 60 {
		// Several have one time, and times do not follow the numbers.
		at := noon.Add(time.Duration(i*7%20) * time.Second)
		who := []string{"ada", "bob", "\u202eeve"}[i%3]
		addr := event.Addr(fmt.Sprintf("192.0.2.%d", i%4))
		switch i % 5 {
		case 0:
			report(t, log, at, event.Login, event.User(who), addr)
		case 1:
			report(t, log, at, event.LoginRefused, event.User("Typed"), slog.String("account", who), addr)
		case 2:
			report(t, log, at, event.UserDisabled, event.User("zoe"), slog.String("actor", who))
		case 3:
			report(t, log, at, event.Throttled, event.User(who), slog.String("account", who), addr)
		case 4:
			report(t, log, at, event.SpoofedHeader, addr)
		}
	}
	all := find(t, l, auditlog.Query{Limit: 1000})
	if len(all) != 60 {
		t.Fatalf("%d entries, want 60", len(all))
	}
	if !slices.IsSortedFunc(all, func(a, b auditlog.Entry) int {
		if n := b.Time.Compare(a.Time); n != 0 {
			return n
		}
		return int(b.Seq - a.Seq)
	}) {
		t.Error("not the newest first")
	}
	for n := range 1 << 6 {
		var q auditlog.Query
		if n&1 != 0 {
			q.User = "ada"
		}
		if n&2 != 0 {
			q.Kind = event.Throttled
		}
		if n&4 != 0 {
			q.Addr = "192.0.2.3"
		}
		if n&8 != 0 {
			q.From = noon.Add(5 * time.Second)
		}
		if n&16 != 0 {
			q.To = noon.Add(15 * time.Second)
		}
		if n&32 != 0 {
			q.Suspicious = true
		}
		compare(t, l, all, q)
	}
	compare(t, l, all, auditlog.Query{User: auditlog.Who("\u202eeve")})
	compare(t, l, all, auditlog.Query{User: "ada", Also: []string{"bob", "", "ada"}})
	compare(t, l, all, auditlog.Query{Kind: "' OR 1=1 --"})
}

// compare pages through what a query finds.
func compare(t *testing.T, l *auditlog.Log, all []auditlog.Entry, q auditlog.Query) {
	t.Helper()
	var want []auditlog.Entry
	people := append([]string{q.User}, q.Also...)
	for _, e := range all {
		if (q.User == "" || slices.ContainsFunc(people, func(p string) bool { return p != "" && (e.User == p || e.Account == p || e.Actor == p) })) &&
			(q.Kind == "" || e.Kind == q.Kind) && (q.Addr == "" || e.Addr == q.Addr) && (!q.Suspicious || e.Suspicious) &&
			(q.From.IsZero() || !e.Time.Before(q.From)) && (q.To.IsZero() || e.Time.Before(q.To)) {
			want = append(want, e)
		}
	}
	var paged []auditlog.Entry
	for page := q; ; {
		page.Limit = 7
		list, err := l.Find(t.Context(), page)
		must(t, err)
		paged = append(paged, list...)
		if len(list) < 7 {
			break
		}
		page.Before = list[6].Seq
	}
	var each []auditlog.Entry
	for e, err := range l.Each(t.Context(), q) {
		must(t, err)
		each = append(each, e)
	}
	if seqs(paged) != seqs(want) || seqs(each) != seqs(want) {
		t.Errorf("%+v: found %s by page and %s at once, want %s", q, seqs(paged), seqs(each), seqs(want))
	}
}

// TestEachIsBounded: Limit is that of the whole, and who stops reading is not read to.
func TestEachIsBounded(t *testing.T) {
	db := file(t)
	fill(t, db, nil, 5)
	l := openLog(t, db)
	n := 0
	for range l.Each(t.Context(), auditlog.Query{Limit: 3}) {
		n++
	}
	for range l.Each(t.Context(), auditlog.Query{}) {
		break
	}
	if n != 3 {
		t.Errorf("%d entries, want 3", n)
	}
	if list, err := l.Find(t.Context(), auditlog.Query{Before: 99}); err != nil || len(list) != 0 {
		t.Errorf("before an entry that is no more: %v, %v", list, err)
	}
}

// TestASVS_16_3_3_WhatStandsOut: what is marked, and what is not.
func TestASVS_16_3_3_WhatStandsOut(t *testing.T) {
	l, log := open(t, file(t), nil)
	from := func(i int) slog.Attr { return event.Addr(fmt.Sprintf("192.0.2.%d", i)) }
	var want []bool
	add := func(suspicious bool, kind string, attrs ...slog.Attr) {
		report(t, log, time.Now(), kind, attrs...)
		want = append(want, suspicious)
	}
	for _, kind := range []string{event.Locked, event.BadCookie, event.TwoCookies, event.SpoofedHeader, event.CSRFRefused, event.Throttled, event.LinkRefused} {
		add(true, kind)
	}
	add(false, event.BadCookie, event.Reason("retired key"))
	add(true, event.NewDevice, event.Reason("after failures"))
	add(false, event.NewDevice)
	add(true, event.Setup, event.Outcome("refused"))
	add(false, event.Setup, event.Outcome("link issued"))
	add(false, event.Login)
	add(false, event.UserAdded)
	add(true, event.LoginRefused, event.Reason("locked"))
	for i := range 6 { // of one account, from everywhere
		add(i >= 4, event.LoginRefused, event.User(fmt.Sprint("Ada", i)), slog.String("account", "ada"), from(i))
	}
	for i := range 6 { // of everybody, from one network
		add(i >= 4, event.LoginRefused, event.User(fmt.Sprint("u", i)), event.Addr(fmt.Sprintf("2001:db8::%d", i)))
	}
	for i := range 6 { // neither
		add(false, event.ReauthRefused, event.User(fmt.Sprint("v", i)), from(20+i))
	}
	list := find(t, l, auditlog.Query{})
	for _, e := range list {
		if e.Suspicious != want[e.Seq-1] {
			t.Errorf("entry %d, %s %q of %s from %s: suspicious is %v", e.Seq, e.Kind, e.Reason, e.User, e.Addr, e.Suspicious)
		}
	}
	if len(list) != len(want) {
		t.Errorf("%d entries, want %d", len(list), len(want))
	}
	s, err := l.Summary(t.Context(), time.Now().Add(-time.Minute))
	must(t, err)
	if s.Total != 7+3+2+2 || s.Kinds[0].What != event.LoginRefused || s.Kinds[0].Count != 5 || time.Since(s.Kinds[0].Last) > time.Minute {
		t.Errorf("summary %+v", s)
	}
	if s, err := l.Summary(t.Context(), time.Now().Add(time.Minute)); err != nil || s.Total != 0 || s.Kinds != nil {
		t.Errorf("summary of the future %+v, %v", s, err)
	}
}

// standOut puts so many suspicious entries into a log, one a second until now, past the chain.
func standOut(t testing.TB, db database, n int) {
	t.Helper()
	change(t, db, `INSERT INTO cloakroom_audit WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?)
		SELECT i, ? - (? - i) * 1000, CAST('csrf_refused' AS BLOB), 1, x'', x'', x'', x'', CAST('10.0.0.' || (i % 100) AS BLOB), x'', x'', x'', 1, x'', x'', x'', x'', x'' FROM c`,
		n, time.Now().UnixMilli(), n)
}

// TestASVS_16_3_3_AnAttackHidesNotItself: what stood out is told of the newest entries, however
// many there are, and that there are more.
func TestASVS_16_3_3_AnAttackHidesNotItself(t *testing.T) {
	db := file(t)
	l := openLog(t, db)
	standOut(t, db, 20_001)
	s, err := l.Summary(t.Context(), time.Now().Add(-7*24*time.Hour))
	must(t, err)
	if s.Total != 20_000 || s.Entries != 20_000 || !s.More || len(s.Kinds) != 1 || s.Kinds[0].Count != 20_000 || len(s.Sources) != 20 || s.Sources[0].Count != 200 || s.Sources[0].What != "10.0.0.0" {
		t.Errorf("got %+v, want the newest 20,000, and that there are more", s)
	}
	if time.Since(s.Kinds[0].Last) > time.Minute {
		t.Errorf("last seen %v, want the newest", s.Kinds[0].Last)
	}
	s, err = l.Summary(t.Context(), time.Now().Add(-1000*time.Second))
	must(t, err)
	if s.More || s.Entries > 1000 || s.Entries < 900 {
		t.Errorf("got %+v, want all of a thousand seconds", s)
	}
}

// BenchmarkSummaryOfAMillion: however many entries stand out.
func BenchmarkSummaryOfAMillion(b *testing.B) {
	db := file(b)
	l, _ := open(b, db, nil)
	standOut(b, db, 1_000_000)
	for b.Loop() {
		s, err := l.Summary(b.Context(), time.Now().Add(-30*24*time.Hour))
		must(b, err)
		if !s.More {
			b.Fatal("not all entries stand out")
		}
	}
}

// TestASVS_16_4_1_HostileNames: text from outside stays one line of ASCII in every form, and no
// spreadsheet takes it for a formula. So does A42.
func TestASVS_16_4_1_HostileNames(t *testing.T) { each(t, proveHostile) }

func TestAttack_A42_LogInjection(t *testing.T) { proveHostile(t, file(t)) }

func proveHostile(t *testing.T, db database) {
	keys := ring(t)
	l, log := open(t, db, keys)
	for _, s := range hostile {
		event.Log(t.Context(), log, slog.LevelInfo, event.UserAdded, event.User(s), event.Addr(s), event.Text("name", s), event.Err(errors.New(s)),
			slog.String("actor", s), slog.String("account", s), slog.String("reason", s), slog.String("session", s), slog.String("request", s),
			slog.Any("other", s), slog.Group("g", s+"k", s), slog.Any("e", errors.New(s)), slog.Any("x", []string{s, s}))
	}
	must(t, l.Flush(t.Context()))
	whole(t, verify(t, db, keys), int64(len(hostile)))
	for i, s := range hostile {
		list, err := l.Find(t.Context(), auditlog.Query{User: auditlog.Who(s)})
		must(t, err)
		if s != "" && (len(list) == 0 || !slices.ContainsFunc(list, func(e auditlog.Entry) bool { return e.Seq == int64(i+1) })) {
			t.Errorf("%.40q is not found by its name", s)
		}
	}
	var jsonl, table bytes.Buffer
	if n, err := auditlog.WriteJSONL(&jsonl, l.Each(t.Context(), auditlog.Query{})); n != len(hostile) || err != nil {
		t.Errorf("%d lines of JSON, %v", n, err)
	}
	if n, err := auditlog.WriteCSV(&table, l.Each(t.Context(), auditlog.Query{})); n != len(hostile) || err != nil {
		t.Errorf("%d lines of CSV, %v", n, err)
	}
	if n := bytes.Count(jsonl.Bytes(), []byte("\n")); n != len(hostile) {
		t.Errorf("%d lines of JSON, want %d", n, len(hostile))
	}
	for line := range strings.Lines(jsonl.String()) {
		var e auditlog.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Seq == 0 || !strings.Contains(line, `Z","kind"`) {
			t.Errorf("%.80q: %v", line, err)
		}
		if len(line) > 40_000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	for _, b := range append(bytes.ReplaceAll(jsonl.Bytes(), []byte("\n"), nil), bytes.ReplaceAll(table.Bytes(), []byte("\r\n"), nil)...) {
		if b < ' ' || b > '~' {
			t.Fatalf("byte %#x in an export", b)
		}
	}
	cells, err := csv.NewReader(&table).ReadAll()
	must(t, err)
	for _, line := range cells[1:] {
		for _, c := range line {
			if c != "" && strings.Contains("=+-@\t\r", c[:1]) {
				t.Errorf("a formula: %.40q", c)
			}
		}
	}
}

// TestASVS_1_2_10_NoFormulaBehindASemicolon: nor is a cell one that a spreadsheet makes which takes
// semicolons for the ends of cells.
func TestASVS_1_2_10_NoFormulaBehindASemicolon(t *testing.T) {
	var table bytes.Buffer
	one := func(yield func(auditlog.Entry, error) bool) {
		yield(auditlog.Entry{User: "x;=HYPERLINK(1);@y;-z;plain", Name: "=1;+1"}, nil)
	}
	_, err := auditlog.WriteCSV(&table, one)
	must(t, err)
	cells, err := csv.NewReader(&table).ReadAll()
	must(t, err)
	if cells[1][4] != "x;'=HYPERLINK(1);'@y;'-z;plain" || cells[1][7] != "'=1;'+1" {
		t.Errorf("got %q", cells[1])
	}
}

// TestExportTellsItsFailure: half a file is not taken for a whole one.
func TestExportTellsItsFailure(t *testing.T) {
	gone := errors.New("gone")
	var half iter.Seq2[auditlog.Entry, error] = func(yield func(auditlog.Entry, error) bool) {
		if yield(auditlog.Entry{Seq: 1}, nil) {
			yield(auditlog.Entry{}, gone)
		}
	}
	var b bytes.Buffer
	if n, err := auditlog.WriteJSONL(&b, half); n != 1 || !errors.Is(err, gone) {
		t.Errorf("JSON: %d, %v", n, err)
	}
	if n, err := auditlog.WriteCSV(&b, half); n != 1 || !errors.Is(err, gone) {
		t.Errorf("CSV: %d, %v", n, err)
	}
	// Of one that cannot be read at all nothing leaves, not even headings.
	var none iter.Seq2[auditlog.Entry, error] = func(yield func(auditlog.Entry, error) bool) { yield(auditlog.Entry{}, gone) }
	b.Reset()
	if n, err := auditlog.WriteJSONL(&b, none); n != 0 || !errors.Is(err, gone) || b.Len() != 0 {
		t.Errorf("JSON: %d, %v, %s", n, err, &b)
	}
	if n, err := auditlog.WriteCSV(&b, none); n != 0 || !errors.Is(err, gone) || b.Len() != 0 {
		t.Errorf("CSV: %d, %v, %s", n, err, &b)
	}
}

// TestASVS_16_2_1_TheRequestIsNamed: the id and address of a request reach the entry behind the
// handler that knows them.
func TestASVS_16_2_1_TheRequestIsNamed(t *testing.T) {
	l, err := auditlog.Open(t.Context(), file(t), nil)
	must(t, err)
	defer l.Close()
	var out lines
	log := audit.Tee(audit.NewLogger(&out, "json", "info"), l.Handler)
	r := httptest.NewRequest("POST", "/auth/logout", nil)
	r.RemoteAddr = "192.0.2.7:5"
	audit.Middleware(log, nil, nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		event.Log(r.Context(), log, slog.LevelInfo, event.Logout, event.User("u"))
	})).ServeHTTP(httptest.NewRecorder(), r)
	list := find(t, l, auditlog.Query{})
	if len(list) != 1 || len(list[0].Request) < 8 || list[0].Addr != "192.0.2.7" {
		t.Errorf("got %+v, want a request's id and 192.0.2.7", list)
	}
	if len(list) == 1 && !strings.Contains(out.String(), list[0].Request) {
		t.Errorf("the line has another id: %s", out.String())
	}
}
