package doctor

import (
	"os"
	"runtime/debug"
	"time"
)

// World is what a doctor knows of the machine. Fields that are not set are filled
// with what is so.
type World struct {
	Now   func() time.Time
	Built time.Time // when this program was made; zero if nobody knows

	// Kind names the kind of file system that a path is on if it is one of memory or of
	// a network, else "". It is not ok if nobody knows.
	Kind func(path string) (kind string, ok bool)

	// Room is how many bytes are free and how many there are where a path is.
	Room func(path string) (free, total uint64, ok bool)

	// MaxFiles is how many files may be open at once.
	MaxFiles func() (n uint64, ok bool)

	// Emptied are folders that are emptied at a start or now and then.
	Emptied []string

	// Patience is how long a part of the examination may take; eight seconds.
	Patience time.Duration

	UID int // whose process this is; -1 where there are no such numbers
}

func (w World) complete() World {
	if w.Now == nil {
		w.Now = time.Now
	}
	if w.Built.IsZero() {
		w.Built = built()
	}
	if w.Kind == nil {
		w.Kind = fileSystem
	}
	if w.Room == nil {
		w.Room = room
	}
	if w.MaxFiles == nil {
		w.MaxFiles = maxFiles
	}
	if w.Emptied == nil {
		w.Emptied = []string{"/tmp", "/var/tmp", "/run", "/dev/shm", os.TempDir()}
	}
	if w.Patience == 0 {
		w.Patience = partPatience
	}
	if w.UID == 0 {
		w.UID = os.Geteuid()
	}
	return w
}

// oldest is a time before which this program was not there.
var oldest = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// built returns when the commit was made that this program is of.
func built() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t
			}
		}
	}
	return oldest
}
