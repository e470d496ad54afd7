package gcpsecrets_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash/crc32"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring/gcpsecrets"
)

const (
	secret = "projects/my-project/secrets/cloakroom"
	bearer = "ya29.c.TOKEN"
	scope  = "https://www.googleapis.com/auth/cloud-platform"
	email  = "cloakroom@my-project.iam.gserviceaccount.com"
)

// A server speaks what the REST reference of Secret Manager documents of two methods,
// and what "Using OAuth 2.0 for Server to Server Applications" documents of the token
// endpoint: it verifies the JWT of a service account with the account's public key.
type server struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	key      *rsa.PublicKey
	ahead    time.Duration
	token    string // that the API takes
	versions []version
	lag      int // of the alias latest, in versions
	calls    []string

	fault      func(w http.ResponseWriter, call string) bool
	tokenFault http.HandlerFunc
	between    func() // runs once before a version is added
}

type version struct {
	data  []byte
	state string // empty: enabled
}

// account is one key for all tests, as making it takes a while.
var account = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// serve starts a server with a secret at its first version, and has the environment
// name credentials for it.
func serve(t *testing.T, text string) *server {
	t.Helper()
	s := &server{t: t, key: &account().PublicKey, token: bearer, versions: []version{{data: []byte(text)}}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	home := t.TempDir()
	for name, value := range map[string]string{"HOME": home, "APPDATA": home, "HTTP_PROXY": "", "HTTPS_PROXY": "", "GCE_METADATA_HOST": ""} {
		t.Setenv(name, value)
	}
	s.credentials(nil)
	return s
}

// credentials writes a service account's file with these changes.
func (s *server) credentials(changes map[string]any) string {
	s.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(account())
	if err != nil {
		s.t.Fatal(err)
	}
	file := map[string]any{"type": "service_account", "project_id": "my-project", "private_key_id": "0123456789", "client_email": email,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": s.URL + "/token"}
	for k, v := range changes {
		file[k] = v
	}
	data, err := json.Marshal(file)
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.t.TempDir(), "credentials.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
	return path
}

func (s *server) place() string { return secret + "?endpoint=" + s.URL }

func (s *server) open(field string) *gcpsecrets.Source {
	s.t.Helper()
	src, err := gcpsecrets.Open(s.place()+field, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return src
}

// add adds a version, as others do.
func (s *server) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions = append(s.versions, version{data: []byte(text)})
}

// current returns what the newest version holds.
func (s *server) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.versions[len(s.versions)-1].data)
}

func (s *server) called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.calls = nil }()
	return s.calls
}

func (s *server) faulty(f func(http.ResponseWriter, string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// refuse writes an error as Google's APIs do.
func refuse(w http.ResponseWriter, status int, name, message string, reasons ...string) {
	details := []map[string]any{}
	for _, r := range reasons {
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": r, "domain": "googleapis.com"})
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": message, "status": name, "details": details}})
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Date", time.Now().Add(s.ahead).UTC().Format(http.TimeFormat))
	if r.URL.Path == "/token" {
		s.calls = append(s.calls, "token")
		s.giveToken(w, r)
		return
	}
	name, method, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), ":")
	call := method
	if _, v, ok := strings.Cut(name, "/versions/"); ok {
		call += " " + v
	}
	s.calls = append(s.calls, call)
	if got := r.Header.Get("Authorization"); got != "Bearer "+s.token {
		refuse(w, 401, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token, got "+got)
		return
	}
	if s.fault != nil && s.fault(w, call) {
		return
	}
	id, hasVersion := strings.CutPrefix(name, secret+"/versions/")
	switch {
	case method == "access" && r.Method == http.MethodGet && hasVersion:
		s.access(w, id)
	case method == "addVersion" && r.Method == http.MethodPost && name == secret:
		s.addVersion(w, r)
	default:
		refuse(w, 404, "NOT_FOUND", "Secret ["+name+"] not found or has no versions.")
	}
}

func (s *server) access(w http.ResponseWriter, id string) {
	n, err := strconv.Atoi(id)
	if id == "latest" {
		n, err = len(s.versions)-s.lag, nil
	}
	if err != nil || n < 1 || n > len(s.versions) {
		refuse(w, 404, "NOT_FOUND", "Secret Version [projects/1234/secrets/cloakroom/versions/"+id+"] not found.")
		return
	}
	v := s.versions[n-1]
	if v.state != "" {
		refuse(w, 400, "FAILED_PRECONDITION", "Secret Version [projects/1234/secrets/cloakroom/versions/"+id+"] is in "+v.state+" state.")
		return
	}
	answer(w, n, v.data, crc32.Checksum(v.data, crc32.MakeTable(crc32.Castagnoli)))
}

// answer writes what versions.access does. The project is named by its number.
func answer(w io.Writer, n int, data []byte, sum uint32) {
	json.NewEncoder(w).Encode(map[string]any{"name": "projects/1234/secrets/cloakroom/versions/" + strconv.Itoa(n),
		"payload": map[string]any{"data": data, "dataCrc32c": strconv.FormatUint(uint64(sum), 10)}})
}

func (s *server) addVersion(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Payload struct {
			Data       []byte
			DataCrc32c int64 `json:",string"`
		}
	}
	err := json.NewDecoder(r.Body).Decode(&in)
	if err != nil || in.Payload.DataCrc32c != int64(crc32.Checksum(in.Payload.Data, crc32.MakeTable(crc32.Castagnoli))) || len(in.Payload.Data) > 65536 {
		refuse(w, 400, "INVALID_ARGUMENT", "The checksum does not match.")
		return
	}
	if s.between != nil {
		s.between()
		s.between = nil
	}
	s.versions = append(s.versions, version{data: in.Payload.Data})
	json.NewEncoder(w).Encode(map[string]any{"name": "projects/1234/secrets/cloakroom/versions/" + strconv.Itoa(len(s.versions)), "state": "ENABLED"})
}

// giveToken is the token endpoint.
func (s *server) giveToken(w http.ResponseWriter, r *http.Request) {
	if s.tokenFault != nil {
		s.tokenFault(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.FormValue("grant_type") {
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		if fault := s.judge(r.FormValue("assertion")); fault != "" {
			w.WriteHeader(400)
			json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": fault})
			return
		}
	case "refresh_token":
		if r.FormValue("refresh_token") != "1//REFRESH" || r.FormValue("client_id") != "id" || r.FormValue("client_secret") != "GOCSPX" {
			w.WriteHeader(400)
			json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
			return
		}
	default:
		w.WriteHeader(400)
		json.NewEncoder(w).Encode(map[string]string{"error": "unsupported_grant_type"})
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"access_token": s.token, "expires_in": 3599, "token_type": "Bearer"})
}

// judge verifies an assertion (RFC 7523 §3, RFC 7515 §5.2, RS256 of RFC 7518 §3.3),
// and returns what is wrong with it.
func (s *server) judge(assertion string) string {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return "Bad Request"
	}
	raw := make([][]byte, 3)
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return "Bad Request"
		}
	}
	var header struct{ Alg, Typ, Kid string }
	var claims struct {
		Iss, Scope, Aud string
		Exp, Iat        int64
	}
	if json.Unmarshal(raw[0], &header) != nil || json.Unmarshal(raw[1], &claims) != nil || header.Alg != "RS256" || header.Kid != "0123456789" {
		return "Bad Request"
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(s.key, crypto.SHA256, sum[:], raw[2]) != nil {
		return "Invalid JWT Signature."
	}
	now := time.Now().Add(s.ahead).Unix()
	switch {
	case claims.Iss != email:
		return "Invalid issuer"
	case claims.Aud != s.URL+"/token":
		return "Invalid JWT: Failed audience check."
	case !slices.Contains(strings.Fields(claims.Scope), scope):
		return "Invalid scope"
	case claims.Exp < now, claims.Iat > now+300, claims.Exp-claims.Iat > 3700:
		return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."
	}
	return ""
}

// quiet is a log that nobody reads: of handshakes that are meant to fail.
var quiet = log.New(io.Discard, "", 0)
