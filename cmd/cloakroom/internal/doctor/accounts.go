package doctor

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// accounts judges who can administer, and how passwords are kept.
func (e *examination) accounts(ctx context.Context, l *notes, t *target, users *sqlusers.Users) {
	switch all, able, err := users.CountAdmins(ctx); {
	case err != nil:
		l.skip(t.name()+" does not list accounts", "no-admin", "one-admin")
	case all == 0:
		l.find("no-admin", finding.Warning, "cloakroom setup-link", "%s: there is no administrator", t.name())
	case able == 0:
		l.find("no-admin", finding.Warning, "cloakroom user enable NAME, or cloakroom user reset NAME", "%s: no administrator is enabled and has a password", t.name())
	case able == 1:
		l.find("one-admin", finding.OK, "cloakroom user add NAME --role admin --invite", "%s: only one administrator can sign in", t.name())
	}
	e.pepper(ctx, l, t, users)
}

// pepper judges whether hashes are encrypted as the settings say.
func (e *examination) pepper(ctx context.Context, l *notes, t *target, users *sqlusers.Users) {
	if e.cfg.Pepper {
		plain, err := users.UnsealedHashes(ctx)
		if err != nil {
			l.skip(t.name()+" does not count hashes", "pepper-plain")
		}
		if plain > 0 {
			l.find("pepper-plain", finding.Warning, "each is encrypted when its owner signs in; for those who do not come: cloakroom user reset NAME",
				"pepper is on, and %s not encrypted in %s", hashes(plain), t.name())
		}
	}
	ring := e.keys.wait(ctx)
	if ring == nil {
		l.skip("the keys cannot be read", "pepper-key")
		return
	}
	sealed, err := users.SealedHashes(ctx)
	if err != nil {
		l.skip(t.name()+" does not count hashes", "pepper-key")
		return
	}
	const reset = "for those whose key is lost: cloakroom user reset NAME"
	for key, n := range sealed { // findings are sorted
		switch id, ok := keyring.SealedBy(key[:]); {
		case !ok:
			l.find("pepper-key", finding.Error, "restore them from a backup, or cloakroom user reset NAME", "%s damaged, and name no key", hashes(n))
		case !ring.Has(id):
			l.find("pepper-key", finding.Error, "restore the key file that has the key; "+reset, "%s encrypted under the key %s, which is not among ours", hashes(n), id)
		}
	}
}

// hashes counts hashes, as a subject.
func hashes(n int) string {
	if n == 1 {
		return "1 hash is"
	}
	return fmt.Sprintf("%d hashes are", n)
}

// fleet judges the instances that run now.
func (e *examination) fleet(ctx context.Context, l *notes, f *fleet.Fleet) {
	list, err := f.Instances(ctx)
	if err != nil {
		l.skip("the instances cannot be listed", accountChecks[4:]...)
		return
	}
	if len(list) == 0 {
		l.skip("", accountChecks[4:]...)
		return
	}
	e.judgeFleet(l, list, e.keys.wait(ctx))
}

func (e *examination) judgeFleet(l *notes, list []fleet.Instance, ring *keyring.Ring) {
	keys, versions, urls := make(map[string]string), make(map[string]string), make(map[string]string)
	for _, i := range list {
		if i.Keys != "" {
			keys[i.Keys] = i.Name()
		}
		versions[i.Version] = i.Name()
		if u, err := url.Parse(i.URL); err != nil {
			l.skip("an instance does not say its public address", "fleet-url")
		} else if u.Hostname() != "" && !link.Local(u.Hostname()) {
			urls[u.Scheme+"://"+u.Host] = i.Name()
		}
		if i.Failing != "" {
			l.find("fleet-failing", finding.Warning, "see that this instance reaches the source of its keys", "instance %.80q: %.120q", i.Name(), i.Failing)
		}
	}
	const wait = "wait half a minute and run this again; if it stays: "
	if len(keys) > 1 {
		l.find("fleet-keys", finding.Error, wait+"give all of them one source of keys, and restart those that have others", "%s", differ("keys", keys))
	} else if ring == nil {
		l.skip("the keys cannot be read", "fleet-keys")
	} else if len(keys) == 1 && keys[fleet.Describe(ring.Keys())] == "" {
		l.find("fleet-keys", finding.Warning, wait+"name the keys that the instances have", "the running instances have other keys than %s: %s", e.cfg.Keys, event.Printable(slices.Sorted(maps.Keys(keys))[0]))
	}
	if len(versions) > 1 {
		l.find("fleet-version", finding.Warning, "finish the upgrade", "%s", differ("versions", versions))
	}
	if len(urls) > 1 {
		l.find("fleet-url", finding.Error, "give each application keys and a database of its own, or all instances one public-url", "%s", differ("public addresses", urls))
	}
}

// differ says which values there are, and an instance of each.
func differ(what string, values map[string]string) string {
	var list []string
	for v, instance := range values {
		list = append(list, event.Printable(instance)+" has "+event.Printable(v))
	}
	slices.Sort(list)
	return "running instances have different " + what + ": " + strings.Join(list, "; ")
}
