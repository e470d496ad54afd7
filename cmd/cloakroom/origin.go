package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// asking bounds how long the database is asked for the instances: a link has been made
// by then, and waits.
const asking = 2 * time.Second

// locate finds out what the links of this command begin with, and what to say of that.
// Settings that name an address or a prefix have the last word. Without them it is that
// of the instance that runs; but its row in the database has no signature, and a link
// carries a secret to wherever it leads: so an address beyond this machine is told, for
// whoever knows whether it is right, and never taken.
func (c *console) locate(ctx context.Context, cmd *cobra.Command) {
	listen, prefix := config.Settings("listen")[0].Default, config.Settings("prefix")[0].Default
	guess := c.cfg.PublicURL == nil && c.cfg.Listen == listen && c.cfg.Prefix == prefix && !cmd.Flags().Changed("listen")
	running := c.running(ctx)
	alike := func(base string) bool { return sameBase(base, c.base) }
	const again = "give its --public-url or --listen, and --prefix, and ask for another link"
	switch {
	case !guess && len(running) > 0 && !slices.ContainsFunc(running, alike):
		c.note = fmt.Sprintf("the link leads to %s, as the settings say, and the running instance says that it is at %s", c.base, running[0])
	case !guess || slices.ContainsFunc(running, alike) && !slices.ContainsFunc(running, beyond):
	case len(running) > 0 && !slices.ContainsFunc(running, beyond): // of several each will do
		c.base = running[0]
		c.note = fmt.Sprintf("the link leads to %s, where an instance says that it runs; if the service is elsewhere, %s", c.base, again)
	case len(running) == 1:
		c.note = fmt.Sprintf("the link is a guess: it leads to the default address, %s, and the running instance says that it is at %s; if that is the service's address, %s", listen, running[0], again)
	default:
		c.note = fmt.Sprintf("the link is a guess: it leads to the default address, %s; if the service is elsewhere, %s", listen, again)
	}
}

// running returns where browsers find the instances that run, as far as they say so and
// it is an address that the settings would take. That they cannot be asked keeps nobody
// from a link.
func (c *console) running(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	f, err := c.b.Fleet(ctx)
	if err != nil {
		return nil
	}
	list, err := f.Instances(ctx)
	if err != nil {
		return nil
	}
	var bases []string
	for _, i := range list {
		if u, err := config.ParseBase(i.URL); err == nil && !(link.Local(u.Hostname()) && elsewhere(i)) {
			bases = append(bases, u.String())
		}
	}
	slices.Sort(bases)
	return slices.Compact(bases)
}

// elsewhere tells whether an instance runs on another machine, whose loopback means
// nothing here; see running.place.
func elsewhere(i fleet.Instance) bool {
	machine, _, named := strings.Cut(i.Addr, " ")
	if !named {
		return false
	}
	host, err := os.Hostname()
	return err != nil || machine != host
}

// beyond tells whether an address is beyond this machine.
func beyond(base string) bool { return !local(base) }

func local(base string) bool {
	u, err := url.Parse(base)
	return err == nil && link.Local(u.Hostname())
}

// sameBase tells whether two addresses are one. This machine has several names.
func sameBase(a, b string) bool {
	u, err1 := url.Parse(a)
	v, err2 := url.Parse(b)
	if err1 != nil || err2 != nil || u.Scheme != v.Scheme || portOf(u) != portOf(v) || u.Path != v.Path {
		return false
	}
	return strings.EqualFold(u.Hostname(), v.Hostname()) || local(a) && local(b)
}

// portOf returns the port of an address, which may be left out.
func portOf(u *url.URL) string {
	if u.Port() == "" {
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Port()
}
