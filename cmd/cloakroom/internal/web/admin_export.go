package web

import (
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// exporter writes entries in a format, and returns how many.
type exporter func(io.Writer, iter.Seq2[auditlog.Entry, error]) (int, error)

// exportJSONL sends the log as JSON, one entry a line.
func (s *Site) exportJSONL(w http.ResponseWriter, r *http.Request) {
	s.export(w, r, "jsonl", "application/jsonl", auditlog.WriteJSONL)
}

// exportCSV sends the log as a table.
func (s *Site) exportCSV(w http.ResponseWriter, r *http.Request) {
	s.export(w, r, "csv", "text/csv; charset=utf-8", auditlog.WriteCSV)
}

// export sends the entries that the filter selects, the newest first, as they are
// read: the log may be larger than memory. An export that breaks off breaks the
// connection, so that nobody takes half of a log for the whole.
func (s *Site) export(w http.ResponseWriter, r *http.Request, suffix, media string, write exporter) {
	if s.Administration.Audit == nil {
		s.fail(w, r, http.StatusNotFound, "")
		return
	}
	ctx := r.Context()
	// An export is written down under the name of who asks for it: no other site's link may
	// make anybody ask.
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		event.Log(ctx, s.Logger, slog.LevelWarn, event.CSRFRefused, event.Addr(s.manager.ClientAddr(r)), event.Reason("export"))
		s.fail(w, r, http.StatusForbidden, problem.CrossOrigin)
		return
	}
	aq, err := s.logQuery(ctx, r.URL.Query())
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, err.Error())
		return
	}
	aq.Limit = 0
	if r.URL.Query().Get("limit") != "" {
		s.fail(w, r, http.StatusBadRequest, "An export has no limit")
		return
	}
	name := fmt.Sprintf("cloakroom-audit-%s.%s", time.Now().UTC().Format("20060102-150405"), suffix)
	out := &download{w: w, name: name, media: media}
	n, err := write(out, s.Administration.Audit.Each(ctx, aq))
	if err != nil && !out.begun {
		s.unavailable(w, r, "read the audit log", err)
		return
	}
	by := s.actor(r)
	event.Log(ctx, s.Logger, slog.LevelInfo, event.AuditExported, slog.String("actor", by.ID), event.Addr(by.Addr), slog.Int("count", n), event.Err(err))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out.begin() // of a log without entries
}

// download is the answer of an export. Its header leaves with the first byte, so that
// a log which cannot be read at all is an error page, and no empty file.
type download struct {
	w           http.ResponseWriter
	name, media string
	begun       bool
}

func (d *download) begin() {
	if d.begun {
		return
	}
	d.begun = true
	h := d.w.Header()
	h.Set("Content-Type", d.media)
	h.Set("Content-Disposition", `attachment; filename="`+d.name+`"`)
	d.w.WriteHeader(http.StatusOK)
}

// stall is how long a client may take for the next piece of an export.
const stall = 30 * time.Second

// Write sends a piece. As long as somebody takes them, an export may last longer than
// an answer otherwise may; without deadlines, as in tests, it just goes on.
func (d *download) Write(p []byte) (int, error) {
	d.begin()
	_ = http.NewResponseController(d.w).SetWriteDeadline(time.Now().Add(stall))
	return d.w.Write(p)
}
