package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

var keysChecks = []string{
	"key-source", "key-age", "key-age-unknown", "key-future", "key-next", "key-retired", "key-retires-early", "key-retires-late", "key-count",
}

const (
	day = 24 * time.Hour

	oldKey   = 365 * day // without key-rotation
	staleKey = 30 * day  // for a next key
	doneKey  = 7 * day   // for a retired one: the service removes it sooner

	// spare is how much longer than a session a key is accepted, and a rotation takes.
	spare = time.Hour
)

// keysFuture is the ring, once it has been read; other parts wait for it.
type keysFuture struct {
	done chan struct{}
	ring *keyring.Ring // nil if there is none
}

// wait returns the ring, nil if there is none or it does not come in time.
func (k *keysFuture) wait(ctx context.Context) *keyring.Ring {
	select {
	case <-k.done:
		return k.ring
	case <-ctx.Done():
		return nil
	}
}

// keyring reads the keys and judges them.
func (e *examination) keyring(ctx context.Context, l *notes) {
	defer close(e.keys.done)
	judged := keysChecks[1:]
	if e.Settings.Bad["keys"] || e.Settings.Bad["keys-file"] {
		l.skip("the setting that names the keys cannot be read", keysChecks...)
		return
	}
	text, err := e.keyText(ctx)
	if errors.Is(err, fs.ErrNotExist) && e.fresh() {
		l.skip("there is no key file yet: the first start makes it", keysChecks...)
		return
	}
	var ring *keyring.Ring
	if err == nil {
		ring, err = keyring.Read(strings.NewReader(text))
	}
	if err != nil && e.cfg.Keys.Path() == "" && slices.ContainsFunc(e.keyFiles(), e.isOpen) {
		l.skip("a file that is open to others is not read", keysChecks...)
		return
	}
	if err != nil {
		l.skip("the keys cannot be read", judged...)
		e.sourceFaults(l, err)
		return
	}
	e.keys.ring = ring
	e.judgeKeys(l, ring.Keys())
}

// sourceFaults finds what a source says, a line each.
func (e *examination) sourceFaults(l *notes, err error) {
	text := keysource.Bare(err)
	const otherwise = "restore the keys from where you keep a copy, or see \"cloakroom key --help\""
	if errors.Is(err, fs.ErrPermission) && !strings.Contains(text, "; ") { // what the system says is no advice
		text += "; run this as the user that runs the service, or give that user the file"
	}
	for fault := range strings.SplitSeq(text, "\n") {
		what, do := split(fault, otherwise)
		l.find("key-source", finding.Error, do, "%s: %s", e.cfg.Keys, what)
	}
}

// keyText returns the text of the keys. A file is read whatever its mode is: that is
// judged elsewhere.
func (e *examination) keyText(ctx context.Context) (string, error) {
	if path := e.cfg.Keys.Path(); path != "" {
		text, err := readText(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", missing{path}
		}
		return text, err
	}
	src, err := e.cfg.Keys.Open()
	if err != nil {
		return "", err
	}
	text, err := src.Read(ctx)
	return string(text), err
}

// isOpen tells whether a file is one that key-mode finds.
func (e *examination) isOpen(path string) bool {
	return errors.Is(openToOthers(path, e.keyRule()), secretfile.ErrMode)
}

// missing says that there is no key file.
type missing struct{ path string }

func (m missing) Error() string {
	return "there is no key file " + secretfile.Shown(m.path) + "; restore it: database and sessions need the keys that were in it"
}

func (m missing) Is(target error) bool { return target == fs.ErrNotExist }

// fresh tells whether nothing has been started here yet, so that keys that are not
// there are no loss.
func (e *examination) fresh() bool {
	if e.cfg.Store.Shared() || e.cfg.Users.Shared() {
		return false
	}
	_, err := os.Stat(e.cfg.Users.Path)
	return errors.Is(err, fs.ErrNotExist)
}

// judgeKeys judges what may be shown of the keys, the active one first.
func (e *examination) judgeKeys(l *notes, keys []keyring.KeyInfo) {
	now, active := e.World.Now(), keys[0]
	rotate := "cloakroom key rotate"
	if !e.cfg.Keys.Writable() {
		rotate += " --print, and put what it prints in the place of the keys"
	}
	limit, do := oldKey, rotate
	if e.cfg.KeyRotation > 0 {
		limit, do = e.cfg.KeyRotation+max(day, e.cfg.KeyRotation/10), "see the log for rotation_failed, and run: "+rotate
	}
	switch age := now.Sub(active.Created); {
	case active.Created.IsZero():
		l.find("key-age-unknown", finding.OK, "make one with a date: "+rotate, "key %v does not say when it was made", active.ID)
	case age > limit:
		l.find("key-age", finding.Warning, do, "key %v is %d days old", active.ID, age/day)
	}
	for _, k := range keys {
		if k.Created.After(now.Add(time.Hour)) {
			l.find("key-future", finding.Warning, "set the clock right (timedatectl), or rotate", "key %v was made on %s", k.ID, date(k.Created))
		}
		switch {
		case k.State == keyring.Next && !k.Created.IsZero() && now.Sub(k.Created) > staleKey:
			l.find("key-next", finding.Warning, "finish it: "+rotate, "key %v has been next since %s", k.ID, date(k.Created))
		case k.State == keyring.Retiring:
			e.judgeRetiring(l, k, successor(k, keys))
		}
	}
	if n := len(keys); n > keyring.MaxKeys*3/4 {
		l.find("key-count", finding.Warning, "take away those that have retired, and lengthen key-rotation", "%d keys, and %d are the most", n, keyring.MaxKeys)
	}
}

// successor returns the key that may have taken over from k: of those that have signed
// and were made after it the first one, which has retired itself where it leaked.
func successor(k keyring.KeyInfo, keys []keyring.KeyInfo) keyring.KeyInfo {
	after := keys[0]
	for _, o := range keys {
		if o.State != keyring.Next && o.Created.After(k.Created) && o.Created.Before(after.Created) {
			after = o
		}
	}
	return after
}

// judgeRetiring judges until when a key is accepted. A session under it was last
// written before another one took over, and that was not before the other was made.
func (e *examination) judgeRetiring(l *notes, k, after keyring.KeyInfo) {
	now, life := e.World.Now(), e.cfg.Lifetime
	switch {
	case now.Sub(k.Until) > doneKey:
		l.find("key-retired", finding.Warning, "cloakroom key rotate removes it, or says why it stays", "key %v retired on %s", k.ID, date(k.Until))
	case k.Ended(now):
	case !after.Created.IsZero() && k.Until.Before(after.Created.Add(life)):
		l.find("key-retires-early", finding.Warning, "see with cloakroom key list what is under it; unless it leaked, put a later time into its line: "+after.Created.Add(life+spare).UTC().Format(time.RFC3339),
			"key %v retires on %s, and the key after it is of %s: a session lives for %s", k.ID, stamp(k.Until), stamp(after.Created), span(life))
	case k.Until.Sub(now) > life+spare:
		l.find("key-retires-late", finding.Warning, "put an earlier time into its line: "+now.Add(life).UTC().Format(time.RFC3339),
			"key %v retires on %s, and a session lives for %s", k.ID, date(k.Until), span(life))
	}
}

func date(t time.Time) string  { return t.UTC().Format("2006-01-02") }
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

// span writes a duration without what is nothing of it.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
