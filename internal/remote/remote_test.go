package remote_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// TestSetField: one value changes and nothing else does, whatever stands around it.
func TestSetField(t *testing.T) {
	for text, want := range map[string]string{
		`{"f":""}`: `{"f":"<\n>"}`,
		"{\n \"a\" : 1.50 ,\n \"f\" :\t\"x\\u0041\" , \"b\": [ {\"f\":1} ] }\n": "{\n \"a\" : 1.50 ,\n \"f\" :\t\"<\\n>\" , \"b\": [ {\"f\":1} ] }\n",
		`{"F":"a","f":"b"}`: `{"F":"a","f":"<\n>"}`,
		`{"f":null}`:        `{"f":"<\n>"}`,
	} {
		got, err := remote.SetField([]byte(text), "f", []byte("<\n>"))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "{", "[]", `"f"`, `{"f":1}}`, `{"f":1,"f":2}`, `{"a":1}`, `{"f":1,}`, `{"f":`, "null"} {
		if got, err := remote.SetField([]byte(text), "f", []byte("x")); err == nil {
			t.Errorf("%s: %s", text, got)
		}
	}
	if _, err := remote.SetField(nil, "", []byte("\xff")); err == nil {
		t.Error("takes binary")
	}
}

// FuzzSetField: what is put into a field is read from it again, and the rest is JSON
// of the same value.
func FuzzSetField(f *testing.F) {
	f.Add(`{"f":"x"}`, "f", "y")
	f.Add(`{"a":[1,{"f":2}], "f" : 3 , "b":1e5}`, "f", "<&>\u2028")
	f.Add("{\"\":0}", "", "x")
	f.Fuzz(func(t *testing.T, text, name, value string) {
		out, err := remote.SetField([]byte(text), name, []byte(value))
		if err != nil || name == "" {
			return
		}
		got, err := remote.Field(out, name)
		var before, after map[string]any
		// What is no JSON of UTF-8 is none of Field's either.
		if err != nil && json.Unmarshal([]byte(text), &before) == nil && !strings.Contains(err.Error(), "binary") {
			t.Fatalf("%q: %v", out, err)
		}
		if err == nil && string(got) != value {
			t.Fatalf("%q was put in, and %q comes out", value, got)
		}
		if json.Unmarshal([]byte(text), &before) == nil && json.Unmarshal(out, &after) != nil || len(before) != len(after) {
			t.Fatalf("%q became %q", text, out)
		}
	})
}

// TestClient: what goes out in clear, which redirects are followed, how much is read.
func TestClient(t *testing.T) {
	hops := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
		case "/long":
			io.Copy(w, io.LimitReader(zeros{}, remote.MaxAnswer+1))
		case "/full":
			io.Copy(w, io.LimitReader(zeros{}, remote.MaxAnswer))
		default:
			hops++
		}
	}))
	defer server.Close()
	client := remote.Client(remote.Transport(), false, "192.0.2.9")
	ctx, watch := remote.WithWatch(t.Context())
	get := func(url string) (int, error) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		return resp.StatusCode, err
	}
	if status, err := get(server.URL + "/redirect"); status != http.StatusTemporaryRedirect || err != nil || hops != 0 {
		t.Errorf("a redirect was followed: %d, %v", status, err)
	}
	if _, err := get(server.URL + "/long"); err == nil || !strings.Contains(remote.Explain(ctx, err).Error(), "longer") {
		t.Errorf("a long answer: %v", err)
	}
	if _, err := get(server.URL + "/full"); err != nil {
		t.Error(err)
	}
	if got := watch.Clock(); !strings.HasPrefix(got, "this machine's clock is 1h0m") || !strings.HasSuffix(got, "ahead of the server's") {
		t.Errorf("clock: %q", got)
	}
	if _, err := get("http://192.0.2.1/"); err == nil || !strings.Contains(err.Error(), remote.ErrPlaintext.Error()) {
		t.Errorf("in clear: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestMayTalk: plain http is for this machine.
func TestMayTalk(t *testing.T) {
	for raw, want := range map[string]bool{
		"https://h": true, "http://127.0.0.1:80": true, "http://[::1]": true, "http://localhost": true,
		"http://h": false, "http://127.0.0.1.h": false, "http://127.0.0.1@h": false, "ftp://localhost": false, "": false, "HTTP://h": false,
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if remote.MayTalk(u, false) != want {
			t.Errorf("%q: %t", raw, !want)
		}
		if want && !remote.MayTalk(u, true) {
			t.Errorf("%q is refused where plaintext is allowed", raw)
		}
	}
	for raw, want := range map[string]bool{
		"http://169.254.169.254/x": true, "http://169.254.169.254:80": true, "http://[FD00:ec2::0254]": true, "https://h": true,
		"http://169.254.169.254@h": false, "http://169.254.169.254.h": false, "http://169.254.169.253": false, "http://[fd00:ec2::254%25eth0]": false,
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if remote.MayTalk(u, false, "169.254.169.254", "fd00:ec2::254") != want {
			t.Errorf("%q, to hosts without TLS: %t", raw, !want)
		}
	}
}

// TestLink: what is not of the way is left to others.
func TestLink(t *testing.T) {
	if err := remote.Explain(context.Background(), io.ErrNoProgress); err != nil {
		t.Error(err)
	}
}
