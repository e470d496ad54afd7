package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// locate finds out what the links of this command begin with, and what to say of that.
// Settings that name an address have the last word. Without them it is that of the
// instance that runs; but its row in the database has no signature, and a link carries a
// secret to wherever it leads: so an address beyond this machine is told, for whoever
// knows whether it is right, and never taken.
func (c *console) locate(ctx context.Context, cmd *cobra.Command) {
	c.base = c.cfg.Base(c.cfg.Listen)
	listen := config.Settings("listen")[0].Default
	guess := c.cfg.PublicURL == nil && c.cfg.Listen == listen && !cmd.Flags().Changed("listen")
	running := c.running(ctx)
	alike := func(origin string) bool { return sameOrigin(origin, c.base) }
	const again = "give its --public-url or --listen and ask for another link"
	switch {
	case !guess && len(running) > 0 && !slices.ContainsFunc(running, alike):
		c.note = fmt.Sprintf("the link leads to %s, as the settings say, and the running instance says that it is at %s", c.base, running[0])
	case !guess || len(running) == 1 && alike(running[0]):
	case len(running) == 1 && local(running[0]):
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
	f, err := c.b.Fleet(ctx)
	if err != nil {
		return nil
	}
	list, err := f.Instances(ctx)
	if err != nil {
		return nil
	}
	var origins []string
	for _, i := range list {
		if u, err := config.ParseOrigin(c.says(i)); err == nil {
			origins = append(origins, u.Scheme+"://"+u.Host)
		}
	}
	slices.Sort(origins)
	return slices.Compact(origins)
}

// says returns what an instance says of its address: its public URL, else where it
// listens on this machine; "" for nothing that means something here.
func (c *console) says(i fleet.Instance) string {
	if i.URL != "" {
		return i.URL
	}
	addr := i.Addr
	if machine, rest, ok := strings.Cut(addr, " "); ok { // see running.place
		if host, err := os.Hostname(); err != nil || machine != host {
			return ""
		}
		addr = rest
	}
	if addr == "" {
		return ""
	}
	listens := *c.cfg
	listens.PublicURL = nil
	return listens.Base(addr)
}

// local tells whether an origin is on this machine.
func local(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && link.Local(u.Hostname())
}

// sameOrigin tells whether two origins are one. This machine has several names.
func sameOrigin(a, b string) bool {
	u, err1 := url.Parse(a)
	v, err2 := url.Parse(b)
	if err1 != nil || err2 != nil || u.Scheme != v.Scheme || portOf(u) != portOf(v) {
		return false
	}
	return strings.EqualFold(u.Hostname(), v.Hostname()) || local(a) && local(b)
}

// portOf returns the port of an origin, which may be left out.
func portOf(u *url.URL) string {
	if u.Port() == "" {
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Port()
}
