package config

import (
	"errors"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
)

// setKeys takes what package keysource knows. No message repeats the value, which may
// be the key itself.
func setKeys(c *Config, text string) (err error) {
	if text == "" {
		return nil
	}
	if name, ok := keysource.Variable(text); ok && c.environ.known[name] != "" {
		return errors.New("names the variable of a setting: give the keys one of their own, as env:SECRET_KEYS")
	}
	c.Keys, err = keysource.Parse(text, c.environ.lookup)
	return err
}

// setKeysFile takes the path of a file. It stands behind keys in the list of settings.
func setKeysFile(c *Config, path string) (err error) {
	switch {
	case path == "":
		return nil
	case c.Keys.Scheme != "":
		return errors.New("keys is set as well: remove one of them")
	}
	c.Keys, err = keysource.FromFile(path)
	return err
}

// Bounds of keys-interval and key-rotation. A rotation by itself
// waits for two looks between its steps, and an hour is as long as a key that has leaked should
// be accepted anywhere.
const (
	minKeysInterval = time.Second
	maxKeysInterval = time.Hour
	minKeyRotation  = time.Hour
	maxKeyRotation  = 3650 * day

	// maxRetiring is the most keys that retire at once: of those that fit into a
	// ring the rest are for hands.
	maxRetiring = 30
)

func setKeysInterval(c *Config, text string) error {
	if text == "" {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("not a duration: write it like 30s or 5m")
	}
	if d < minKeysInterval || d > maxKeysInterval {
		return errors.New("out of bounds: from 1s to 1h")
	}
	c.KeysInterval = d
	return nil
}

// setKeyRotation takes a time in days as well; 0 is never.
func setKeyRotation(c *Config, text string) error {
	d, err := inDays(text)
	if err != nil {
		return errors.New("not a duration: write it in days, like 90d, or in hours, like 12h")
	}
	if d != 0 && (d < minKeyRotation || d > maxKeyRotation) {
		return errors.New("out of bounds: from 1h to 3650d, or 0 for never")
	}
	c.KeyRotation = d
	return nil
}

// checkKeys judges what the settings on keys say together. The interval has its
// default already.
func (c *Config) checkKeys(faults *Faults) {
	if c.KeysInterval != 0 && c.Keys.Interval() == 0 {
		faults.add("keys-interval: what the environment holds never changes: leave it out, or keep the keys elsewhere")
	}
	if c.KeyRotation == 0 {
		return
	}
	if !c.Keys.Writable() {
		faults.add("key-rotation: new keys cannot be written to %s: leave it out and rotate by hand, or keep the keys in a file or a manager of secrets", c.Keys)
	}
	if (c.Lifetime+keys.Grace)/maxRetiring > c.KeyRotation {
		faults.add("key-rotation: keys are needed for a lifetime after their own, and there would be over %d of them: lengthen it, or shorten lifetime", maxRetiring)
	}
}

// variables are those of the environment.
type variables struct {
	lookup func(name string) (string, bool)
	known  map[string]string // the settings by the names of their variables
}

// lookupIn returns a function that finds variables in what [os.Environ] returns.
func lookupIn(environ []string) func(name string) (string, bool) {
	return func(name string) (value string, ok bool) {
		for _, kv := range environ {
			if n, v, _ := strings.Cut(kv, "="); n == name {
				value, ok = v, true // of two the last, as a process is given
			}
		}
		return value, ok
	}
}
