package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// envPrefix is what the environment variables of the command begin with.
const envPrefix = "CLOAKROOM_"

// maxFile bounds a configuration file in bytes.
const maxFile = 1 << 20

// Faults is everything that is wrong with a configuration, a line each.
type Faults []string

// Error returns the faults, a line each.
func (f Faults) Error() string { return strings.Join(f, "\n") }

func (f *Faults) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// Load reads the configuration. flags holds the flags that were given, by name,
// among them perhaps "config"; environ is as [os.Environ] returns it. An error
// is [Faults].
func Load(flags map[string]string, environ []string) (*Config, error) {
	e := Examine(flags, environ)
	if len(e.Faults) > 0 {
		return nil, e.Faults
	}
	return e.Config, nil
}

// Examined is a configuration together with what is wrong with it.
type Examined struct {
	// Config is what can be read. A setting that cannot has its default.
	Config *Config

	Faults Faults

	// Bad are the names of the settings that Faults are about, as far as one is.
	Bad map[string]bool

	// File is the path of the configuration file, "" for none.
	File string

	// Given are the texts of the settings that somebody has set, by name, the
	// secrets in them included: they are for no message.
	Given map[string]string
}

// Examine is [Load] for who has to go on with what is good of a configuration.
func Examine(flags map[string]string, environ []string) *Examined {
	c := &Config{environ: &variables{lookupIn(environ), knownVariables()}}
	e := &Examined{Config: c, Bad: make(map[string]bool), Given: make(map[string]string)}
	env, unknown := readEnviron(environ)
	path, ok := flags["config"]
	if !ok {
		path = env["config"]
	}
	var file map[string]string
	if path != "" {
		file = readFile(path, &e.Faults)
	}
	e.File = path
	for _, s := range settings {
		text, from := s.def, ""
		if v, ok := file[s.name]; ok {
			text, from = v, path+": "+s.name
		}
		if v, ok := env[s.name]; ok {
			text, from = v, envName(s.name)
		}
		if v, ok := flags[s.name]; ok {
			text, from = v, "--"+s.name
		}
		if from != "" {
			e.Given[s.name] = text
		}
		if text == "" && from != "" && slices.Contains(places, s.name) {
			// What a script meant to fill in: the default would be another place.
			e.Faults.add("%s: empty: name a place, or unset it for the default", from)
			e.Bad[s.name] = true
			continue
		}
		if err := s.set(c, text); err != nil {
			for line := range strings.Lines(err.Error()) {
				e.Faults.add("%s: %s", from, strings.TrimSuffix(line, "\n"))
			}
			e.Bad[s.name] = true
			_ = s.set(c, s.def)
		}
	}
	unknown.except(e.Given["keys"])
	c.environ = nil
	e.Faults = append(unknown.faults(), e.Faults...)
	c.derive()
	// What one setting says about another is judged once each is good by
	// itself: before that it would only repeat the same fault.
	if len(e.Faults) == 0 {
		c.check(&e.Faults)
	}
	c.environ = nil
	return e
}

// places are the settings that are not taken for unset when they are empty.
var places = []string{"store", "users", "keys", "keys-file"}

// envName is the environment variable of a setting.
func envName(setting string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// injected reports whether a variable is one of those that Kubernetes gives to
// every container where there is a Service by the name of cloakroom.
func injected(name string) bool {
	return strings.HasPrefix(name, envPrefix+"SERVICE_") || name == envPrefix+"PORT" || strings.HasPrefix(name, envPrefix+"PORT_")
}

// knownVariables returns the settings by the names of their variables.
func knownVariables() map[string]string {
	known := map[string]string{envPrefix + "CONFIG": "config"}
	for _, s := range settings {
		known[envName(s.name)] = s.name
	}
	return known
}

// readEnviron picks the command's variables, and those that look like some.
func readEnviron(environ []string) (found map[string]string, unknown strangers) {
	known := knownVariables()
	found = make(map[string]string)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if setting, ok := known[name]; ok {
			found[setting] = value
		} else if !injected(name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return found, unknown
}

// strangers are variables that look like the command's and are none of its. Each is a
// fault: a misspelt CLOAKROOM_PUBLIC_ULR would otherwise be a setting that somebody
// believes to be in force.
type strangers []string

// except takes out the variable that the setting keys names.
func (s *strangers) except(keys string) {
	if name, ok := keysource.Variable(keys); ok {
		*s = slices.DeleteFunc(*s, func(v string) bool { return v == name })
	}
}

func (s strangers) faults() (faults Faults) {
	for _, name := range s {
		if keysource.HasKey(strings.TrimPrefix(name, envPrefix)) {
			faults.add("environment: unknown variable whose name looks like a key: unset it")
			continue
		}
		faults.add("environment: unknown variable %q: unset it, or see \"cloakroom serve --help\" for the names", name)
	}
	return faults
}

// file is the TOML file. Everything is text and optional, so that what is set
// can be told from what is not, and one set of rules reads all sources.
type file struct {
	Listen         any `toml:"listen"`
	Data           any `toml:"data"`
	Prefix         any `toml:"prefix"`
	Store          any `toml:"store"`
	StoreFile      any `toml:"store-file"`
	Users          any `toml:"users"`
	UsersFile      any `toml:"users-file"`
	AllowPlaintext any `toml:"allow-plaintext"` // true or false, or as text
	AllowAnonymous any `toml:"allow-anonymous"` // likewise
	StoreTimeout   any `toml:"store-timeout"`
	MaxConnections any `toml:"max-connections"` // a number, or as text
	Keys           any `toml:"keys"`
	KeysFile       any `toml:"keys-file"`
	KeysInterval   any `toml:"keys-interval"`
	KeyRotation    any `toml:"key-rotation"`
	PublicURL      any `toml:"public-url"`
	TrustedProxies any `toml:"trusted-proxies"` // a text, or a list of texts
	TLSCert        any `toml:"tls-cert"`
	TLSKey         any `toml:"tls-key"`
	IdleTimeout    any `toml:"idle-timeout"`
	Lifetime       any `toml:"lifetime"`
	MaxSessions    any `toml:"max-sessions"` // a number, or as text
	ReauthAfter    any `toml:"reauth-after"`
	BannedWords    any `toml:"banned-words"` // a text, or a list of texts
	Pepper         any `toml:"pepper"`       // true or false, or as text
	AuditRetention any `toml:"audit-retention"`
	LogFormat      any `toml:"log-format"`
	LogLevel       any `toml:"log-level"`
	AdminListen    any `toml:"admin-listen"`
}

// What a setting may be in the file beside text.
var (
	switches = []string{"allow-plaintext", "allow-anonymous", "pepper"}
	numbers  = []string{"max-connections", "max-sessions"}
	lists    = map[string]string{"trusted-proxies": `["10.0.0.0/8"]`, "banned-words": `["acme"]`}
)

// texts returns what the file sets, by name.
func (f *file) texts(path string, faults *Faults) map[string]string {
	out := make(map[string]string)
	var wrong []string
	for name, value := range map[string]any{
		"listen": f.Listen, "data": f.Data, "prefix": f.Prefix, "store": f.Store,
		"store-file": f.StoreFile, "users": f.Users, "users-file": f.UsersFile,
		"allow-plaintext": f.AllowPlaintext, "allow-anonymous": f.AllowAnonymous, "store-timeout": f.StoreTimeout,
		"max-connections": f.MaxConnections, "keys": f.Keys, "keys-file": f.KeysFile,
		"keys-interval": f.KeysInterval, "key-rotation": f.KeyRotation, "public-url": f.PublicURL,
		"trusted-proxies": f.TrustedProxies,
		"tls-cert":        f.TLSCert, "tls-key": f.TLSKey, "idle-timeout": f.IdleTimeout,
		"lifetime": f.Lifetime, "max-sessions": f.MaxSessions, "reauth-after": f.ReauthAfter,
		"banned-words": f.BannedWords, "pepper": f.Pepper, "audit-retention": f.AuditRetention,
		"log-format": f.LogFormat, "log-level": f.LogLevel, "admin-listen": f.AdminListen,
	} {
		if value == nil {
			continue
		}
		text, ok := valueText(name, value)
		switch {
		case ok:
			out[name] = text
		case lists[name] != "":
			wrong = append(wrong, fmt.Sprintf("%s: %s: neither a text nor a list of texts: write %s", path, name, lists[name]))
		case slices.Contains(numbers, name):
			wrong = append(wrong, fmt.Sprintf("%s: %s: a value of the wrong kind: write a whole number", path, name))
		default:
			wrong = append(wrong, fmt.Sprintf("%s: %s: a value of the wrong kind: write text in quotes, and a time with its unit, as \"24h\"", path, name))
		}
	}
	slices.Sort(wrong)
	*faults = append(*faults, wrong...)
	return out
}

// valueText writes a value of the file as the flag of that name takes it. It is
// false where the setting takes no such value.
func valueText(name string, value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), slices.Contains(switches, name)
	case int64:
		return strconv.FormatInt(v, 10), slices.Contains(numbers, name)
	case []any:
		list := make([]string, len(v))
		for i, e := range v {
			text, ok := e.(string)
			if !ok {
				return "", false
			}
			list[i] = text
		}
		return strings.Join(list, ","), lists[name] != ""
	}
	return "", false
}

// readFile reads the TOML file. The decoder's own messages quote the lines
// around a fault, secrets included, so only its positions are used.
func readFile(path string, faults *Faults) map[string]string {
	if err := secretfile.CheckPath(path, "file"); err != nil {
		faults.add("--config: %v", err)
		return nil
	}
	text, err := readBounded(path, nil)
	if err != nil {
		faults.add("--config: %v", err)
		return nil
	}
	var f file
	err = toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields().Decode(&f)
	var strict *toml.StrictMissingError
	var decode *toml.DecodeError
	switch {
	case errors.As(err, &strict):
		for _, e := range strict.Errors {
			line, _ := e.Position()
			if slices.ContainsFunc(e.Key(), keysource.HasKey) {
				faults.add("%s:%d: unknown key, which looks like a secret one: remove it", path, line)
				continue
			}
			faults.add("%s:%d: unknown key %q: remove it, or see \"cloakroom serve --help\" for the names", path, line, strings.Join(e.Key(), "."))
		}
	case errors.As(err, &decode):
		line, column := decode.Position()
		if key := decode.Key(); len(key) > 0 && !slices.ContainsFunc(key, keysource.HasKey) {
			faults.add("%s:%d: %s: given twice: remove one of them", path, line, strings.Join(key, "."))
		} else {
			faults.add("%s:%d: not TOML at column %d: mend the line", path, line, column)
		}
		return nil
	case err != nil:
		faults.add("%s: not TOML: mend the file", path)
		return nil
	}
	return f.texts(path, faults)
}

// readSecret reads a file that holds a secret, which nobody else may read or change,
// but where something has mounted it into memory.
func readSecret(path string) (string, error) {
	return readBounded(path, func(f *os.File) error { return secretfile.Check(f, secretfile.Mounted) })
}

// readBounded reads a file of at most maxFile bytes. If there is a judge, it is asked
// first. What is no path but a secret is not repeated.
func readBounded(path string, judge func(*os.File) error) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: no such file; name one that is there", secretfile.Shown(path))
	}
	if err != nil {
		return "", fmt.Errorf("%s: cannot be opened: %w; name one that the service may read", secretfile.Shown(path), bare(err))
	}
	defer f.Close()
	if judge != nil {
		if err := judge(f); err != nil {
			return "", err
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("%s: cannot be read: %w; name a file", path, bare(err))
	}
	if len(b) > maxFile {
		return "", fmt.Errorf("%s: over %d bytes: that is no configuration; name another file", path, maxFile)
	}
	return string(b), nil
}

// bare is the cause of a file error, without the path that the message names
// already.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
