package doctor

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

var filesChecks = []string{
	"data-mode", "database-mode", "file-owner", "data-place", "data-network", "key-mode", "key-folder",
	"key-links", "key-copies", "secret-mode", "web-folder", "disk-space",
}

// A secret is a file that is to stay secret.
type secret struct {
	path string
	what string // "the key file"
	kind secretKind
	info fs.FileInfo

	unseen string // why it cannot be looked at, "" if it can
}

type secretKind uint8

const (
	keyFile    secretKind = iota // what keys are in
	credential                   // what keys are decrypted or fetched with
	database                     // SQLite's
	configFile                   // TOML, with a password in it
	placeFile                    // of store-file or users-file
	tlsKey
)

// secrets are all such files that the settings name, but those that are not there.
func (e *examination) secrets() []secret {
	var list []secret
	add := func(path, what string, kind secretKind) {
		info, err := os.Stat(path)
		if path == "" || errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return
		}
		if !slices.ContainsFunc(list, func(s secret) bool { return s.path == path }) {
			s := secret{path: path, what: what, kind: kind, info: info}
			if err != nil {
				s.unseen = secretfile.Shown(path) + " cannot be looked at: " + cause(err)
			}
			list = append(list, s)
		}
	}
	for _, s := range []struct {
		setting string
		kind    secretKind
	}{{"keys", keyFile}, {"keys-file", keyFile}, {"store", database}, {"store-file", database}, {"users", database}, {"users-file", database}, {"tls-key", tlsKey}} {
		if e.Settings.Bad[s.setting] {
			list = append(list, secret{kind: s.kind, unseen: "the setting " + s.setting + " cannot be read"})
		}
	}
	for _, path := range e.keyFiles() {
		if e.plainKeys() {
			add(path, "the key file", keyFile)
		} else {
			add(path, "what opens the keys,", credential)
		}
	}
	if !e.Settings.Bad["store"] {
		add(e.cfg.Store.Path, "the database", database)
	}
	if !e.Settings.Bad["users"] {
		add(e.cfg.Users.Path, "the database", database)
	}
	for _, name := range []string{"store-file", "users-file"} {
		add(e.Settings.Given[name], "the file of "+name, placeFile)
	}
	if e.Settings.File != "" {
		switch holds, err := holdsPassword(e.Settings.File); {
		case holds:
			add(e.Settings.File, "the configuration, which holds a password,", configFile)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			list = append(list, secret{kind: configFile, unseen: secretfile.Shown(e.Settings.File) + " cannot be read: " + cause(err)})
		}
	}
	add(e.cfg.TLSKey, "the certificate's key", tlsKey)
	return list
}

// keyPath returns the path of the file that the keys are in, as they are; "" for none.
func (e *examination) keyPath() string {
	if files := e.keyFiles(); len(files) > 0 && e.plainKeys() {
		return files[0]
	}
	return ""
}

// keyFiles are the files that the source of the keys reads secrets from.
func (e *examination) keyFiles() []string {
	if e.Settings.Bad["keys"] || e.Settings.Bad["keys-file"] {
		return nil
	}
	return e.cfg.Keys.Files()
}

// plainKeys tells whether these files are the keys, and not what gives access to them.
func (e *examination) plainKeys() bool {
	switch e.cfg.Keys.Scheme {
	case keysource.File, keysource.Mounted, keysource.Dotenv:
		return true
	}
	return false
}

// holdsPassword tells whether there is a URL with a password in a text file.
func holdsPassword(path string) (bool, error) {
	text, err := readText(path)
	if err != nil {
		return false, err
	}
	for part := range strings.SplitSeq(text, "://") {
		authority, _, _ := strings.Cut(strings.TrimSpace(part), "/")
		user, _, at := strings.Cut(authority, "@")
		if at && strings.Contains(user, ":") && !strings.ContainsAny(user, " \t\r\n\"") {
			return true, nil
		}
	}
	return false, nil
}

// secretChecks are what is looked at on a secret of a kind.
var secretChecks = map[secretKind][]string{
	keyFile:    {"key-mode", "key-folder", "key-links", "key-copies", "file-owner", "web-folder"},
	credential: {"key-mode", "key-copies", "file-owner", "web-folder"},
	database:   {"database-mode", "file-owner", "web-folder"},
	configFile: {"secret-mode", "web-folder"},
	placeFile:  {"secret-mode", "file-owner", "web-folder"},
	tlsKey:     {"web-folder"},
}

// files judges modes, owners and places.
func (e *examination) files(_ context.Context, l *notes) {
	if !modes {
		l.skip("on this system modes do not say who may read a file", "data-mode", "database-mode", "file-owner", "key-mode", "key-folder", "key-links", "secret-mode")
	}
	e.dataFolder(l)
	list := e.secrets()
	for _, s := range list {
		if s.unseen != "" {
			l.skip(s.unseen, secretChecks[s.kind]...)
			continue
		}
		if modes {
			e.mode(l, s)
		}
		if folder := webFolder(s.path); folder != "" {
			l.find("web-folder", finding.Error, "move it to a directory that no web server knows, and name that one",
				"%s %s is within %s", s.what, s.path, folder)
		}
		if s.kind == keyFile {
			e.keyFile(l, s.path, s.info)
		}
		if s.kind <= credential {
			e.leftovers(l, s)
		}
	}
	if modes {
		e.owners(l, list)
	}
}

// dataFolder judges the data directory and the disk behind it, and the folders of
// databases that are elsewhere.
func (e *examination) dataFolder(l *notes) {
	c := e.cfg
	for i, p := range []config.Place{c.Store, c.Users} {
		dir := filepath.Dir(p.Path)
		if p.Path == "" || within(c.Data, config.Behind(p.Path)) || i > 0 && c.Store.Same(c.Users) {
			continue
		}
		switch _, err := os.Stat(dir); {
		case err == nil:
			e.place(l, dir)
		case !errors.Is(err, fs.ErrNotExist):
			l.skip(dir+" cannot be looked at: "+cause(err), "data-place", "data-network")
		}
	}
	if e.Settings.Bad["data"] {
		l.skip("the setting data cannot be read", "data-mode", "data-place", "data-network", "disk-space")
		return
	}
	if !c.UsesData() {
		l.skip("", "data-mode", "disk-space")
		return
	}
	info, err := os.Stat(c.Data)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		l.skip(c.Data+" cannot be looked at: "+cause(err), "data-mode", "data-place", "data-network", "disk-space", "file-owner")
		return
	case err != nil || !info.IsDir():
		l.skip("there is no directory "+c.Data, "data-mode", "data-place", "data-network", "disk-space")
		return
	}
	if mode := info.Mode().Perm(); modes && mode&0o077 != 0 {
		level := finding.Warning
		if mode&0o022 != 0 {
			level = finding.Error
		}
		l.find("data-mode", level, "chmod 700 "+quote(c.Data), "the data directory %s is open to others (mode %04o)", c.Data, mode)
	}
	e.place(l, c.Data)
	free, total, ok := e.World.Room(c.Data)
	switch {
	case !ok:
		l.skip("the system does not say", "disk-space")
	case free < 32<<20:
		l.find("disk-space", finding.Error, "make room", "%d MiB are free of %d where %s is", free>>20, total>>20, c.Data)
	case free < 256<<20:
		l.find("disk-space", finding.Warning, "make room", "%d MiB are free of %d where %s is", free>>20, total>>20, c.Data)
	}
}

// place judges where the data is.
func (e *examination) place(l *notes, path string) {
	abs := config.Behind(path)
	kind, known := e.World.Kind(path)
	if !known {
		l.skip("the system does not say on which file system the data is", "data-place", "data-network")
	}
	emptied := slices.IndexFunc(e.World.Emptied, func(dir string) bool { return within(dir, abs) })
	sqlite := e.cfg.Store.Scheme == config.SQLite || e.cfg.Users.Scheme == config.SQLite
	switch {
	case kind == "tmpfs" || kind == "ramfs":
		l.find("data-place", finding.Warning, "name a directory on a disk with data", "%s is in memory (%s)", path, kind)
	case emptied >= 0:
		l.find("data-place", finding.Warning, "name a directory outside "+e.World.Emptied[emptied]+" with data",
			"%s is within %s, which is emptied", path, e.World.Emptied[emptied])
	case kind != "" && sqlite:
		l.find("data-network", finding.Error, "name a directory on a disk of this machine with data, or a server with store and users",
			"%s is on a network file system (%s)", path, kind)
	}
}

// mode judges who may read a file.
func (e *examination) mode(l *notes, s secret) {
	switch s.kind {
	case keyFile, credential:
		judgeMode(l, "key-mode", s, e.keyRule())
	case placeFile:
		judgeMode(l, "secret-mode", s, secretfile.Mounted)
	case database:
		list, err := beside(s.path, "-wal", "-shm", "-journal", ".", "~", ".bak")
		if err != nil {
			l.skip("what lies beside "+s.path+" cannot be listed: "+cause(err), "database-mode")
		}
		for _, path := range append(list, s.path) {
			info, err := os.Stat(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				l.skip(path+" cannot be looked at: "+cause(err), "database-mode")
			}
			if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
				level := finding.Warning
				if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm()&0o011 != 0 {
					level = finding.Error
				}
				l.find("database-mode", level, "chmod 600 "+quote(path), "%s is open to others (mode %04o)", path, info.Mode().Perm())
			}
		}
	case configFile:
		// Here the service has no rule; such files often belong to root and a group.
		if mode := s.info.Mode().Perm(); mode&0o027 != 0 {
			l.find("secret-mode", finding.Error, "chmod 640 "+quote(s.path)+" or stricter", "%s %s is open to others (mode %04o)", s.what, s.path, mode)
		}
	}
}

// keyRule is the rule by which the service reads files with keys or what opens them.
func (e *examination) keyRule() secretfile.Rule {
	switch e.cfg.Keys.Scheme {
	case keysource.File, keysource.Dotenv:
		return secretfile.Private
	}
	return secretfile.Mounted
}

// judgeMode asks the rule by which the service reads the file.
func judgeMode(l *notes, check string, s secret, rule secretfile.Rule) {
	switch err := openToOthers(s.path, rule); {
	case errors.Is(err, secretfile.ErrMode):
		what, do := split(err.Error(), "")
		l.find(check, finding.Error, do, "%s %s", s.what, what)
	case err != nil:
		l.skip(s.what+" "+s.path+" cannot be opened", check)
	}
}

// openToOthers returns what a rule says of a file, which is nothing of what it holds.
func openToOthers(path string, rule secretfile.Rule) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return secretfile.Check(f, rule)
}

// beside lists the files in the directory of a file whose names go on as its does.
func beside(path string, ends ...string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	var list []string
	for _, entry := range entries {
		rest, ok := strings.CutPrefix(entry.Name(), filepath.Base(path))
		if ok && slices.ContainsFunc(ends, func(end string) bool { return strings.HasPrefix(rest, end) }) {
			list = append(list, filepath.Join(filepath.Dir(path), entry.Name()))
		}
	}
	return list, err
}

// keyFile judges where the key file lies and what lies beside it.
func (e *examination) keyFile(l *notes, path string, info fs.FileInfo) {
	real := config.Behind(path)
	if dir, err := os.Stat(filepath.Dir(real)); err != nil {
		l.skip(filepath.Dir(real)+" cannot be looked at: "+cause(err), "key-folder")
	} else if modes {
		if mode := dir.Mode(); mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0 && config.Behind(e.cfg.Data) != filepath.Dir(real) {
			l.find("key-folder", finding.Error, "chmod go-w "+quote(filepath.Dir(real)), "the key file %s lies in %s, where others may write (mode %04o)",
				path, filepath.Dir(real), mode.Perm())
		}
	}
	if n := names(info); n > 1 {
		l.find("key-links", finding.Warning, "find the others with: find / -xdev -samefile "+quote(real)+", and remove them",
			"the key file %s has %d names", path, n)
	}
	ends := []string{"~", ".bak", ".old", ".orig", ".save", ".copy", ".swp", ".tmp", "-", "_"}
	copies, err := beside(real, ends...)
	if err != nil {
		l.skip("what lies beside "+path+" cannot be listed: "+cause(err), "key-copies")
	}
	for _, name := range []string{"." + filepath.Base(real) + ".swp", "#" + filepath.Base(real) + "#"} {
		if p := filepath.Join(filepath.Dir(real), name); exists(p) {
			copies = append(copies, p)
		}
	}
	for _, p := range copies {
		l.find("key-copies", finding.Warning, "rm "+quote(p), "beside the key file lies %s", p)
	}
}

// leftovers finds what a program of ours that was cut off has left beside a file with
// secrets: it is as good as that file. One that is being written is there for an instant.
func (e *examination) leftovers(l *notes, s secret) {
	dir := filepath.Dir(config.Behind(s.path))
	entries, err := os.ReadDir(dir)
	if err != nil {
		l.skip("what lies beside "+s.path+" cannot be listed: "+cause(err), "key-copies")
	}
	for _, entry := range entries {
		if ours, _ := filepath.Match(".cloakroom-*.tmp", entry.Name()); !ours {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		info, err := os.Lstat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.skip(path+" cannot be looked at: "+cause(err), "key-copies")
		}
		if err == nil && e.World.Now().Sub(info.ModTime()) > time.Minute {
			l.find("key-copies", finding.Warning, "rm "+quote(path), "beside %s lies %s, which was to replace such a file", strings.TrimSuffix(s.what, ","), path)
		}
	}
}

// owners compares the owners of files with who runs the service: whoever owns the
// data directory, as root may run the doctor.
func (e *examination) owners(l *notes, list []secret) {
	want, whose := e.World.UID, "this is"
	info, err := os.Stat(e.cfg.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return // and dataFolder says so
	}
	if err == nil && e.cfg.UsesData() {
		uid, _ := owner(info)
		if e.World.UID != 0 && uid != e.World.UID {
			l.find("file-owner", finding.Error, "run the service as the owner, or chown the directory",
				"the data directory %s belongs to user %d, and this is %d", e.cfg.Data, uid, e.World.UID)
		}
		want, whose = uid, "the data directory belongs to"
	} else if e.World.UID == 0 {
		l.skip("root does not tell who runs the service", "file-owner")
		return
	}
	for _, s := range list {
		if s.unseen != "" || s.kind == configFile || s.kind == tlsKey {
			continue
		}
		// Who owns what is mounted is up to what mounts it, if all may read it.
		if (s.kind == placeFile || s.kind <= credential && e.keyRule() == secretfile.Mounted) && s.info.Mode().Perm()&0o044 != 0 {
			continue
		}
		if uid, ok := owner(s.info); ok && uid != want {
			l.find("file-owner", finding.Error, "chown "+cmp.Or(ownerName(want), "OWNER")+" "+quote(s.path),
				"%s %s belongs to user %d, and %s %d", s.what, s.path, uid, whose, want)
		}
	}
}
