package awssecrets_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/awssecrets"
)

// canary stands in secrets, credentials and tokens, and may stand in no error.
const canary = "kanarienvogel"

// check wants an error of one line with these words, and without a canary or a word of the
// SDK's.
func check(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v, want %q", what, err, w)
		}
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if s := e.Error(); strings.Contains(s, canary) || strings.Contains(s, "Signature=") || strings.Contains(s, "StatusCode") || strings.ContainsAny(s, "\n\r") || len(s) > 600 {
			t.Errorf("%s: shows too much: %q", what, s)
		}
	}
}

// answers are what the service may say, and what is made of it. What is in the
// message beside the words that it is told by must not come out.
var answers = []struct {
	status        int
	kind, message string
	want          string
}{
	{400, "AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized to perform: secretsmanager:GetSecretValue", "not allowed secretsmanager:GetSecretValue"},
	{400, "AccessDeniedException", "Access to KMS is not allowed", "kms:Decrypt"},
	{400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.", "no such secret"},
	{400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT", "no version with the staging label AWSCURRENT"},
	{400, "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.", "restore-secret"},
	{400, "InvalidRequestException", "You tried to do something else.", "state of the secret"},
	{400, "InvalidParameterException", "Invalid name.", "refused as invalid"},
	{400, "DecryptionFailure", "Secrets Manager can't decrypt the protected secret text using the provided KMS key.", "decryption failed"},
	{400, "com.amazonaws.secretsmanager#DecryptionFailure", "", "decryption failed"},
	{400, "ExpiredTokenException", "The security token included in the request is expired", "have expired"},
	{400, "UnrecognizedClientException", "The security token included in the request is invalid.", "credentials are refused"},
	{403, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided.", "credentials are refused"},
	{403, "InvalidSignatureException", "Signature expired: 20261121T000000Z is now earlier than 20261121T001000Z", "clock"},
	{400, "ThrottlingException", "Rate exceeded", "throttled"},
	{400, "LimitExceededException", "", "quota"},
	{500, "InternalServiceError", "An error occurred on the server side.", "service fails"},
	{503, "ServiceUnavailable", "", "service fails"},
	{400, canary, "", "reason that is not known"},
}

// TestFaultsOfTheService: each error of the documentation has words of its own, and
// no error shows what the server says.
func TestFaultsOfTheService(t *testing.T) {
	s := serve(t, canary)
	for _, a := range answers {
		s.faulty(func(w http.ResponseWriter, _ string) bool {
			refuse(w, a.status, a.kind, a.message+" "+canary+"\n"+canary)
			return true
		})
		_, err := open(t, name).Read(t.Context())
		check(t, a.kind, err, a.want, name)
	}
	s.called()
	s.faulty(func(w http.ResponseWriter, _ string) bool { refuse(w, 400, "ThrottlingException", ""); return true })
	open(t, name).Read(t.Context())
	if n := len(s.called()); n != 3 {
		t.Errorf("%d attempts under throttling, want 3", n)
	}
}

// TestLongOutage: after a hundred looks in vain the error is still that of the first.
func TestLongOutage(t *testing.T) {
	s := serve(t, "x")
	s.faulty(func(w http.ResponseWriter, _ string) bool { refuse(w, 500, "InternalServiceError", ""); return true })
	src := open(t, name)
	for range 100 {
		_, err := src.Read(t.Context())
		check(t, "outage", err, "service fails")
	}
}

// TestWriteFaults: each call of a Write names its own permission.
func TestWriteFaults(t *testing.T) {
	s := serve(t, "old")
	for _, action := range []string{"GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"} {
		s.faulty(func(w http.ResponseWriter, a string) bool {
			if a == action {
				refuse(w, 400, "AccessDeniedException", canary)
			}
			return a == action
		})
		err := open(t, name).Write(t.Context(), []byte("old"), []byte(canary))
		check(t, action, err, "not allowed secretsmanager:"+action)
		if s.current() != "old" {
			t.Errorf("%s: the secret was changed", action)
		}
	}
}

// TestGarbage: what is no answer of the service.
func TestGarbage(t *testing.T) {
	s := serve(t, "x")
	for what, c := range map[string]struct {
		f    http.HandlerFunc
		want string
	}{
		"no JSON":  {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, canary) }, "not one of Secrets Manager's"},
		"cut JSON": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"SecretString":"`+canary) }, "not one of Secrets Manager's"},
		"empty":    {func(http.ResponseWriter, *http.Request) {}, "not one of Secrets Manager's"},
		"wrong type": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"VersionId":"v","SecretString":["`+canary+`"]}`)
		}, "not one of Secrets Manager's"},
		"no version": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"SecretString":"`+canary+`"}`) }, "not one of Secrets Manager's"},
		"HTML": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			io.WriteString(w, "<html>"+canary)
		}, "HTTP status 404"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/"+canary, http.StatusTemporaryRedirect)
		}, "HTTP status 307"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := strings.Repeat(canary, 1000)
			for range 200 {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
			}
		}, "longer than any"},
		"broken off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "broke off"},
	} {
		t.Run(what, func(t *testing.T) {
			garbage := httptest.NewServer(c.f)
			defer garbage.Close()
			t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", garbage.URL)
			_, err := open(t, name).Read(t.Context())
			check(t, what, err, c.want)
		})
	}
	_ = s
}

// TestFaultsOfTheSecret: what is stored is not what is wanted.
func TestFaultsOfTheSecret(t *testing.T) {
	s := serve(t, canary)
	for text, want := range map[string]string{
		canary: "not a JSON object", `"` + canary + `"`: "not a JSON object", `["` + canary + `"]`: "not a JSON object", `{"a":"` + canary + `"}`: `no field "f"`,
		`{"f":1, "a":"` + canary + `"}`: "not a string", `{"f":"` + canary + `","f":"x"}`: "twice", `{"f":"` + canary + `"} x`: "not a JSON object", `{"f":"` + canary: "not a JSON object",
	} {
		s.set("22222222-2222-4222-8222-222222222222", text)
		_, err := open(t, name+"#f").Read(t.Context())
		check(t, text, err, want)
	}
	s.mu.Lock()
	s.binary["22222222-2222-4222-8222-222222222222"] = []byte(canary + "\xff\x00")
	s.mu.Unlock()
	_, err := open(t, name).Read(t.Context())
	check(t, "binary", err, "binary")
}

// TestFaultsOfCredentials: none, wrong ones, a clock that is off, tokens that cannot
// be exchanged. Nothing of them is shown.
func TestFaultsOfCredentials(t *testing.T) {
	s := serve(t, "x")
	read := func() error { _, err := open(t, name).Read(t.Context()); return err }
	t.Setenv("AWS_SECRET_ACCESS_KEY", canary)
	check(t, "wrong secret", read(), "credentials are refused")
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.secret)
	t.Setenv("AWS_SESSION_TOKEN", canary)
	check(t, "wrong session", read(), "credentials are refused")
	t.Setenv("AWS_SESSION_TOKEN", "")

	// The SDK takes the server's clock for its own where it can: that is no fault.
	s.mu.Lock()
	s.ahead = time.Hour
	s.mu.Unlock()
	if err := read(); err != nil {
		t.Errorf("with a clock that is off: %v", err)
	}
	s.faulty(func(w http.ResponseWriter, _ string) bool {
		refuse(w, 403, "InvalidSignatureException", canary)
		return true
	})
	check(t, "clock", read(), "clock is", "behind")
	s.faulty(nil)

	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	check(t, "none", read(), "no credentials")
	t.Setenv("AWS_REGION", "")
	check(t, "no region", read(), "no region", "AWS_REGION")
	t.Setenv("AWS_REGION", region)
	t.Setenv("AWS_PROFILE", canary)
	check(t, "no profile", read(), "AWS_PROFILE")
	t.Setenv("AWS_PROFILE", "")

	file := os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	check(t, "no file", read(), "AWS_SHARED_CREDENTIALS_FILE")
	os.Remove(file)
	if err := os.WriteFile(file, []byte("[default]\ncredential_process = echo "+canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, "broken process", read(), "no credentials can be had")
	os.Remove(file)
	t.Setenv("AWS_CA_BUNDLE", file)
	check(t, "no CA", read(), "AWS_CA_BUNDLE")
}

// TestWebIdentity: a token is exchanged at STS, whose refusals are told; it is not
// shown in clear to another host.
func TestWebIdentity(t *testing.T) {
	s := serve(t, "x")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	good := true
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("WebIdentityToken") != canary || !good {
			w.WriteHeader(400)
			io.WriteString(w, `<ErrorResponse><Error><Code>ExpiredTokenException</Code><Message>`+canary+`</Message></Error></ErrorResponse>`)
			return
		}
		io.WriteString(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>`+s.key+`</AccessKeyId><SecretAccessKey>`+
			s.secret+`</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
	}))
	defer sts.Close()
	s.session = "session"
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_WEB_IDENTITY_TOKEN_FILE": file,
		"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x", "AWS_ENDPOINT_URL_STS": sts.URL} {
		t.Setenv(name, value)
	}
	if _, err := open(t, name).Read(t.Context()); err != nil {
		t.Error(err)
	}
	good = false
	_, err := open(t, name).Read(t.Context())
	check(t, "expired", err, "AWS_WEB_IDENTITY_TOKEN_FILE")
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://192.0.2.1")
	_, err = open(t, name).Read(t.Context())
	check(t, "in clear", err, "gives credentials", "https")
}

// TestMetadata: a role's credentials come from the instance's own service; on a
// machine without one the error says so within the bound.
func TestMetadata(t *testing.T) {
	s := serve(t, "x")
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
			io.WriteString(w, "token")
		case "/latest/meta-data/iam/security-credentials/":
			io.WriteString(w, "role")
		case "/latest/meta-data/iam/security-credentials/role":
			json.NewEncoder(w).Encode(map[string]string{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": s.key, "SecretAccessKey": s.secret,
				"Token": "session", "Expiration": "2099-01-01T00:00:00Z", "LastUpdated": "2026-01-01T00:00:00Z"})
		default:
			http.NotFound(w, r)
		}
	}))
	defer metadata.Close()
	s.session = "session"
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.URL)
	if _, err := open(t, name).Read(t.Context()); err != nil {
		t.Error(err)
	}
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", hole(t))
	src, err := awssecrets.Open(name, &awssecrets.Options{Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = src.Read(t.Context())
	check(t, "no metadata service", err, "credentials")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// TestMetadataHasNoTLS: the instance's and the container's own services are spoken
// with in clear, as they have nothing else, and what they say is used.
func TestMetadataHasNoTLS(t *testing.T) {
	s := serve(t, "x")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	for variable, url := range map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://169.254.169.254", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/"} {
		t.Setenv(variable, url)
		src, err := awssecrets.Open(name, &awssecrets.Options{Timeout: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		_, err = src.Read(t.Context())
		check(t, url, err, "credentials")
		if strings.Contains(err.Error(), "https") {
			t.Errorf("%s: %v", url, err)
		}
		t.Setenv(variable, "")
	}
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != canary {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"code":"`+canary+`","message":"`+canary+`"}`)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"AccessKeyId": s.key, "SecretAccessKey": s.secret, "Token": "session", "Expiration": "2099-01-01T00:00:00Z"})
	}))
	defer container.Close()
	s.session = "session"
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.URL)
	_, err := open(t, name).Read(t.Context())
	check(t, "container refuses", err, "credentials")
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", canary)
	if _, err := open(t, name).Read(t.Context()); err != nil {
		t.Error(err)
	}
}

// hole returns the address of a server that takes connections and says nothing.
func hole(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String()
}

// TestTimeout: a call ends with its context and with its own bound, and the errors
// are those of the context.
func TestTimeout(t *testing.T) {
	serve(t, "x")
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", hole(t))
	src, err := awssecrets.Open(name, &awssecrets.Options{Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = src.Read(t.Context())
	check(t, "timeout", err, "no answer in time")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = open(t, name).Read(ctx)
	check(t, "canceled", err, "given up")
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := src.Write(t.Context(), nil, []byte(canary)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestASVS_12_3_2_TLS: a server is refused whose certificate is of nobody's, or not
// of TLS at all, and taken where AWS_CA_BUNDLE names its authority.
func TestASVS_12_3_2_TLS(t *testing.T) {
	s := serve(t, "x")
	secure := httptest.NewUnstartedServer(s)
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	defer secure.Close()
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", secure.URL)
	_, err := open(t, name).Read(t.Context())
	check(t, "unknown authority", err, "TLS failed", "does not trust")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(secure.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", ca)
	if _, err := open(t, name).Read(t.Context()); err != nil {
		t.Error(err)
	}
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", strings.Replace(s.URL, "http:", "https:", 1))
	_, err = open(t, name).Read(t.Context())
	check(t, "no TLS", err, "TLS failed")
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://127.0.0.1:1")
	_, err = open(t, name).Read(t.Context())
	check(t, "nobody there", err, "refused")
}

// TestPromise11_ErrorsOfKeys: what is no ring is refused by the ring, without a byte.
func TestPromise11_ErrorsOfKeys(t *testing.T) {
	serve(t, "v1 "+canary+" nonsense\n"+canary)
	_, err := keyring.Load(t.Context(), open(t, name))
	if err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("%v", err)
	}
}
