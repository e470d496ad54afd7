package doctor

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/joho/godotenv"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

var sharedChecks = []string{"key-shared"}

// shared looks for our keys under other names: in the environment, and in the .env
// files that lie about. A value is compared by what key it makes, so that hexadecimal
// and base64 of one secret are the same.
func (e *examination) shared(ctx context.Context, l *notes) {
	ring := e.keys.wait(ctx)
	if ring == nil {
		l.skip("the keys cannot be read", "key-shared")
		return
	}
	own := e.cfg.Keys
	environ := make(map[string]string)
	for _, kv := range e.Environ {
		name, value, _ := strings.Cut(kv, "=")
		if own.Scheme != keysource.Env || name != own.Name() {
			environ[name] = value
		}
	}
	judgeShared(l, ring, environ, "the environment")
	for _, path := range e.dotenvs() {
		text, err := readText(path)
		if errors.Is(err, fs.ErrNotExist) { // a link that leads nowhere
			continue
		}
		if err != nil {
			l.skip(path+" cannot be read: "+cause(err), "key-shared")
			continue
		}
		values, err := godotenv.Unmarshal(text)
		if err != nil { // it quotes the file
			l.skip(path+" is not a .env file that can be read", "key-shared")
			continue
		}
		if slices.Contains(e.dotenvKeys(), path) {
			delete(values, own.Name())
		}
		judgeShared(l, ring, values, path)
	}
}

func judgeShared(l *notes, ring *keyring.Ring, values map[string]string, where string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if len(values[name]) < 40 {
			continue // no key is so short
		}
		keys, err := keyring.ReadKeys(strings.NewReader(values[name]))
		if err != nil {
			continue
		}
		for _, k := range keys {
			if ring.Has(k.ID()) {
				l.find("key-shared", finding.Error, "give that program a secret of its own (openssl rand -hex 32), then exchange ours: cloakroom key rotate",
					"%.60q in %s is our key %v", name, where, k.ID())
			}
		}
	}
}

// dotenvs are the .env files that a program beside us would read.
func (e *examination) dotenvs() []string {
	dirs := []string{".", e.cfg.Data, filepath.Dir(e.cfg.Data)}
	for _, path := range []string{e.Settings.File, e.keyPath()} {
		if path != "" {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	var list []string
	for _, dir := range dirs {
		for _, name := range []string{".env", ".env.local", ".env.production"} {
			if path := filepath.Join(dir, name); exists(path) && !slices.Contains(list, config.Behind(path)) {
				list = append(list, config.Behind(path))
			}
		}
	}
	for _, path := range e.dotenvKeys() {
		if !slices.Contains(list, path) {
			list = append(list, path)
		}
	}
	return list
}

// dotenvKeys returns the path of the .env file that the keys are in, if they are in one.
func (e *examination) dotenvKeys() []string {
	if e.cfg.Keys.Scheme != keysource.Dotenv {
		return nil
	}
	var list []string
	for _, path := range e.keyFiles() {
		list = append(list, config.Behind(path))
	}
	return list
}
