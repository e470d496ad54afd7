package doctor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
)

// maxText is how large a text file may be, in bytes: of a larger one a part would be
// taken for the whole.
const maxText = 1 << 20

// cause is what the system says of a file, without its name.
func cause(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// readText reads a regular file that is not larger than maxText.
func readText(path string) (string, error) {
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
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if len(b) > maxText {
		return "", fmt.Errorf("larger than %d MiB", maxText>>20)
	}
	return string(b), err
}

// within tells whether an absolute path leads into a directory.
func within(dir, path string) bool {
	rel, err := filepath.Rel(config.Behind(dir), path)
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
		if within(root, config.Behind(path)) {
			return root
		}
	}
	for dir := filepath.Dir(config.Behind(path)); ; dir = filepath.Dir(dir) {
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
