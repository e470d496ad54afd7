package awssecrets_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring/awssecrets"
)

// proxied counts what came to the proxy that the environment names while these tests
// run. It answers as a metadata service might, and gives credentials to who asks.
var proxied atomic.Int64

// TestMain names the proxy: package net/http looks at the environment once.
func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied.Add(1)
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
		io.WriteString(w, `{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"AKID","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}`)
	}))
	os.Setenv("HTTP_PROXY", proxy.URL)
	os.Setenv("NO_PROXY", "")
	http.ProxyFromEnvironment(httptest.NewRequest(http.MethodGet, "http://h/", nil))
	code := m.Run()
	proxy.Close()
	os.Exit(code)
}

// givers has the SDK get credentials from a URL, by each way that there is.
var givers = map[string]func(t *testing.T, url string){
	"metadata service": func(t *testing.T, url string) {
		t.Setenv("AWS_EC2_METADATA_DISABLED", "")
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
	},
	"container": func(t *testing.T, url string) {
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
		t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", canary)
	},
	"STS": func(t *testing.T, url string) {
		file := filepath.Join(t.TempDir(), "token")
		write(t, file, canary)
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file)
		t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
		t.Setenv("AWS_ENDPOINT_URL_STS", url)
	},
	"IAM Identity Center": func(t *testing.T, url string) {
		const start = "https://x.awsapps.com/start"
		name := sha1.Sum([]byte(start))
		write(t, os.Getenv("AWS_CONFIG_FILE"), "[default]\nsso_start_url="+start+"\nsso_region="+region+"\nsso_account_id=123456789012\nsso_role_name=r\n")
		write(t, filepath.Join(os.Getenv("HOME"), ".aws/sso/cache", hex.EncodeToString(name[:])+".json"),
			`{"accessToken":"`+canary+`","expiresAt":"2099-01-01T00:00:00Z","region":"`+region+`","startUrl":"`+start+`"}`)
		t.Setenv("AWS_ENDPOINT_URL_SSO", url)
	},
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fetch reads, with credentials from a giver at a URL.
func fetch(t *testing.T, giver func(*testing.T, string), url string) error {
	t.Helper()
	serve(t, "x")
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	giver(t, url)
	src, err := awssecrets.Open(name, &awssecrets.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	_, err = src.Read(t.Context())
	return err
}

// TestASVS_15_3_2_RedirectsOfCredentials: what gives credentials is shown a token or a
// role's name, and cannot send it on to somebody else.
func TestASVS_15_3_2_RedirectsOfCredentials(t *testing.T) {
	for name, giver := range givers {
		t.Run(name, func(t *testing.T) {
			var asked, sent atomic.Int64
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { sent.Add(1); w.WriteHeader(http.StatusBadRequest) }))
			defer other.Close()
			for _, status := range []int{301, 302, 303, 307, 308} {
				first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					asked.Add(1)
					http.Redirect(w, r, other.URL, status)
				}))
				check(t, name, fetch(t, giver, first.URL), "credentials")
				first.Close()
			}
			if asked.Load() < 5 || sent.Load() != 0 {
				t.Errorf("of %d requests %d were sent on", asked.Load(), sent.Load())
			}
		})
	}
}

// TestASVS_13_2_6_AnswersOfCredentials: an answer without an end is not read to its
// end, be it one of success or of failure.
func TestASVS_13_2_6_AnswersOfCredentials(t *testing.T) {
	const far = 32 << 20 // beyond what lies in the buffers of the connection
	block := bytes.Repeat([]byte("A"), 64<<10)
	for name, giver := range givers {
		for _, status := range []int{200, 400} {
			var most atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				for n := 0; n < far; n += len(block) {
					if _, err := w.Write(block); err != nil {
						return
					}
					most.Store(max(most.Load(), int64(n)))
				}
			}))
			t.Run(name, func(t *testing.T) { check(t, name, fetch(t, giver, server.URL), "credentials") })
			server.CloseClientConnections()
			server.Close()
			if most.Load() == 0 || most.Load() >= far-int64(len(block)) {
				t.Errorf("%s, status %d: %d bytes were read", name, status, most.Load())
			}
		}
	}
}

// TestEmptyAnswersOfCredentials: an answer of success that holds nothing is no reason
// to fall over.
func TestEmptyAnswersOfCredentials(t *testing.T) {
	for name, giver := range givers {
		for _, body := range []string{"", "{}", `{"roleCredentials":null}`, "<A/>", "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult/></AssumeRoleWithWebIdentityResponse>"} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }))
			t.Run(name, func(t *testing.T) { check(t, name, fetch(t, giver, server.URL), "credentials") })
			server.Close()
		}
	}
}

// TestASVS_12_3_1_NoProxyOfCredentials: the services of the machine's own link have no
// TLS, and a proxy would read what they say, or say something else.
func TestASVS_12_3_1_NoProxyOfCredentials(t *testing.T) {
	relative := func(t *testing.T, path string) { t.Setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", path) }
	for _, c := range []struct {
		giver func(*testing.T, string)
		url   string
	}{
		{givers["metadata service"], ""}, {givers["metadata service"], "http://169.254.169.254"}, {givers["metadata service"], "http://[fd00:ec2::254]"},
		{givers["metadata service"], "http://LOCALHOST:1"}, {givers["container"], "http://LOCALHOST:1/"},
		{givers["container"], "http://169.254.170.2/x"}, {givers["container"], "http://169.254.170.23/v1/credentials"}, {givers["container"], "http://[fd00:ec2::23]/v1/credentials"},
		{relative, "/v2/credentials"}, {givers["STS"], "http://LOCALHOST:1"},
	} {
		t.Run(c.url, func(t *testing.T) {
			before := proxied.Load()
			giver := func(t *testing.T, url string) {
				c.giver(t, url)
				t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://127.0.0.1:1")
			}
			fetch(t, giver, c.url)
			if n := proxied.Load() - before; n != 0 {
				t.Errorf("the proxy was asked %d times", n)
			}
		})
	}
}

// TestASVS_12_3_1_FinalURL: it is the URL that is asked in the end which has to be
// this machine's or of TLS, and not what somebody has put together.
func TestASVS_12_3_1_FinalURL(t *testing.T) {
	relative := func(t *testing.T, path string) {
		t.Setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", path)
		t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", canary)
	}
	before := proxied.Load()
	for url, giver := range map[string]func(*testing.T, string){
		"http://metadata.example": givers["metadata service"], "http://192.0.2.1": givers["metadata service"], "http://169.254.169.253": givers["metadata service"],
		"@container.example/x": relative, ".example/x": relative, "5/x": relative, "http://sts.example": givers["STS"], "http://sso.example": givers["IAM Identity Center"],
		"http://169.254.169.254": givers["STS"],
	} {
		t.Run(url, func(t *testing.T) {
			check(t, url, fetch(t, giver, url), "plain http to another host", "use https", "AWS_EC2_METADATA_SERVICE_ENDPOINT")
		})
	}
	if n := proxied.Load() - before; n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
}

// TestPromise11_KeyForAName: a key in the place of the secret's name goes nowhere.
func TestPromise11_KeyForAName(t *testing.T) {
	const key = "83b6d230fe9d02ce740de0631bb5406fb8fef6f4558947385d543238a22a962d"
	for _, text := range []string{key, "prod/" + key, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:" + key, "x#" + key, "x?version-stage=" + key} {
		_, err := awssecrets.Open(text, nil)
		if err == nil || strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "looks like a key") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
