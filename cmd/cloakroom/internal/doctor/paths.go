package doctor

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxText is how much of a text file is read.
const maxText = 1 << 20

// readSome reads the beginning of a regular file.
func readSome(path string) (string, error) {
	if info, err := os.Stat(path); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file") // a pipe would never end
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText))
	return string(b), err
}

// resolve returns the absolute path behind all links, as far as there is one.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// within tells whether an absolute path leads into a directory.
func within(dir, path string) bool {
	rel, err := filepath.Rel(resolve(dir), path)
	return err == nil && filepath.IsLocal(rel)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// size is that of a file, 0 for none.
func size(path string) int64 {
	if info, err := os.Stat(path); err == nil {
		return info.Size()
	}
	return 0
}

// webFolders are the names of folders from which web servers serve.
var webFolders = []string{"public_html", "htdocs", "wwwroot", "webroot", "www", "public", "static", "html", "dist"}

// webFolder returns the folder of a web server that a path lies in, or "". One by
// such a name counts if it looks like one: a page lies in it.
func webFolder(path string) string {
	for _, root := range []string{"/var/www", "/srv/www", "/srv/http", "/usr/share/nginx"} {
		if within(root, resolve(path)) {
			return root
		}
	}
	for dir := filepath.Dir(resolve(path)); ; dir = filepath.Dir(dir) {
		if slices.Contains(webFolders, filepath.Base(dir)) && hasPage(dir) {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

func hasPage(dir string) bool {
	return slices.ContainsFunc([]string{"index.html", "index.htm", "index.php", "robots.txt", "favicon.ico", ".htaccess"}, func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil || !errors.Is(err, fs.ErrNotExist)
	})
}

// quote writes a path as a shell reads it, where it has to be quoted.
func quote(path string) string {
	plain := strings.IndexFunc(path, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+:@%", r))
	}) < 0
	if plain && path != "" && !strings.HasPrefix(path, "-") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// ownerName writes a user's number.
func ownerName(uid int) string { return strconv.Itoa(uid) }

// without takes variables out of an environment.
func without(environ []string, names ...string) []string {
	return slices.DeleteFunc(environ, func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(names, name)
	})
}
