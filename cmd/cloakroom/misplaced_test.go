package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestASVS_16_2_5_SecretsForPaths: of a private key, or a URL with a password, in the place
// of the path of a file no message has a piece, whatever has to read the file.
func TestASVS_16_2_5_SecretsForPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	const url, password = "postgres://app:Zebraq7-quokka@db.example.org/app", "Zebraq7"
	pieces := []string{password, "db.example.org", "-----BEGIN"}
	for line := range strings.Lines(private) {
		pieces = append(pieces, strings.TrimSpace(line)[:20])
	}
	cert := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(cert, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &leaks{t: t}
	var wg sync.WaitGroup
	for _, text := range []string{private, url, strings.ReplaceAll(private, "\n", " ")} {
		wg.Go(func() {
			for _, name := range []string{"TLS_KEY", "TLS_CERT", "STORE_FILE", "USERS_FILE", "DATA", "CONFIG", "KEYS_FILE"} {
				env := []string{"CLOAKROOM_LISTEN=127.0.0.1:0", "CLOAKROOM_TLS_CERT=" + cert, "CLOAKROOM_TLS_KEY=key.pem", "CLOAKROOM_" + name + "=" + text}
				for _, command := range []string{"serve", "doctor"} {
					out, msg, code := l.run(dir, env, false, command)
					if code != 2 {
						t.Errorf("%s of %.20q: exit code %d: %s", command, text, code, msg)
					}
					for _, piece := range pieces {
						if strings.Contains(out+msg, piece) {
							t.Errorf("%s shows %s of %s:\n%s%s", command, piece, name, out, msg)
						}
					}
				}
			}
		})
	}
	// Behind a directory a secret is taken for a name, and not shown.
	const hidden = "2XNsS8XiAUmurEV4RqjuXgG-sFEOUHnvL92EaxuzMTc"
	for _, name := range []string{"TLS_KEY", "TLS_CERT", "STORE_FILE", "CONFIG"} {
		for _, command := range []string{"serve", "doctor"} {
			env := []string{"CLOAKROOM_LISTEN=127.0.0.1:0", "CLOAKROOM_TLS_CERT=" + cert, "CLOAKROOM_TLS_KEY=" + cert, "CLOAKROOM_" + name + "=/nonexistent/" + hidden}
			if out, msg, code := l.run(dir, env, false, command); code != 2 || strings.Contains(out+msg, hidden) || !strings.Contains(out+msg, "/nonexistent/…") {
				t.Errorf("%s, %s behind a directory: exit code %d: %s%s", command, name, code, out, msg)
			}
		}
	}
	wg.Wait()
}
