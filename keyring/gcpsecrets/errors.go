package gcpsecrets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// What a server sends may be anything, and package oauth2 puts it into its errors.
// None of it is shown: answers are told apart, and each has words of its own.
var (
	errGarbage      = errors.New("the answer is not one of Secret Manager's; see what listens at the endpoint")
	errTokenGarbage = errors.New("the answer to the request for a token is not one; see token_uri in the file of credentials, or GCE_METADATA_HOST")
)

// A refusal is an answer that is no 200.
type refusal struct {
	status int
	gone   bool // the API says that there is no such version, or that it is not enabled
	text   string
}

func (r *refusal) Error() string { return r.text }

// refused puts an answer of the API into words. Its form is the one of all of
// Google's APIs (AIP-193): a code, a name for it, a message, details.
func (c *call) refused(status int, body []byte, permission string) error {
	var answer struct {
		Error struct {
			Message string
			Status  string
			Details []struct{ Reason string }
		}
	}
	// Where it is something else, the status has to do.
	_ = json.Unmarshal(body, &answer)
	message := strings.ToLower(secretName.ReplaceAllString(answer.Error.Message, ""))
	var reason string
	for _, d := range answer.Error.Details {
		reason += " " + d.Reason
	}
	text := c.words(status, answer.Error.Status, message, reason, permission)
	if status == http.StatusUnauthorized {
		// A late refusal of the token before says nothing of the one in use.
		c.s.bearer.CompareAndSwap(c.bearer, nil)
	}
	gone := status == http.StatusNotFound && answer.Error.Status == "NOT_FOUND" ||
		status == http.StatusBadRequest && answer.Error.Status == "FAILED_PRECONDITION" && notEnabled.MatchString(message) && !ofKMS(message)
	return c.s.errorf("%w", &refusal{status, gone, text})
}

// words returns what is said of a refusal.
func (c *call) words(status int, name, message, reason, permission string) string {
	switch {
	case name == "" && status < 500 && status != http.StatusTooManyRequests:
		return fmt.Sprintf("the answer is not one of Secret Manager's but HTTP status %d; see what listens at the endpoint", status)
	case status == http.StatusUnauthorized:
		if off := c.watch.Clock(); off != "" {
			return "the token is refused: " + off + "; set it, best by NTP"
		}
		return "the token is refused: it has expired or was taken back; see the service account, its keys, and this machine's clock"
	case ofKMS(message) && (status == http.StatusForbidden || status == http.StatusBadRequest):
		return "decryption failed: the Cloud KMS key of the secret is disabled, destroyed, out of reach or not for Secret Manager; see its state, and give Secret Manager's service agent roles/cloudkms.cryptoKeyEncrypterDecrypter"
	case status == http.StatusForbidden && strings.Contains(reason, "SERVICE_DISABLED"):
		return "the Secret Manager API is not enabled in the project; enable it with gcloud services enable secretmanager.googleapis.com"
	case status == http.StatusForbidden && strings.Contains(reason, "SCOPE"):
		return "the token lacks the scope cloud-platform; give the machine that access scope"
	case status == http.StatusForbidden && strings.Contains(reason, "BILLING"):
		return "the project has no billing account; see its billing"
	case status == http.StatusForbidden:
		return "permission denied: the identity lacks " + permission + " on this secret; grant it " + role(permission) + " there"
	case status == http.StatusNotFound && strings.Contains(message, "version"):
		return "the secret has no such version, or none at all; add one with gcloud secrets versions add"
	case status == http.StatusNotFound:
		return "no such secret in this project; see its name, project and location, or make it with gcloud secrets create"
	case status == http.StatusBadRequest && name == "FAILED_PRECONDITION":
		return c.state(message)
	case status == http.StatusBadRequest:
		return "the request is refused as invalid; see the name of the secret and, of a regional one, its location"
	case status == http.StatusTooManyRequests:
		return "throttled: the project's quota of calls to Secret Manager is used up; look less often, or raise it"
	case status >= 500:
		return fmt.Sprintf("the service fails with HTTP status %d; it will be tried again", status)
	}
	return fmt.Sprintf("the answer is not one of Secret Manager's but HTTP status %d; see what listens at the endpoint", status)
}

var (
	// secretName is what a message names a secret by, whose words say nothing.
	secretName = regexp.MustCompile(`projects/[^/\s]+(?:/locations/[^/\s]+)?/secrets/[A-Za-z0-9_-]+`)

	// notEnabled is a message in small letters on a version that is in one of the two
	// states that last (v1, SecretVersion.State). What else may be wrong, passes.
	notEnabled = regexp.MustCompile(`\bversion\b[^.:;]*\b(?:disabled|destroyed)\b`)
)

// ofKMS tells whether a message in small letters is about the key that a secret is
// encrypted under, be it at Cloud KMS or elsewhere.
func ofKMS(message string) bool {
	return slices.ContainsFunc([]string{"kms", "cryptokey", "key manager", "key management", "ekm"}, func(word string) bool { return strings.Contains(message, word) })
}

// state tells what is wrong with a version's.
func (c *call) state(message string) string {
	switch {
	case strings.Contains(message, "destroyed"):
		return "the version is destroyed; add another with gcloud secrets versions add"
	case strings.Contains(message, "disabled"):
		return "the version is disabled; enable it with gcloud secrets versions enable, or add another"
	}
	return "the secret or its version is not in a state to be used; see gcloud secrets versions list"
}

// role is the narrowest predefined one with a permission.
func role(permission string) string {
	if permission == "secretmanager.versions.add" {
		return "roles/secretmanager.secretVersionAdder"
	}
	return "roles/secretmanager.secretAccessor"
}

// linkError puts into words why the API was not reached.
func (c *call) linkError(err error) error {
	link := remote.Explain(c.ctx, err)
	if link == nil {
		link = errGarbage
	}
	return c.s.errorf("%w", link)
}

// tokenError puts into words why there is no token.
func (s *Source) tokenError(ctx context.Context, watch *remote.Watch, err error) error {
	var answer *oauth2.RetrieveError
	var none noMetadata
	var meta errMetadata
	switch {
	case errors.Is(err, errTokenGarbage):
		return s.errorf("%w", errTokenGarbage)
	case errors.Is(err, remote.ErrPlaintext):
		return s.errorf("the server that gives tokens: %w; see token_uri in the file of credentials, or GCE_METADATA_HOST", remote.ErrPlaintext)
	case ctx.Err() != nil:
		return s.errorf("while getting a token (from where GOOGLE_APPLICATION_CREDENTIALS says, or the metadata server): %w", remote.Explain(ctx, ctx.Err()))
	case errors.As(err, &none):
		return s.errorf("%w", errNoCredentials)
	case errors.As(err, &meta):
		if meta == http.StatusNotFound {
			return s.errorf("the metadata server knows no service account; give the machine one")
		}
		return s.errorf("the metadata server refuses with HTTP status %d; see the machine's service account and, on GKE, workload identity", int(meta))
	case errors.As(err, &answer) && answer.Response != nil:
		return s.errorf("%s", tokenWords(answer.Response.StatusCode, answer.Body, watch))
	case s.link.status >= 300:
		return s.errorf("%s", tokenWords(s.link.status, nil, watch))
	}
	if link := remote.Explain(ctx, err); link != nil {
		return s.errorf("while getting a token: %w", link)
	}
	if text := err.Error(); strings.Contains(text, "private key") || strings.Contains(text, "asn1") || strings.Contains(text, "x509") {
		return s.errorf("the private key in the file of credentials cannot be read; download the file anew")
	}
	return s.errorf("%w", errTokenGarbage)
}

// tokenWords puts the answer of a token endpoint into words (RFC 6749 §5.2).
func tokenWords(status int, body []byte, watch *remote.Watch) string {
	var answer struct {
		Error       any
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(body, &answer)
	code, _ := answer.Error.(string)
	description := strings.ToLower(answer.Description)
	switch {
	case code == "invalid_grant" && (watch.Clock() != "" || strings.Contains(description, "iat") || strings.Contains(description, "timeframe")):
		if off := watch.Clock(); off != "" {
			return "the credentials are refused: " + off + "; set it, best by NTP"
		}
		return "the credentials are refused: this machine's clock seems to be off; set it, best by NTP"
	case code == "invalid_grant":
		return "the credentials are refused: the service account or its key was deleted or disabled, or the login has expired; make a new key, or run gcloud auth application-default login"
	case code == "invalid_client" || code == "unauthorized_client" || code == "access_denied" || code == "invalid_scope" || status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "the credentials are refused: they are not of a kind that is allowed here; see the service account and the file of credentials and, where one account impersonates another, grant roles/iam.serviceAccountTokenCreator"
	case status == http.StatusTooManyRequests:
		return "throttled: too many tokens are asked for; see what else uses these credentials"
	case status >= 500:
		return fmt.Sprintf("the server that gives tokens fails with HTTP status %d; it is asked again", status)
	}
	return fmt.Sprintf("the server that gives tokens refuses with HTTP status %d; see token_uri in the file of credentials", status)
}
