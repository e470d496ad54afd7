package gcpsecrets

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

const (
	// latest is the alias of the version that was added last.
	latest = "latest"

	// global is where secrets are kept that name no location.
	global = "https://secretmanager.googleapis.com"
)

// A place is where a secret lies.
type place struct {
	remote.Place
	secret   string // projects/P[/locations/L]/secrets/S
	version  string
	endpoint string // without a slash at its end
}

// Resource names as the REST reference of Secret Manager has them (v1, secrets and
// secrets.versions): a project by id, number or domain-scoped id; a secret's name has
// 1 to 255 letters, digits, - and _; a version is a number or an alias.
var (
	nameForm    = regexp.MustCompile(`^(projects/(?:[a-z0-9.-]{1,128}:)?[a-z0-9-]{1,64}(?:/locations/([a-z0-9-]{1,64}))?/secrets/[A-Za-z0-9_-]{1,255})(?:/versions/([A-Za-z0-9_-]{1,63}))?$`)
	endpointEnd = regexp.MustCompile(`^/?$`)
)

// parse reads a place, or tells every fault of it.
func parse(text string, plaintext bool) (place, []string) {
	cut, faults := remote.Cut(text, "endpoint")
	p := place{Place: cut, version: latest, endpoint: global}
	switch m := nameForm.FindStringSubmatch(cut.Name); {
	case cut.Name == "":
		faults = append(faults, "no secret is named: want projects/PROJECT/secrets/SECRET#FIELD")
	case m == nil:
		faults = append(faults, "a secret is named like projects/PROJECT/secrets/SECRET, with /locations/LOCATION behind the project if it is a regional one, and /versions/VERSION at the end to stay with one version")
	default:
		p.secret = m[1]
		if m[2] != "" {
			p.endpoint = "https://secretmanager." + m[2] + ".rep.googleapis.com"
		}
		if m[3] != "" {
			p.version = m[3]
		}
	}
	if e := cut.Query.Get("endpoint"); e != "" {
		switch u, err := url.Parse(e); {
		case err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !endpointEnd.MatchString(u.Path) || u.Scheme != "https" && u.Scheme != "http":
			faults = append(faults, "parameter endpoint: want an address like https://secretmanager.europe-west3.rep.googleapis.com")
		case !remote.MayTalk(u, plaintext):
			faults = append(faults, "parameter endpoint: plain http to another host; write https (ASVS 12.3.1)")
		default:
			p.endpoint = strings.TrimSuffix(e, "/")
		}
	}
	return p, faults
}
