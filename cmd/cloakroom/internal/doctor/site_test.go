package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
	"github.com/cloakroom-dev/cloakroom/throttle/sqlthrottle"
)

// site is an installation. A new one is well: a data directory with a database, of two
// administrators, and a key file.
type site struct {
	t       testing.TB
	dir     string // that the data directory is in
	data    string
	key     keyring.Key
	flags   map[string]string
	environ []string
	world   doctor.World

	second    string   // another store, to be examined as well
	unchecked []string // what is expected not to be checked
}

// The database of a new site, and a hash of a password in it.
var (
	template = sync.OnceValues(makeTemplate)
	hash     = sync.OnceValues(func() (string, error) {
		h, err := password.New(nil)
		if err != nil {
			return "", err
		}
		return h.Hash(context.Background(), "the password that nobody types")
	})
)

func makeTemplate() ([]byte, error) {
	dir, err := os.MkdirTemp("", "doctor")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "db")
	db, err := sqlite.Open(path, nil)
	if err != nil {
		return nil, err
	}
	if err := makeTables(db); err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// makeTables makes all tables, and two administrators.
func makeTables(db sqlstore.DB) error {
	ctx := context.Background()
	users, err := sqlusers.New(ctx, db)
	if err != nil {
		return err
	}
	if _, err := sqlthrottle.Open(ctx, db); err != nil {
		return err
	}
	if _, err := fleet.Open(ctx, db); err != nil {
		return err
	}
	phc, err := hash()
	if err != nil {
		return err
	}
	for _, name := range []string{"ann", "bob"} {
		if _, err := users.Create(ctx, sqlusers.NewUser{Name: name, Roles: []string{"admin"}, Password: phc}); err != nil {
			return err
		}
	}
	return nil
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), key: keyring.Generate(), flags: make(map[string]string)}
	s.data = filepath.Join(s.dir, "data")
	s.flags["data"] = s.data
	s.must(os.Mkdir(s.data, 0o700))
	s.must(os.WriteFile(s.at("keys"), []byte(s.key.Text()+"\n"), 0o600))
	db, err := template()
	s.must(err)
	s.must(os.WriteFile(s.at("cloakroom.db"), db, 0o600))
	// The tests' own directory is one that is emptied; and the disk of who runs them
	// may be full.
	s.world = doctor.World{
		Emptied:  []string{},
		Kind:     func(string) (string, bool) { return "", true },
		Room:     func(string) (uint64, uint64, bool) { return 1 << 40, 1 << 41, true },
		MaxFiles: func() (uint64, bool) { return 65536, true },
	}
	return s
}

func (s *site) at(name string) string { return filepath.Join(s.data, name) }

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) write(name, text string, mode os.FileMode) string {
	s.t.Helper()
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(s.dir, name)
	}
	s.must(os.MkdirAll(filepath.Dir(path), 0o700))
	s.must(os.WriteFile(path, []byte(text), mode))
	s.must(os.Chmod(path, mode))
	return path
}

// keys replaces the key file.
func (s *site) keys(keys ...keyring.Key) {
	s.t.Helper()
	var text strings.Builder
	for _, k := range keys {
		text.WriteString(k.Text() + "\n")
	}
	s.must(os.WriteFile(s.at("keys"), []byte(text.String()), 0o600))
}

// aged is a key that was made some time ago.
func (s *site) aged(k keyring.Key, age time.Duration) keyring.Key {
	s.t.Helper()
	f := strings.Fields(k.Text())
	f[2] = time.Now().Add(-age).UTC().Format(time.RFC3339)
	aged, err := keyring.ParseKey(strings.Join(f, " "))
	s.must(err)
	return aged
}

// sqlite runs f on the database, and closes it.
func (s *site) sqlite(f func(db sqlstore.DB) error) {
	s.t.Helper()
	db, err := sqlite.Open(s.at("cloakroom.db"), nil)
	s.must(err)
	s.must(f(db))
	s.must(db.Close())
}

// exec runs statements on the database.
func (s *site) exec(statements ...string) {
	s.t.Helper()
	s.sqlite(func(db sqlstore.DB) error {
		for _, statement := range statements {
			if _, err := db.Exec(context.Background(), statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// run examines the site.
func (s *site) run() *doctor.Report {
	s.t.Helper()
	return doctor.Run(s.t.Context(), doctor.Options{
		Settings: config.Examine(maps.Clone(s.flags), s.environ), Environ: s.environ, World: s.world,
	})
}

// noSecrets fails the test if a report holds a key or one of the passwords.
func (s *site) noSecrets(r *doctor.Report, passwords ...string) {
	s.t.Helper()
	var text strings.Builder
	s.must(r.WriteText(&text))
	doc, err := json.Marshal(r)
	s.must(err)
	all := text.String() + string(doc)
	f := strings.Fields(s.key.Text())
	for _, secret := range append(passwords, f[len(f)-1], s.secretOf(s.key)) {
		if strings.Contains(all, secret) {
			s.t.Errorf("a secret (%.4s…) is in the report", secret)
		}
	}
}

// A certificate that a test wants.
type certificate struct {
	names       []string
	from, until time.Duration // from now
	key         any           // nil: ECDSA P-256
	issuerURL   string        // where its issuer is said to be; it is then issued by nobody's
}

type signer struct {
	cert *x509.Certificate
	key  any
}

// tls gives the site a certificate, whose settings it sets.
func (s *site) tls(c certificate) {
	s.t.Helper()
	if c.key == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		s.must(err)
		c.key = key
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "site"}, DNSNames: c.names,
		NotBefore: time.Now().Add(c.from), NotAfter: time.Now().Add(c.until), BasicConstraintsValid: true,
	}
	by := &signer{template, c.key}
	if c.issuerURL != "" {
		template.IssuingCertificateURL = []string{c.issuerURL}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		s.must(err)
		by = &signer{&x509.Certificate{Subject: pkix.Name{CommonName: "Between CA"}}, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, public(c.key), by.key)
	s.must(err)
	s.flags["tls-cert"] = s.write("tls/cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
	der, err = x509.MarshalPKCS8PrivateKey(c.key)
	s.must(err)
	s.flags["tls-key"] = s.write("tls/key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), 0o600)
}

func public(key any) any {
	if k, ok := key.(*rsa.PrivateKey); ok {
		return k.Public()
	}
	return key.(*ecdsa.PrivateKey).Public()
}
