package auditlog

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"iter"
	"strconv"
	"strings"
)

// WriteJSONL writes entries as JSON, one object a line, and returns how many that were.
func WriteJSONL(w io.Writer, entries iter.Seq2[Entry, error]) (n int, err error) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for e, err := range entries {
		if err == nil {
			err = enc.Encode(e)
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// csvHeader is the first line of a CSV export.
var csvHeader = []string{"seq", "time", "kind", "suspicious", "user", "account", "actor", "name", "addr", "session", "request", "reason", "count", "details"}

// WriteCSV writes entries as CSV (RFC 4180) behind a line of headings, and returns how many
// that were. A cell that a spreadsheet would take for a formula begins with an apostrophe
// (ASVS 1.2.10).
func WriteCSV(w io.Writer, entries iter.Seq2[Entry, error]) (n int, err error) {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(csvHeader); err != nil {
		return 0, err
	}
	for e, err := range entries {
		if err != nil {
			if n > 0 { // of a log that cannot be read, no headings leave either
				out.Flush()
			}
			return n, err
		}
		details, err := encodeDetails(e.Details)
		if err != nil {
			return n, err
		}
		cells := []string{strconv.FormatInt(e.Seq, 10), e.Time.Format(timeLayout), e.Kind, strconv.FormatBool(e.Suspicious), e.User,
			e.Account, e.Actor, e.Name, e.Addr, e.Session, e.Request, e.Reason, strconv.Itoa(e.Count), string(details)}
		for i, c := range cells {
			cells[i] = harmless(c)
		}
		if err := out.Write(cells); err != nil {
			return n, err
		}
		n++
	}
	out.Flush()
	return n, out.Error()
}

// harmless keeps a cell from being a formula, also where a spreadsheet takes semicolons for
// the ends of cells, as half of Europe's do.
func harmless(cell string) string {
	parts := strings.Split(cell, ";")
	for i, part := range parts {
		if part != "" && strings.ContainsRune("=+-@\t\r", rune(part[0])) {
			parts[i] = "'" + part
		}
	}
	return strings.Join(parts, ";")
}
