package doctor

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

// headings of the groups of a report, the worst first.
var headings = []struct {
	level finding.Level
	text  string
}{
	{finding.Error, "Errors"},
	{finding.Warning, "Warnings"},
	{finding.OK, "Good to know"},
}

// WriteText writes a report for people.
func (r *Report) WriteText(w io.Writer) error {
	p := &printer{w: w}
	for _, h := range headings {
		first := true
		for _, f := range r.Findings {
			if f.Level != h.level {
				continue
			}
			if first {
				p.printf("%s\n", h.text)
				first = false
			}
			p.printf("\n  %s: %s\n      why: %s\n      do:  %s\n", f.Check, f.What, f.Why, f.Do)
		}
		if !first {
			p.printf("\n")
		}
	}
	if len(r.NotChecked) > 0 {
		p.printf("Not checked\n\n")
		for _, reason := range r.reasons() {
			p.printf("  %s:\n", reason)
			wrap(p, r.without(reason))
		}
		p.printf("\n")
	}
	p.printf("%s\n", r.summary())
	return p.err
}

// reasons are those of what could not be checked, in order.
func (r *Report) reasons() []string {
	var list []string
	for _, n := range r.NotChecked {
		list = append(list, n.Reason)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// without are the checks that could not be made for a reason.
func (r *Report) without(reason string) []string {
	var list []string
	for _, n := range r.NotChecked {
		if n.Reason == reason {
			list = append(list, n.Check)
		}
	}
	return list
}

// wrap writes words, with commas, in lines of about 80 characters.
func wrap(p *printer, words []string) {
	const indent, width = "      ", 80
	line := indent
	for i, word := range words {
		if i < len(words)-1 {
			word += ","
		}
		if len(line)+len(word) >= width && line != indent {
			p.printf("%s\n", strings.TrimRight(line, " "))
			line = indent
		}
		line += word + " "
	}
	p.printf("%s\n", strings.TrimRight(line, " "))
}

// summary is the last line.
func (r *Report) summary() string {
	n := make(map[finding.Level]int)
	for _, f := range r.Findings {
		n[f.Level]++
	}
	text := "nothing found"
	if n[finding.Error]+n[finding.Warning] > 0 {
		text = plural(n[finding.Error], "error") + ", " + plural(n[finding.Warning], "warning")
	}
	text += "; " + plural(len(r.Checked), "check") + " made"
	if len(r.NotChecked) > 0 {
		text += fmt.Sprintf(", %d not", len(r.NotChecked))
	}
	return text
}

// split divides a message into what is wrong and what to do, which stands behind the
// first semicolon, or behind the last colon where there is none. Where there is neither,
// otherwise is what to do.
func split(fault, otherwise string) (what, do string) {
	if what, do, ok := strings.Cut(fault, "; "); ok {
		return what, do
	}
	if i := strings.LastIndex(fault, ": "); i > 0 {
		return fault[:i], fault[i+2:]
	}
	return fault, otherwise
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// printer writes until something fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
