package awssecrets

import (
	"regexp"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// current is the staging label of the version that a secret is at.
const current = "AWSCURRENT"

// A place is where a secret lies.
type place struct {
	remote.Place
	id     string // name or ARN
	region string // empty: the SDK's
	stage  string
}

// What the API Reference of Secrets Manager allows in names (CreateSecret) and
// staging labels; regions and ARNs as AWS forms them.
var (
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)
	stageForm  = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,256}$`)
	regionForm = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+){1,5}$`)
	arnForm    = regexp.MustCompile(`^arn:[a-z][a-z0-9-]*:secretsmanager:([a-z0-9-]+):[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]{1,519}$`)
)

// parse reads a place, or tells every fault of it.
func parse(text string) (place, []string) {
	cut, faults := remote.Cut(text, "region", "version-stage")
	p := place{Place: cut, id: cut.Name, region: cut.Query.Get("region"), stage: cut.Query.Get("version-stage")}
	if p.region != "" && (!regionForm.MatchString(p.region) || len(p.region) > 64) {
		faults = append(faults, "parameter region: want one like eu-central-1")
	}
	if p.stage == "" {
		p.stage = current
	}
	if !stageForm.MatchString(p.stage) {
		faults = append(faults, "parameter version-stage: want a staging label like AWSCURRENT")
	}
	switch {
	case strings.HasPrefix(p.id, "arn:"):
		arn := arnForm.FindStringSubmatch(p.id)
		switch {
		case arn == nil || !regionForm.MatchString(arn[1]):
			faults = append(faults, "an ARN of a secret is like arn:aws:secretsmanager:eu-central-1:123456789012:secret:NAME-AbCdEf")
		case p.region != "" && p.region != arn[1]:
			faults = append(faults, "parameter region and the ARN name two regions; leave the parameter out")
		default:
			p.region = arn[1]
		}
	case p.id == "":
		faults = append(faults, "no secret is named: want NAME?region=eu-central-1#FIELD, or an ARN")
	case !nameForm.MatchString(p.id):
		faults = append(faults, "a secret's name has up to 512 letters, digits and /_+=.@-")
	}
	return p, faults
}
