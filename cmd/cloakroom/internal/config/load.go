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
	var faults Faults
	env := readEnviron(environ, &faults)
	path, ok := flags["config"]
	if !ok {
		path = env["config"]
	}
	var file map[string]string
	if path != "" {
		file = readFile(path, &faults)
	}
	c := new(Config)
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
		if text == "" && from != "" && (s.name == "store" || s.name == "users") {
			// What a script meant to fill in: the default would be another place.
			faults.add("%s: empty: name a place, or unset it for the default", from)
			continue
		}
		if err := s.set(c, text); err != nil {
			faults.add("%s: %v", from, err)
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	c.derive()
	// What one setting says about another is judged once each is good by
	// itself: before that it would only repeat the same fault.
	if c.check(&faults); len(faults) > 0 {
		return nil, faults
	}
	return c, nil
}

// envName is the environment variable of a setting.
func envName(setting string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// injected reports whether a variable is one of those that Kubernetes gives to
// every container where there is a Service by the name of cloakroom.
func injected(name string) bool {
	return strings.HasPrefix(name, envPrefix+"SERVICE_") || name == envPrefix+"PORT" || strings.HasPrefix(name, envPrefix+"PORT_")
}

// readEnviron picks the command's variables. One that is none of them is a
// fault: a misspelt CLOAKROOM_PUBLIC_ULR would otherwise be a setting that
// somebody believes to be in force.
func readEnviron(environ []string, faults *Faults) map[string]string {
	known := map[string]string{envPrefix + "CONFIG": "config"}
	for _, s := range settings {
		known[envName(s.name)] = s.name
	}
	found := make(map[string]string)
	var unknown []string
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
	for _, name := range unknown {
		faults.add("environment: unknown variable %q: unset it, or see \"cloakroom serve --help\" for the names", name)
	}
	return found
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
		"max-connections": f.MaxConnections, "keys": f.Keys, "public-url": f.PublicURL,
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
	text, err := readBounded(path)
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
			faults.add("%s:%d: unknown key %q: remove it, or see \"cloakroom serve --help\" for the names", path, line, strings.Join(e.Key(), "."))
		}
	case errors.As(err, &decode):
		line, column := decode.Position()
		if key := decode.Key(); len(key) > 0 {
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

// readBounded reads a file of at most maxFile bytes.
func readBounded(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: no such file", path)
	}
	if err != nil {
		return "", fmt.Errorf("%s: cannot be opened: %w", path, bare(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("%s: cannot be read: %w", path, bare(err))
	}
	if len(b) > maxFile {
		return "", fmt.Errorf("%s: over %d bytes: that is no configuration", path, maxFile)
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
