package probe

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// Why checks were not made.
const (
	NoAccount = noAccount
	CutShort  = cutShort
	OutOfTime = outOfTime
)

// Stages are the checks of each stage.
func Stages() (list [][]string) {
	for _, s := range stages {
		list = append(list, s.checks)
	}
	return list
}

// World is what a test puts in the place of the network.
type World struct {
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	Now    func() time.Time
	Wait   time.Duration
}

// In returns the options in another world.
func (o Options) In(w World) Options {
	o.net = network{lookup: w.Lookup, dial: w.Dial, now: w.Now, wait: w.Wait}
	return o
}

// Jar is a browser's cookies.
type Jar struct{ jar jar }

func (j *Jar) Set(u *url.URL, line string, now time.Time) error { return j.jar.set(u, line, now) }
func (j *Jar) Header(u *url.URL, sameSite, follows bool, now time.Time) string {
	return j.jar.header(u, sameSite, follows, now)
}

// BlocksForm is what a policy says of the form of a page.
func BlocksForm(policy string, self, to *url.URL) string { return blocksForm(policy, self, to) }
