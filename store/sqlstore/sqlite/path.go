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
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// prepare checks the path and returns it in full. Where there is no file it
// makes an empty one, which is a database to SQLite, so that the mode is right
// from the first moment; SQLite gives the files beside it the same mode.
//
// A file that exists is never opened here: closing it would take away the locks
// that another handle of this process has on it (POSIX locks belong to the
// process, and any close drops them).
func prepare(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("sqlite: the path is empty: name a file")
	case path == ":memory:", strings.HasPrefix(path, "file:"):
		return "", fmt.Errorf("sqlite: %q is not the path of a file: name a file, or use package memstore for sessions in memory", path)
	case strings.ContainsRune(path, 0):
		return "", fmt.Errorf("sqlite: %q: a path holds no NUL byte", path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("sqlite: open %q: %w", path, err)
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return abs, create(path, abs)
	case err != nil:
		return "", refuse(path, err)
	case info.IsDir():
		return "", fmt.Errorf("sqlite: %q is a folder: name a file in it", path)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("sqlite: %q is not a regular file: name one", path)
	}
	return abs, nil
}

// create makes an empty file, unless another process was faster.
func create(path, abs string) error {
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return refuse(path, err)
	}
	return f.Close()
}

// refuse says what to do about a path that cannot be used.
func refuse(path string, err error) error {
	// The error of package os names the path in full: once is enough.
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("sqlite: open %q: the folder does not exist: make it first: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("sqlite: open %q: this user may not write there: change the owner or name another file: %w", path, err)
	}
	return fmt.Errorf("sqlite: open %q: %w", path, err)
}

// uri writes a file URI (https://www.sqlite.org/uri.html) in which nothing but
// letters, digits and a few signs stands for itself, so that no character of the
// path can end it or begin the parameters.
func uri(abs string, params url.Values) string {
	p := filepath.ToSlash(abs)
	if !strings.HasPrefix(p, "/") { // C:/…
		p = "/" + p
	}
	var b strings.Builder
	b.WriteString("file://")
	for _, c := range []byte(p) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("/-._~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String() + "?" + params.Encode()
}

// common are the parameters of both handles. The file exists, so mode=rw: a file
// that was moved away meanwhile is an error, not a new and empty database. The
// others keep a schema that somebody else wrote from doing harm.
func common() url.Values {
	return url.Values{
		"mode":       {"rw"},
		"_defensive": {"1"},
		"_dqs":       {"0"},
		"_error_rc":  {"1"},
		"_pragma":    {"trusted_schema(0)"},
	}
}

// writeDSN names the one writing connection. It does not wait for locks by
// itself: package sqlite asks again more often and more evenly than SQLite does.
func writeDSN(abs string, o Options) string {
	level := "FULL"
	if o.Sync == Normal {
		level = "NORMAL"
	}
	v := common()
	v["_pragma"] = append(v["_pragma"], "synchronous("+level+")", "foreign_keys(1)", "journal_size_limit("+logLimit+")")
	return uri(abs, v)
}

// logLimit is the size in bytes to which the log is cut after it has grown
// beyond it.
const logLimit = "67108864"

// readDSN names the connections of the read pool. A reader waits only while
// another process repairs the log or takes it away.
func readDSN(abs string, o Options) string {
	v := common()
	v.Set("_busy_timeout", strconv.FormatInt(o.BusyTimeout.Milliseconds(), 10))
	v["_pragma"] = append(v["_pragma"], "query_only(1)")
	return uri(abs, v)
}

// pause is how long to wait before the n-th new attempt to get the writing lock:
// 200 µs, growing to 4 ms.
func pause(n int) time.Duration {
	return min(200*time.Microsecond<<min(n, 10), 4*time.Millisecond)
}
