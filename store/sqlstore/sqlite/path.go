package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// prepare checks the path and makes an empty file where there is none, readable
// by its owner only. SQLite gives the files beside it the same mode.
func prepare(path string) (string, error) {
	switch {
	case path == "", path == ":memory:", strings.HasPrefix(path, "file:"):
		return "", fmt.Errorf("sqlite: %q is no path of a file: name a file, or use package memstore for sessions in memory", path)
	case strings.ContainsRune(path, 0):
		return "", fmt.Errorf("sqlite: %q: a path holds no NUL byte", path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("sqlite: open %q: %w", path, err)
	}
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return abs, nil
	}
	if err != nil {
		return "", fmt.Errorf("sqlite: make %q: %w", path, err)
	}
	return abs, f.Close()
}

// dsn writes a file URI, in which only letters, digits and a few signs stand for
// themselves.
func dsn(abs string, params url.Values) string {
	p := filepath.ToSlash(abs)
	if !strings.HasPrefix(p, "/") { // C:/…
		p = "/" + p
	}
	var b strings.Builder
	b.WriteString("file://")
	for i := range len(p) {
		c := p[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("/-._~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String() + "?" + params.Encode()
}

func writeDSN(abs string, o Options) string {
	sync := "FULL"
	if o.Normal {
		sync = "NORMAL"
	}
	return dsn(abs, url.Values{
		"mode":    {"rw"},
		"_txlock": {"immediate"},
		"_pragma": {
			"busy_timeout(" + strconv.FormatInt(o.BusyTimeout.Milliseconds(), 10) + ")",
			"journal_mode(WAL)", "synchronous(" + sync + ")", "foreign_keys(1)",
		},
	})
}

func readDSN(abs string, o Options) string {
	return dsn(abs, url.Values{
		"mode":    {"rw"},
		"_pragma": {"busy_timeout(" + strconv.FormatInt(o.BusyTimeout.Milliseconds(), 10) + ")", "query_only(1)"},
	})
}
