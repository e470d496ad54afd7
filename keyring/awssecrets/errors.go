package awssecrets

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// The SDK's errors hold what the server sent, which may be anything, and at times what
// was sent there. None of their text is shown: they are told apart, and each has words
// of its own.
var (
	errGarbage       = errors.New("the answer is not one of Secrets Manager's; see what listens at the endpoint")
	errNoCredentials = errors.New("no credentials: none in the environment (AWS_ACCESS_KEY_ID), the shared files (AWS_PROFILE) or of a web identity, and neither the container nor the instance metadata service gives any; give the machine a role, or set them")
)

// explain puts into words why a call failed, and whether the credentials were refused.
func (s *Source) explain(ctx context.Context, action string, watch *remote.Watch, err error) (explained error, refused bool) {
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() != "" && api.ErrorCode() != "UnknownError" {
		text, refused := s.told(action, api.ErrorCode(), api.ErrorMessage(), watch)
		return s.errorf("%s", text), refused
	}
	if link := remote.Explain(ctx, err); link != nil {
		return s.errorf("%w", link), false
	}
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) && resp.Response != nil {
		switch code := resp.HTTPStatusCode(); {
		case code == http.StatusTooManyRequests:
			return s.errorf("%s", throttled), false
		case code >= 500:
			return s.errorf("the service fails with HTTP status %d; it will be tried again", code), false
		case code >= 300:
			return s.errorf("the answer is not one of Secrets Manager's but HTTP status %d; see what listens at the endpoint", code), false
		}
	}
	return s.errorf("%w", errGarbage), false
}

const throttled = "throttled: too many calls to Secrets Manager in this account and region; look less often"

// told puts an error of the service into words, by its code: the common errors and
// those of the three actions in the API Reference, and the shorter names that some
// endpoints give them.
func (s *Source) told(action, code, message string, watch *remote.Watch) (text string, refused bool) {
	message = strings.ToLower(message)
	switch strings.TrimSuffix(code, "Exception") {
	case "AccessDenied", "NotAuthorized", "UnauthorizedOperation":
		if strings.Contains(message, "kms") {
			return "permission denied: the identity is not allowed " + kmsAction(action) + " with the KMS key of the secret; allow it in the key's policy and in the identity's", false
		}
		return "permission denied: the identity is not allowed " + action + " on this secret; allow it in its IAM policy, and see the secret's resource policy", false
	case "ResourceNotFound":
		if strings.Contains(message, "staging label") || strings.Contains(message, "version") {
			return "the secret has no version with the staging label " + s.place.stage + "; store a value, or see version-stage in the place", false
		}
		return "no such secret in this region and account; see name and region, or make it with aws secretsmanager create-secret", false
	case "InvalidRequest":
		if strings.Contains(message, "delet") {
			return "the secret is scheduled for deletion; restore it with aws secretsmanager restore-secret, or name another", false
		}
		return "the request does not fit the state of the secret; see aws secretsmanager describe-secret", false
	case "DecryptionFailure":
		return "decryption failed: the KMS key of the secret is disabled, pending deletion or not for this identity; enable it, and allow kms:Decrypt", false
	case "EncryptionFailure":
		return "encryption failed: the KMS key of the secret is disabled, pending deletion or not for this identity; enable it, and allow kms:GenerateDataKey", false
	case "ExpiredToken", "TokenRefreshRequired":
		return "the credentials have expired; renew them (aws sso login, or the role's session)", true
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		return "the signature is out of time: " + clock(watch), true
	case "UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId", "MissingAuthenticationToken", "AuthFailure", "InvalidSignature", "SignatureDoesNotMatch", "IncompleteSignature":
		if watch.Clock() != "" || strings.Contains(message, "expired") || strings.Contains(message, "not yet current") {
			return "the signature is out of time: " + clock(watch), true
		}
		return "the credentials are refused: the access key is unknown or inactive, its secret is wrong, or they are of another partition; see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile", true
	case "Throttling", "Throttled", "RequestThrottled", "TooManyRequests", "RequestLimitExceeded", "SlowDown", "BandwidthLimitExceeded":
		return throttled, false
	case "LimitExceeded":
		return "a quota of Secrets Manager is used up, that of versions above all; write less often, at most once in ten minutes over a day", false
	case "InternalServiceError", "InternalServerError", "InternalFailure", "ServiceUnavailable":
		return "the service fails; it will be tried again", false
	case "InvalidParameter", "Validation":
		return "the request is refused as invalid; see the name of the secret and version-stage", false
	}
	return "the service refuses for a reason that is not known here; try aws secretsmanager get-secret-value with the same credentials", false
}

// kmsAction is the permission on the key that goes with one on the secret.
func kmsAction(action string) string {
	if action == "secretsmanager:PutSecretValue" {
		return "kms:GenerateDataKey and kms:Decrypt"
	}
	return "kms:Decrypt"
}

// clock says what to do about one that is off.
func clock(watch *remote.Watch) string {
	if off := watch.Clock(); off != "" {
		return off + "; set it, best by NTP"
	}
	return "see this machine's clock, best kept by NTP"
}

// configError puts into words why the SDK cannot be set up.
func (s *Source) configError(ctx context.Context, err error) error {
	var profile config.SharedConfigProfileNotExistError
	var file config.SharedConfigLoadError
	var role config.SharedConfigAssumeRoleError
	var arn config.CredentialRequiresARNError
	var path *fs.PathError
	switch {
	case ctx.Err() != nil:
		return s.errorf("%w", remote.Explain(ctx, ctx.Err()))
	case errors.As(err, &profile):
		return s.errorf("the profile that AWS_PROFILE names is in none of the shared files; see ~/.aws/config and ~/.aws/credentials")
	case errors.As(err, &file):
		return s.errorf("a shared file of AWS cannot be read; see ~/.aws/config and ~/.aws/credentials, or AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE")
	case errors.As(err, &role), errors.As(err, &arn):
		return s.errorf("the profile's role is not complete; see role_arn, source_profile and credential_source in ~/.aws/config")
	case errors.As(err, &path), strings.Contains(err.Error(), "CA bundle"):
		return s.errorf("the file of AWS_CA_BUNDLE, or ca_bundle in ~/.aws/config, cannot be read or has no certificates")
	}
	return s.errorf("environment and shared files of AWS cannot be understood; see the AWS_… variables and ~/.aws/config")
}

// credentialsError puts into words why there are no credentials.
func (s *Source) credentialsError(ctx context.Context, err error) error {
	var api smithy.APIError
	var canceled *aws.RequestCanceledError
	switch {
	case ctx.Err() != nil, errors.As(err, &canceled):
		link := remote.Explain(ctx, errors.Join(err, ctx.Err()))
		return s.errorf("while looking for credentials (is there a role? is a metadata service meant to be there?): %w", link)
	case errors.Is(err, remote.ErrPlaintext):
		return s.errorf("the endpoint that gives credentials: %w; see AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_ENDPOINT_URL_STS and AWS_ENDPOINT_URL", remote.ErrPlaintext)
	case strings.Contains(err.Error(), "EC2 IMDS"):
		// The end of the chain: there was nothing before it.
		return s.errorf("%w", errNoCredentials)
	case errors.As(err, &api) && api.ErrorCode() != "" && api.ErrorCode() != "UnknownError":
		switch strings.TrimSuffix(api.ErrorCode(), "Exception") {
		case "AccessDenied":
			return s.errorf("permission denied while getting credentials: the identity is not allowed sts:AssumeRole or sts:AssumeRoleWithWebIdentity; see the trust policy of the role")
		case "ExpiredToken", "InvalidIdentityToken", "IDPRejectedClaim":
			return s.errorf("the token that is to be exchanged for credentials has expired or is refused; see AWS_WEB_IDENTITY_TOKEN_FILE and the role's trust policy")
		}
		return s.errorf("credentials are refused by what gives them; see role, profile and trust policy")
	}
	if link := remote.Explain(ctx, err); link != nil {
		return s.errorf("while getting credentials: %w", link)
	}
	return s.errorf("no credentials can be had from what environment or profile name; see AWS_PROFILE, AWS_WEB_IDENTITY_TOKEN_FILE and AWS_CONTAINER_CREDENTIALS_FULL_URI, or try aws sts get-caller-identity")
}
