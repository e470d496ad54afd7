package gcpsecrets_test

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
	"github.com/cloakroom-dev/cloakroom/keyring/gcpsecrets"
)

// canary stands in secrets, credentials and tokens, and may stand in no error.
const canary = "kanarienvogel"

// check wants an error of one line with these words, and without a canary, a token or
// an assertion or a word of package oauth2's.
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
		s := e.Error()
		if strings.Contains(s, canary) || strings.Contains(s, bearer) || strings.Contains(s, "eyJ") || strings.Contains(s, "oauth2") || strings.ContainsAny(s, "\n\r") || len(s) > 600 {
			t.Errorf("%s: shows too much: %q", what, s)
		}
	}
}

// TestFaultsOfTheService: each error of the API has words of its own, and none shows
// what the server says.
func TestFaultsOfTheService(t *testing.T) {
	s := serve(t, canary)
	for _, a := range []struct {
		status        int
		name, message string
		reason, want  string
	}{
		{401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", "ACCESS_TOKEN_EXPIRED", "the token is refused"},
		{403, "PERMISSION_DENIED", "Permission 'secretmanager.versions.access' denied for resource", "IAM_PERMISSION_DENIED", "lacks secretmanager.versions.access"},
		{403, "PERMISSION_DENIED", "Secret Manager API has not been used in project 1 before or it is disabled.", "SERVICE_DISABLED", "gcloud services enable"},
		{403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "scope"},
		{403, "PERMISSION_DENIED", "This API method requires billing to be enabled.", "BILLING_DISABLED", "billing"},
		{400, "FAILED_PRECONDITION", "Cloud KMS key is disabled: projects/p/locations/l/keyRings/r/cryptoKeys/k", "", "decryption failed"},
		{404, "NOT_FOUND", "Secret [projects/1234/secrets/cloakroom] not found.", "", "no such secret"},
		{404, "NOT_FOUND", "Secret Version [projects/1234/secrets/cloakroom/versions/9] not found.", "", "no such version"},
		{400, "FAILED_PRECONDITION", "Secret Version [x] is in DISABLED state.", "", "version is disabled"},
		{400, "FAILED_PRECONDITION", "Secret Version [x] is in DESTROYED state.", "", "version is destroyed"},
		{400, "FAILED_PRECONDITION", "Something else.", "", "not in a state"},
		{400, "INVALID_ARGUMENT", "", "", "refused as invalid"},
		{429, "RESOURCE_EXHAUSTED", "Quota exceeded", "RATE_LIMIT_EXCEEDED", "throttled"},
		{500, "INTERNAL", "", "", "service fails with HTTP status 500"},
		{302, "", "", "", "HTTP status 302"},
	} {
		s.faulty(func(w http.ResponseWriter, _ string) bool {
			w.Header().Set("Location", "http://127.0.0.1:1/"+canary)
			refuse(w, a.status, a.name, a.message+" "+canary+"\n"+canary, a.reason)
			return true
		})
		_, err := s.open("").Read(t.Context())
		check(t, a.want, err, a.want, secret)
	}
	s.faulty(nil)
	other, err := gcpsecrets.Open("projects/my-project/secrets/other?endpoint="+s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Read(t.Context())
	check(t, "missing", err, "no such")

	src := s.open("")
	if _, err := src.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.called()
	s.faulty(func(w http.ResponseWriter, call string) bool {
		if call == "addVersion" {
			refuse(w, 403, "PERMISSION_DENIED", canary)
		}
		return call == "addVersion"
	})
	check(t, "write", src.Write(t.Context(), []byte(canary), []byte(canary+"2")), "lacks secretmanager.versions.add", "secretVersionAdder")
	s.called()
	s.faulty(func(w http.ResponseWriter, _ string) bool { refuse(w, 503, "UNAVAILABLE", ""); return true })
	src.Read(t.Context())
	if n := len(s.called()); n != 3 {
		t.Errorf("%d attempts where the service is away, want 3", n)
	}
}

// TestGarbage: what is no answer of the service, or not all of it.
func TestGarbage(t *testing.T) {
	s := serve(t, "x")
	for what, c := range map[string]struct {
		f    func(w http.ResponseWriter)
		want string
	}{
		"no JSON":        {func(w http.ResponseWriter) { io.WriteString(w, canary) }, "not one of Secret Manager's"},
		"cut JSON":       {func(w http.ResponseWriter) { io.WriteString(w, `{"name":"`+canary) }, "not one of Secret Manager's"},
		"empty":          {func(http.ResponseWriter) {}, "not one of Secret Manager's"},
		"no base64":      {func(w http.ResponseWriter) { io.WriteString(w, `{"payload":{"data":"!`+canary+`"}}`) }, "not one of Secret Manager's"},
		"another":        {func(w http.ResponseWriter) { answer(replaced{w, "cloakroom", canary}, 1, []byte("x"), 0x9c8ec32c) }, "not one of Secret Manager's"},
		"no checksum":    {func(w http.ResponseWriter) { answer(replaced{w, "dataCrc32c", "other"}, 1, []byte("x"), 0) }, "not one of Secret Manager's"},
		"checksum":       {func(w http.ResponseWriter) { answer(w, 1, []byte(canary), 1) }, "checksum"},
		"HTML":           {func(w http.ResponseWriter) { w.WriteHeader(404); io.WriteString(w, "<html>"+canary) }, "HTTP status 404"},
		"broken off":     {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "broke off"},
		"endless":        {func(w http.ResponseWriter) { io.WriteString(w, `{"name":"`+strings.Repeat(canary, 200000)) }, "longer than any"},
		"too much of it": {func(w http.ResponseWriter) { answer(w, 1, make([]byte, 65537), 0) }, "not one of Secret Manager's"},
	} {
		t.Run(what, func(t *testing.T) {
			s.faulty(func(w http.ResponseWriter, _ string) bool { c.f(w); return true })
			_, err := s.open("").Read(t.Context())
			check(t, what, err, c.want)
		})
	}
	s.faulty(nil)
	for text, want := range map[string]string{canary: "not a JSON object", `{"a":"` + canary + `"}`: `no field "f"`, `{"f":["` + canary + `"]}`: "not a string", canary + "\xff": "binary"} {
		s.add(text)
		_, err := s.open("#f").Read(t.Context())
		check(t, text, err, want)
	}
}

// replaced is a writer that puts one text in the place of another.
type replaced struct {
	io.Writer
	old, new string
}

func (r replaced) Write(p []byte) (int, error) {
	_, err := io.WriteString(r.Writer, strings.ReplaceAll(string(p), r.old, r.new))
	return len(p), err
}

// TestFaultsOfCredentials: none, wrong ones, a clock that is off. Nothing of them is
// shown.
func TestFaultsOfCredentials(t *testing.T) {
	s := serve(t, "x")
	read := func() error { _, err := s.open("").Read(t.Context()); return err }
	for what, c := range map[string]struct {
		changes map[string]any
		want    string
	}{
		"issuer":     {map[string]any{"client_email": canary}, "credentials are refused"},
		"key id":     {map[string]any{"private_key_id": canary}, "credentials are refused"},
		"no key":     {map[string]any{"private_key": canary}, "private key"},
		"empty key":  {map[string]any{"private_key": ""}, "private key"},
		"type":       {map[string]any{"type": canary}, "not one of Google's"},
		"no type":    {map[string]any{"type": 7}, "not one of Google's"},
		"incomplete": {map[string]any{"type": "impersonated_service_account"}, "not complete"},
		"in clear":   {map[string]any{"token_uri": "http://192.0.2.1/" + canary}, "https"},
		"nobody":     {map[string]any{"token_uri": "https://127.0.0.1:1/" + canary}, "refused"},
		"no address": {map[string]any{"token_uri": canary}, "https"},
	} {
		s.credentials(c.changes)
		check(t, what, read(), c.want)
	}
	path := s.credentials(nil)
	if err := os.WriteFile(path, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, "no JSON", read(), "not one of Google's")
	os.Remove(path)
	check(t, "no file", read(), "is not there")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	check(t, "directory", read(), "not a regular file")

	s.credentials(nil)
	s.mu.Lock()
	s.ahead = 2 * time.Hour
	s.mu.Unlock()
	check(t, "clock", read(), "this machine's clock is ")
	s.mu.Lock()
	s.ahead = 0
	s.mu.Unlock()
	for what, c := range map[string]struct {
		status     int
		body, want string
	}{
		"garbage":    {200, canary, "request for a token"},
		"no token":   {200, `{"token_type":"Bearer"}`, "request for a token"},
		"bad token":  {200, `{"access_token":"` + canary + ` \n","expires_in":1}`, "request for a token"},
		"client":     {401, `{"error":"invalid_client","error_description":"` + canary + `"}`, "not of a kind"},
		"throttled":  {429, canary, "throttled"},
		"down":       {502, canary, "HTTP status 502"},
		"no page":    {404, canary, "HTTP status 404"},
		"clock":      {400, `{"error":"invalid_grant","error_description":"Check your iat and exp values ` + canary + `"}`, "clock"},
		"wrong form": {400, `{"error":{"message":"` + canary + `"}}`, "HTTP status 400"},
	} {
		s.mu.Lock()
		s.tokenFault = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(c.status); io.WriteString(w, c.body) }
		s.mu.Unlock()
		check(t, what, read(), c.want)
	}
}

// TestMetadata: what the metadata server may say, and that it is not there.
func TestMetadata(t *testing.T) {
	s := serve(t, "x")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	read := func() error { _, err := s.open("").Read(t.Context()); return err }
	status, body := 404, canary
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status); io.WriteString(w, body) }))
	defer metadata.Close()
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(metadata.URL, "http://"))
	check(t, "no account", read(), "knows no service account")
	status = 403
	check(t, "refused", read(), "HTTP status 403")
	status = 200
	check(t, "garbage", read(), "request for a token")
	t.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
	check(t, "none", read(), "no credentials")
	t.Setenv("GCE_METADATA_HOST", "192.0.2.1")
	check(t, "elsewhere", read(), "https")
	t.Setenv("GCE_METADATA_HOST", canary+" ")
	check(t, "no host", read(), "no credentials")
}

// TestTimeout: a call ends with its context and with its own bound, be it the token
// or the secret that is waited for, and the errors are those of the context.
func TestTimeout(t *testing.T) {
	s := serve(t, "x")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hole := "http://" + l.Addr().String()
	for what, c := range map[string]struct {
		place, tokens, metadata string
		want                    string
	}{
		"API":      {secret + "?endpoint=" + hole, s.URL + "/token", "", "no answer in time"},
		"token":    {s.place(), hole, "", "while getting a token"},
		"metadata": {s.place(), "", strings.TrimPrefix(hole, "http://"), "while getting a token"},
	} {
		s.credentials(map[string]any{"token_uri": c.tokens})
		if c.metadata != "" {
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
			t.Setenv("GCE_METADATA_HOST", c.metadata)
		}
		src, err := gcpsecrets.Open(c.place, &gcpsecrets.Options{Timeout: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = src.Read(t.Context())
		check(t, what, err, c.want)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
			t.Errorf("%s: %v after %v", what, err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := src.Read(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestASVS_12_3_2_TLS: a server is refused whose certificate is of nobody's, and what
// is no TLS at all.
func TestASVS_12_3_2_TLS(t *testing.T) {
	s := serve(t, "x")
	secure := httptest.NewUnstartedServer(s)
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	defer secure.Close()
	for endpoint, want := range map[string]string{
		secure.URL:            "does not trust",
		"https://127.0.0.1:1": "refused",
		strings.Replace(s.URL, "http:", "https:", 1):      "TLS failed",
		strings.Replace(secure.URL, "https:", "http:", 1): "not one of Secret Manager's",
	} {
		src, err := gcpsecrets.Open(secret+"?endpoint="+endpoint, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = src.Read(t.Context())
		check(t, endpoint, err, want)
	}
}

// TestExternalAccount: a token of another provider is exchanged, and shown in clear
// to nobody elsewhere.
func TestExternalAccount(t *testing.T) {
	s := serve(t, "x")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	s.tokenFault = func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("subject_token") != canary || r.FormValue("scope") != scope {
			w.WriteHeader(400)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"access_token": bearer, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600})
	}
	for url, want := range map[string]string{s.URL + "/token": "", "http://192.0.2.1/token": "https"} {
		s.credentials(map[string]any{"type": "external_account", "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
			"subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": url, "credential_source": map[string]string{"file": token}})
		_, err := s.open("").Read(t.Context())
		if want != "" {
			check(t, url, err, want)
		} else if err != nil {
			t.Error(err)
		}
	}
}

// TestImpersonation: one account gets the token of another; a redirect of that, which
// would carry the first one's token along, is not followed.
func TestImpersonation(t *testing.T) {
	s := serve(t, "x")
	source, err := os.ReadFile(s.credentials(nil))
	if err != nil {
		t.Fatal(err)
	}
	strays, redirect := 0, false
	iam := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/stray":
			strays++
		case redirect:
			http.Redirect(w, r, "/stray", http.StatusFound)
		case r.Header.Get("Authorization") != "Bearer "+bearer:
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, canary)
		default:
			json.NewEncoder(w).Encode(map[string]string{"accessToken": bearer, "expireTime": time.Now().Add(time.Hour).Format(time.RFC3339)})
		}
	}))
	defer iam.Close()
	s.credentials(map[string]any{"type": "impersonated_service_account", "service_account_impersonation_url": iam.URL + "/generate", "source_credentials": json.RawMessage(source)})
	if _, err := s.open("").Read(t.Context()); err != nil {
		t.Error(err)
	}
	redirect = true
	_, err = s.open("").Read(t.Context())
	check(t, "redirect", err, "HTTP status 302")
	s.mu.Lock()
	redirect, s.token = false, "another"
	s.mu.Unlock()
	_, err = s.open("").Read(t.Context())
	check(t, "not allowed", err, "serviceAccountTokenCreator")
	if strays > 0 {
		t.Error("the redirect was followed")
	}
}

// TestPromise11_ErrorsOfKeys: what is no ring is refused by the ring, without a byte.
func TestPromise11_ErrorsOfKeys(t *testing.T) {
	s := serve(t, "v1 "+canary+" nonsense\n"+canary)
	_, err := keyring.Load(t.Context(), s.open(""))
	if err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("%v", err)
	}
}
