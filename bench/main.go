// Command bench runs Cloakroom and its peers side by side, in one process and by
// turns, and prints how they compare: alexedwards/scs, gorilla/sessions and
// gin-contrib/sessions, and below them a floor, which is what the same work costs
// with no session library at all.
//
//	make bench
//
// What counts are the ratios. Every figure is the median of five rounds; a ratio
// is the median of the ratios of the rounds, in each of which all contestants run
// in short turns. So a machine that becomes slower for a while becomes slower for
// all of them. The times beside the ratios belong to this machine and this hour
// and are worth nothing elsewhere.
//
// All contestants do the same: one visitor with the same three values, one
// handler that reads one of them, or sets one, and writes the same bytes; the same
// request, the same recorder in the place of a network. Beside them the program has
// 64 MiB in memory, as programs have. The bench is a module of its own, so that no
// program which imports Cloakroom finds its peers among its dependencies.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// config is how long and how often to measure.
type config struct {
	rounds int           // of which medians are taken
	turn   time.Duration // of one contestant in one round, all slices together
	slow   int           // rounds of what takes a minute each
	count  int           // sessions of "a million"
}

// A section measures some lines of the table.
type section struct {
	name string
	run  func(config) ([]line, error)
}

var sections = []section{
	{"memory", memory},
	{"untouched", untouched},
	{"redis", redis},
	{"sqlite", sqliteWrites},
	{"million", million},
	{"enduser", endUser},
	{"loopback", loopback},
}

func main() {
	var c config
	flag.IntVar(&c.rounds, "rounds", 5, "rounds of which the medians are taken")
	flag.DurationVar(&c.turn, "turn", time.Second, "how long each contestant runs in a round")
	flag.IntVar(&c.slow, "slow", 1, "rounds of a peer that takes a minute for each")
	flag.IntVar(&c.count, "count", 1_000_000, "how many sessions a million are")
	only := flag.String("only", "", "measure the sections that match: memory, untouched, redis, sqlite, million, enduser, loopback")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 || c.rounds < 1 || c.slow < 1 || c.count < 1000 || c.turn <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(os.Stdout, c, match); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// ballast is what else a program has in memory. With one session alone in it the
// collector would run hundreds of times a second, and what is measured would be
// the collector.
const ballast = 64 << 20

// run measures and prints. The tables come at the end, in one piece.
func run(w io.Writer, c config, match *regexp.Regexp) error {
	fmt.Fprintf(w, "%s, %s/%s, GOMAXPROCS %d, %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), peers())
	fmt.Fprintf(w, "%d rounds of %v; times of an operation and of requests are %s; %s\n", c.rounds, c.turn, clockName, load("before"))
	rest := make([]byte, ballast)
	defer runtime.KeepAlive(&rest)
	var lines []line
	for _, s := range sections {
		if !match.MatchString(s.name) {
			continue
		}
		start := time.Now()
		more, err := s.run(c)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		lines = append(lines, more...)
		fmt.Fprintf(w, "%-10s %4.0f s\n", s.name, time.Since(start).Seconds())
	}
	fmt.Fprintf(w, "%s\n\n", load("after"))
	printTables(w, lines)
	return nil
}

// peers names the versions of the peers as they are built in.
func peers() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "peers of unknown version"
	}
	var all []string
	for _, dep := range info.Deps {
		switch dep.Path {
		case "github.com/alexedwards/scs/v2", "github.com/gorilla/sessions", "github.com/gin-contrib/sessions",
			"github.com/gin-gonic/gin", "modernc.org/sqlite":
			all = append(all, strings.TrimPrefix(dep.Path, "github.com/")+" "+dep.Version)
		}
	}
	return strings.Join(all, ", ")
}

// load tells how busy the machine is, where that can be read.
func load(when string) string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "load " + when + " unknown"
	}
	return "load " + when + " " + strings.Join(strings.Fields(string(b))[:3], " ")
}
