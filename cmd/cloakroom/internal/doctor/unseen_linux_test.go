package doctor_test

import (
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor"
)

// nobody is who has no rights beyond those that modes give.
const nobody = 65534

// asNobody runs f, which has to stay on its thread, without the right of root to read
// everything. The data directory is that of who runs it.
func (s *site) asNobody(f func()) {
	s.t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	s.must(filepath.WalkDir(s.data, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Chown(path, nobody, nobody)
		}
		return err
	}))
	for dir := filepath.Dir(s.data); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		s.must(os.Chmod(dir, 0o755))
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		err := syscall.Setfsuid(nobody)
		if err == nil {
			f()
		}
		done <- err
	}()
	s.must(<-done)
}

// A directory that may be entered and not listed hides copies, and the log of a database.
func TestDirectoryThatCannotBeListed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must(os.Chmod(s.data, 0o300))
	defer os.Chmod(s.data, 0o700)
	var reasons map[string]string
	s.asNobody(func() {
		reasons = missing(doctor.Files(doctor.Options{Settings: config.Examine(maps.Clone(s.flags), nil), World: s.world}))
	})
	for _, check := range []string{"key-copies", "database-mode"} {
		if !strings.Contains(reasons[check], "cannot be listed: permission denied") {
			t.Errorf("%s: %q", check, reasons[check])
		}
	}
}
