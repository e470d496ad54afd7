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

// secrets are all such files that the settings name, and that are there.
func (e *examination) secrets() []secret {
	var list []secret
	add := func(path, what string, kind secretKind) {
		info, err := os.Stat(path)
		if path == "" || err != nil || !info.Mode().IsRegular() {
			return
		}
		if !slices.ContainsFunc(list, func(s secret) bool { return s.path == path }) {
			list = append(list, secret{path, what, kind})
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
	if e.Settings.File != "" && holdsPassword(e.Settings.File) {
		add(e.Settings.File, "the configuration, which holds a password,", configFile)
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
func holdsPassword(path string) bool {
	text, err := readSome(path)
	if err != nil {
		return false
	}
	for part := range strings.SplitSeq(text, "://") {
		authority, _, _ := strings.Cut(strings.TrimSpace(part), "/")
		user, _, at := strings.Cut(authority, "@")
		if at && strings.Contains(user, ":") && !strings.ContainsAny(user, " \t\r\n\"") {
			return true
		}
	}
	return false
}

// files judges modes, owners and places.
func (e *examination) files(_ context.Context, l *notes) {
	if !modes {
		l.skip("modes do not say here who may read a file", "data-mode", "database-mode", "file-owner", "key-mode", "key-folder", "key-links", "secret-mode")
	}
	e.dataFolder(l)
	list := e.secrets()
	for _, s := range list {
		info, err := os.Stat(s.path)
		if err != nil {
			continue
		}
		if modes {
			e.mode(l, s, info)
		}
		if folder := webFolder(s.path); folder != "" {
			l.find("web-folder", finding.Error, "move it to a directory that no web server knows, and name that one",
				"%s %s is within %s", s.what, s.path, folder)
		}
		if s.kind == keyFile {
			e.keyFile(l, s.path, info)
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
		if p.Path != "" && !within(c.Data, resolve(p.Path)) && exists(dir) && (i == 0 || !samePlace(c.Store, c.Users)) {
			e.place(l, dir)
		}
	}
	if e.Settings.Bad["data"] || !c.UsesData() {
		l.skip("", "data-mode", "disk-space")
		return
	}
	info, err := os.Stat(c.Data)
	if err != nil || !info.IsDir() {
		l.skip("there is no directory "+c.Data, "data-mode", "data-place", "disk-space")
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
	abs := resolve(path)
	kind := e.World.Kind(path)
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
func (e *examination) mode(l *notes, s secret, info fs.FileInfo) {
	switch s.kind {
	case keyFile, credential:
		judgeMode(l, "key-mode", s, e.keyRule())
	case placeFile:
		judgeMode(l, "secret-mode", s, secretfile.Mounted)
	case database:
		for _, path := range beside(s.path, "-wal", "-shm", "-journal", ".", "~", ".bak") {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
				level := finding.Warning
				if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm()&0o011 != 0 {
					level = finding.Error
				}
				l.find("database-mode", level, "chmod 600 "+quote(path), "%s is open to others (mode %04o)", path, info.Mode().Perm())
			}
		}
	case configFile:
		// Here the service has no rule; such files often belong to root and a group.
		if mode := info.Mode().Perm(); mode&0o027 != 0 {
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

// beside lists a file and those in its directory whose names go on as it does.
func beside(path string, ends ...string) []string {
	list := []string{path}
	entries, _ := os.ReadDir(filepath.Dir(path))
	for _, entry := range entries {
		rest, ok := strings.CutPrefix(entry.Name(), filepath.Base(path))
		if ok && slices.ContainsFunc(ends, func(end string) bool { return strings.HasPrefix(rest, end) }) {
			list = append(list, filepath.Join(filepath.Dir(path), entry.Name()))
		}
	}
	return list
}

// keyFile judges where the key file lies and what lies beside it.
func (e *examination) keyFile(l *notes, path string, info fs.FileInfo) {
	real := resolve(path)
	if dir, err := os.Stat(filepath.Dir(real)); err == nil && modes {
		if mode := dir.Mode(); mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0 && resolve(e.cfg.Data) != filepath.Dir(real) {
			l.find("key-folder", finding.Error, "chmod go-w "+quote(filepath.Dir(real)), "the key file %s lies in %s, where others may write (mode %04o)",
				path, filepath.Dir(real), mode.Perm())
		}
	}
	if n := names(info); n > 1 {
		l.find("key-links", finding.Warning, "find the others with: find / -xdev -samefile "+quote(real)+", and remove them",
			"the key file %s has %d names", path, n)
	}
	ends := []string{"~", ".bak", ".old", ".orig", ".save", ".copy", ".swp", ".tmp", "-", "_"}
	copies := beside(real, ends...)[1:]
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
	dir := filepath.Dir(resolve(s.path))
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if ours, _ := filepath.Match(".cloakroom-*.tmp", entry.Name()); !ours {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		if info, err := os.Lstat(path); err == nil && e.World.Now().Sub(info.ModTime()) > time.Minute {
			l.find("key-copies", finding.Warning, "rm "+quote(path), "beside %s lies %s, which was to replace such a file", strings.TrimSuffix(s.what, ","), path)
		}
	}
}

// owners compares the owners of files with who runs the service: whoever owns the
// data directory, as root may run the doctor.
func (e *examination) owners(l *notes, list []secret) {
	want, whose := e.World.UID, "this is"
	if info, err := os.Stat(e.cfg.Data); err == nil && e.cfg.UsesData() {
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
		info, err := os.Stat(s.path)
		if err != nil || s.kind == configFile || s.kind == tlsKey {
			continue
		}
		// Who owns what is mounted is up to what mounts it, if all may read it.
		if (s.kind == placeFile || s.kind <= credential && e.keyRule() == secretfile.Mounted) && info.Mode().Perm()&0o044 != 0 {
			continue
		}
		if uid, ok := owner(info); ok && uid != want {
			l.find("file-owner", finding.Error, "chown "+cmp.Or(ownerName(want), "OWNER")+" "+quote(s.path),
				"%s %s belongs to user %d, and %s %d", s.what, s.path, uid, whose, want)
		}
	}
}
