// Package doctor looks at an installation and says what is wrong with it. It changes
// nothing and makes nothing, on a running service as on one that is stopped.
//
// What it looks at is divided into parts, which run at once and each under a deadline
// of its own: a server that hangs, or a configuration that cannot be read, leaves the
// others to speak. Every check has a stable name, which [Checks] lists.
package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

const (
	// partPatience is how long one part may take, and grace how much longer what runs
	// in it is waited for: a file system that hangs heeds no context.
	partPatience = 8 * time.Second
	grace        = 500 * time.Millisecond

	// publicPatience is that of a visit under the public address, which takes many
	// requests.
	publicPatience = 30 * time.Second
)

// Options are what is examined.
type Options struct {
	Settings *config.Examined
	Environ  []string // as os.Environ returns it
	Version  string   // of this program
	World    World    // the machine; the zero World is the one we run on

	// Public, if set, looks at the service as a browser does. It is one more part.
	Public func(ctx context.Context) finding.Result
}

// Report is what was found, the worst first.
type Report finding.Result

// examination is one run.
type examination struct {
	Options
	cfg  *config.Config
	keys keysFuture
}

// part is some of the checks, which need the same things.
type part struct {
	checks []string
	run    func(ctx context.Context, l *notes)
}

// Run examines. It returns within about ten seconds, whatever hangs; with
// Options.Public within about half a minute.
func Run(ctx context.Context, opts Options) *Report {
	opts.World = opts.World.complete()
	e := &examination{Options: opts, cfg: opts.Settings.Config}
	e.keys.done = make(chan struct{})
	parts := e.parts()
	books := make([]*notes, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		books[i] = &notes{checks: p.checks, patience: opts.World.Patience}
		if slices.Contains(p.checks, public) {
			books[i].patience = publicPatience
		}
		wg.Go(func() { books[i].fill(ctx, p.run) })
	}
	wg.Wait()
	return report(books)
}

// parts are all that apply to the settings.
func (e *examination) parts() []part {
	list := []part{
		{settingsChecks, e.settings},
		{filesChecks, e.files},
		{gitChecks, e.git},
		{keysChecks, e.keyring},
		{sharedChecks, e.shared},
		{systemChecks, e.system},
	}
	if e.cfg.TLS() {
		list = append(list, part{tlsChecks, e.tls})
	}
	list = append(list, e.placeParts()...)
	if e.Public != nil {
		list = append(list, part{[]string{public}, func(ctx context.Context, l *notes) { l.visited(e.Public(ctx)) }})
	}
	return list
}

// public names the visit under the public address among what was checked; what is looked
// at on the way has names of its own.
const public = "public"

// notes is what one part has found so far. Once it is closed, which is when the part
// has taken too long, nothing is added.
type notes struct {
	checks   []string
	patience time.Duration

	mu       sync.Mutex
	closed   bool
	findings []finding.Finding
	skipped  map[string]string // reason by check; "" where it does not apply
	late     bool
}

// fill runs a part and closes the notes.
func (l *notes) fill(ctx context.Context, run func(context.Context, *notes)) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				l.skip("stopped by a fault of this program: "+panicked(v), l.checks...)
			}
		}()
		run(ctx, l)
	}()
	late := false
	select {
	case <-done:
	case <-ctx.Done():
		select {
		case <-done:
		case <-time.After(grace):
			late = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.late = true, late
}

// panicked says what a panic was and where, which is what its report takes. It is called
// by the function that recovers. What the panic says may hold a secret, and is left out.
func panicked(v any) string {
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)]) // from what the runtime does of it
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%T at %s:%d", v, filepath.Base(f.File), f.Line)
		}
		if !more {
			return fmt.Sprintf("%T", v)
		}
	}
}

// find notes a finding. Why it matters stands in the list of checks.
func (l *notes) find(check string, level finding.Level, do, what string, args ...any) {
	l.take([]finding.Finding{{Check: check, Level: level, What: fmt.Sprintf(what, args...), Why: why(check), Do: do}})
}

func (l *notes) take(list []finding.Finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	for _, f := range list {
		f.What, f.Do = oneLine(f.What), oneLine(f.Do)
		if !slices.Contains(l.findings, f) {
			l.findings = append(l.findings, f)
		}
	}
}

// visited notes what came of the visit under the public address: only that says how far
// it went.
func (l *notes) visited(r finding.Result) {
	l.take(r.Findings)
	for _, n := range r.NotChecked {
		l.skip(n.Reason, n.Check)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.checks = append(slices.Clone(l.checks), r.Checked...)
	for _, n := range r.NotChecked {
		l.checks = append(l.checks, n.Check)
	}
}

// skip notes that checks could not be made. Without a reason they do not apply.
func (l *notes) skip(reason string, checks ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if l.skipped == nil {
		l.skipped = make(map[string]string)
	}
	for _, c := range checks {
		if _, ok := l.skipped[c]; !ok {
			l.skipped[c] = oneLine(reason)
		}
	}
}

// report puts the notes together.
func report(books []*notes) *Report {
	r := &Report{Findings: []finding.Finding{}, Checked: []string{}, NotChecked: []finding.NotChecked{}}
	for _, l := range books {
		l.mu.Lock()
		r.Findings = append(r.Findings, l.findings...)
		for _, c := range l.checks {
			reason, skipped := l.skipped[c]
			found := slices.ContainsFunc(l.findings, func(f finding.Finding) bool { return f.Check == c })
			switch {
			case skipped && reason == "" && !found: // does not apply
			case skipped && !found:
				r.NotChecked = append(r.NotChecked, finding.NotChecked{Check: c, Reason: reason})
			case l.late && !found:
				r.NotChecked = append(r.NotChecked, finding.NotChecked{Check: c, Reason: fmt.Sprintf("no answer within %v", l.patience)})
			default:
				r.Checked = append(r.Checked, c)
			}
		}
		l.mu.Unlock()
	}
	finding.Sort(r.Findings)
	r.Findings = slices.Compact(r.Findings)
	slices.Sort(r.Checked)
	r.Checked = slices.Compact(r.Checked)
	slices.SortFunc(r.NotChecked, func(a, b finding.NotChecked) int {
		return strings.Compare(a.Check+" "+a.Reason, b.Check+" "+b.Reason)
	})
	r.NotChecked = slices.Compact(r.NotChecked)
	return r
}

// oneLine keeps a text in one line, whatever a server or a path has put into it.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == ' ' }), " ")
}
