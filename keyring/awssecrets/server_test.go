package awssecrets_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A server speaks what the API Reference of Secrets Manager documents of three
// actions: JSON 1.1 over POST, with requests signed by Signature Version 4, which is
// computed here anew, from "Create a signed AWS API request" in the IAM User Guide.
type server struct {
	*httptest.Server

	mu       sync.Mutex
	key      string // the access key's id
	secret   string
	session  string            // a session's token, or none
	ahead    time.Duration     // of this machine's clock
	name     string            // of the secret
	versions map[string]string // id → SecretString
	binary   map[string][]byte // id → SecretBinary
	stages   map[string]string // label → id
	calls    []string

	// fault, if set, answers in place of the server, after the signature was
	// checked; it returns false to let the server answer.
	fault func(w http.ResponseWriter, action string) bool
	// between, if set, runs once between the storing of a version and the moving
	// of the label.
	between func()
}

const (
	region = "eu-central-1"
	name   = "prod/cloakroom"
)

func serve(t *testing.T, text string) *server {
	t.Helper()
	s := &server{key: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", name: name,
		versions: map[string]string{}, binary: map[string][]byte{}, stages: map[string]string{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	s.set("11111111-1111-4111-8111-111111111111", text)
	environment(t, s)
	return s
}

// environment has the SDK find this server and these credentials, and nothing else of
// what may be set where the tests run.
func environment(t *testing.T, s *server) {
	t.Helper()
	dir := t.TempDir()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": s.key, "AWS_SECRET_ACCESS_KEY": s.secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_DEFAULT_PROFILE": "",
		"AWS_REGION": region, "AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL_SECRETS_MANAGER": s.URL, "AWS_ENDPOINT_URL": "", "AWS_CA_BUNDLE": "",
		"AWS_CONFIG_FILE": dir + "/config", "AWS_SHARED_CREDENTIALS_FILE": dir + "/credentials", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_ROLE_ARN": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN": "", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "", "AWS_ENDPOINT_URL_STS": "", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "",
		"HOME": dir, "HTTP_PROXY": "", "HTTPS_PROXY": "",
	} {
		t.Setenv(name, value)
	}
}

// set makes a version the current one.
func (s *server) set(id, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[id] = text
	s.stages["AWSCURRENT"] = id
}

// current returns what the secret is at.
func (s *server) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.versions[s.stages["AWSCURRENT"]]
}

// called returns the actions that were called, and forgets them.
func (s *server) called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.calls = nil }()
	return s.calls
}

// faulty has the server fail from here on, or again not.
func (s *server) faulty(f func(http.ResponseWriter, string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// refuse writes an error as JSON 1.1 has it.
func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", "5f4a5d6e-0000-4000-8000-00000000beef")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"__type": kind, "Message": message})
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Date", time.Now().Add(s.ahead).UTC().Format(http.TimeFormat))
	action, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	if !ok || r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		refuse(w, 400, "UnknownOperationException", "")
		return
	}
	s.calls = append(s.calls, action)
	if kind, message := s.judge(r, body); kind != "" {
		refuse(w, 400, kind, message)
		return
	}
	if s.fault != nil && s.fault(w, action) {
		return
	}
	var in input
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(w, 400, "SerializationException", err.Error())
		return
	}
	if in.SecretId != s.name {
		refuse(w, 400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	switch action {
	case "GetSecretValue":
		s.getSecretValue(w, in)
	case "PutSecretValue":
		s.putSecretValue(w, in)
	case "UpdateSecretVersionStage":
		s.updateSecretVersionStage(w, in)
	}
}

type input struct {
	SecretId, VersionStage, SecretString, ClientRequestToken string
	SecretBinary                                             []byte
	VersionStages                                            []string
	MoveToVersionId, RemoveFromVersionId                     string
}

func (s *server) getSecretValue(w http.ResponseWriter, in input) {
	id, ok := s.stages[in.VersionStage]
	if !ok {
		refuse(w, 400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: "+in.VersionStage)
		return
	}
	out := map[string]any{"ARN": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:" + s.name + "-AbCdEf", "Name": s.name,
		"VersionId": id, "VersionStages": []string{in.VersionStage}, "CreatedDate": 1763700000.25}
	if b, ok := s.binary[id]; ok {
		out["SecretBinary"] = b
	} else {
		out["SecretString"] = s.versions[id]
	}
	json.NewEncoder(w).Encode(out)
}

func (s *server) putSecretValue(w http.ResponseWriter, in input) {
	if len(in.ClientRequestToken) < 32 || len(in.ClientRequestToken) > 64 || len(in.SecretString)+len(in.SecretBinary) > 65536 {
		refuse(w, 400, "InvalidParameterException", "You must provide a ClientRequestToken value.")
		return
	}
	if old, ok := s.versions[in.ClientRequestToken]; ok && old != in.SecretString {
		refuse(w, 400, "ResourceExistsException", "A resource with the ID you requested already exists.")
		return
	}
	if in.SecretBinary != nil {
		s.binary[in.ClientRequestToken] = in.SecretBinary
	}
	s.versions[in.ClientRequestToken] = in.SecretString
	for _, label := range in.VersionStages {
		s.stages[label] = in.ClientRequestToken
	}
	json.NewEncoder(w).Encode(map[string]any{"Name": s.name, "VersionId": in.ClientRequestToken, "VersionStages": in.VersionStages})
	if s.between != nil {
		s.between()
		s.between = nil
	}
}

func (s *server) updateSecretVersionStage(w http.ResponseWriter, in input) {
	if s.stages[in.VersionStage] != in.RemoveFromVersionId {
		refuse(w, 400, "InvalidParameterException", "Staging label "+in.VersionStage+" is currently attached to version "+s.stages[in.VersionStage]+", so you must explicitly reference that version in RemoveFromVersionId.")
		return
	}
	s.stages["AWSPREVIOUS"] = s.stages[in.VersionStage]
	s.stages[in.VersionStage] = in.MoveToVersionId
	json.NewEncoder(w).Encode(map[string]any{"Name": s.name})
}

// judge checks a signature as the service does, and returns an error and its message.
func (s *server) judge(r *http.Request, body []byte) (kind, message string) {
	fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "MissingAuthenticationTokenException", "Missing Authentication Token"
	}
	part := map[string]string{}
	for field := range strings.SplitSeq(fields, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(field), "=")
		part[k] = v
	}
	now := time.Now().Add(s.ahead)
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	scope := date[:min(8, len(date))] + "/" + region + "/secretsmanager/aws4_request"
	id, rest, _ := strings.Cut(part["Credential"], "/")
	switch {
	case err != nil:
		return "IncompleteSignatureException", "Date must be in ISO-8601 'basic format'."
	case id != s.key, r.Header.Get("X-Amz-Security-Token") != s.session:
		return "UnrecognizedClientException", "The security token included in the request is invalid."
	case rest != scope:
		return "InvalidSignatureException", "Credential should be scoped to a valid region."
	case at.Before(now.Add(-5 * time.Minute)):
		return "InvalidSignatureException", "Signature expired: " + date + " is now earlier than " + now.UTC().Format("20060102T150405Z")
	case at.After(now.Add(5 * time.Minute)):
		return "InvalidSignatureException", "Signature not yet current: " + date
	}
	signed := strings.Split(part["SignedHeaders"], ";")
	must := []string{"content-type", "host", "x-amz-date", "x-amz-target"}
	if s.session != "" {
		must = append(must, "x-amz-security-token")
	}
	for _, h := range must {
		if !slices.Contains(signed, h) {
			return "IncompleteSignatureException", h + " is not signed"
		}
	}
	if !hmac.Equal([]byte(part["Signature"]), []byte(s.sign(r, body, date, scope, signed))) {
		return "InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."
	}
	return "", ""
}

// sign computes the signature of a request.
func (s *server) sign(r *http.Request, body []byte, date, scope string, signed []string) string {
	sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	var canonical strings.Builder
	canonical.WriteString(r.Method + "\n" + r.URL.EscapedPath() + "\n")
	query := r.URL.Query()
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(query)) {
		for _, v := range slices.Sorted(slices.Values(query[k])) {
			pairs = append(pairs, url.QueryEscape(k)+"="+url.QueryEscape(v))
		}
	}
	canonical.WriteString(strings.Join(pairs, "&") + "\n")
	for _, h := range signed {
		value := strings.Join(r.Header.Values(h), ",")
		switch h {
		case "host":
			value = r.Host
		case "content-length":
			value = r.Header.Get("Content-Length")
			if value == "" {
				value = strconv.Itoa(len(body))
			}
		}
		canonical.WriteString(h + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	canonical.WriteString("\n" + strings.Join(signed, ";") + "\n" + sum(body))
	text := "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + sum([]byte(canonical.String()))
	key := []byte("AWS4" + s.secret)
	for step := range strings.SplitSeq(scope, "/") {
		key = mac(key, step)
	}
	return hex.EncodeToString(mac(key, text))
}

// quiet is a log that nobody reads: of handshakes that are meant to fail.
var quiet = log.New(io.Discard, "", 0)

func pemOf(certificate []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
}
