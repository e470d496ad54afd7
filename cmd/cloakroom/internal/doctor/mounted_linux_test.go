package doctor_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// inMemory returns a directory on tmpfs, where secrets are mounted.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cloakroom-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// secretFiles are the files with secrets that the service reads. Each is made in a
// directory, and named by the settings; check finds it if it is open.
var secretFiles = []struct {
	name, check string
	make        func(s *site, dir string, mode os.FileMode)
}{
	{"store-file", "secret-mode", func(s *site, dir string, mode os.FileMode) {
		s.flags["store-file"] = s.write(dir+"/store", "sqlite:"+s.at("cloakroom.db")+"\n", mode)
	}},
	{"users-file", "secret-mode", func(s *site, dir string, mode os.FileMode) {
		s.flags["users-file"] = s.write(dir+"/users", "sqlite:"+s.at("cloakroom.db")+"\n", mode)
	}},
	{"key file", "key-mode", func(s *site, dir string, mode os.FileMode) {
		s.flags["keys"] = "file:" + s.write(dir+"/keys", s.key.Text(), mode)
	}},
	{"keys-file", "key-mode", func(s *site, dir string, mode os.FileMode) {
		s.flags["keys-file"] = s.write(dir+"/mounted", s.key.Text(), mode)
	}},
	{".env", "key-mode", func(s *site, dir string, mode os.FileMode) {
		s.flags["keys"] = "dotenv:" + s.write(dir+"/.env", "KEYS=\""+s.key.Text()+"\"\n", mode) + "#KEYS"
	}},
	{"identity file", "key-mode", func(s *site, dir string, mode os.FileMode) {
		id, err := age.GenerateX25519Identity()
		s.must(err)
		var sealed bytes.Buffer
		w, err := age.Encrypt(&sealed, id.Recipient())
		s.must(err)
		_, err = w.Write([]byte(s.key.Text()))
		s.must(err)
		s.must(w.Close())
		s.flags["keys"] = "age:" + s.write("keys.age", sealed.String(), 0o600) + "?identity-file=" + s.write(dir+"/identity", id.String()+"\n", mode)
	}},
}

// taken tells whether the service takes the settings and the keys as they are.
func (s *site) taken() bool {
	e := config.Examine(s.flags, nil)
	if len(e.Faults) > 0 {
		return false
	}
	src, err := e.Config.Keys.Open()
	s.must(err)
	_, err = keyring.Load(s.t.Context(), src)
	return err == nil
}

// The doctor says of no file that it is open which the service takes as it is, and
// finds each that the service refuses for its mode, in memory and on a disk.
func TestASVS_13_3_1_DoctorAndServiceJudgeModesAlike(t *testing.T) {
	for _, file := range secretFiles {
		t.Run(file.name, func(t *testing.T) {
			t.Parallel()
			for where, dir := range map[string]string{"in memory": inMemory(t), "on a disk": t.TempDir()} {
				s := newSite(t)
				for _, mode := range []os.FileMode{0o400, 0o600, 0o444, 0o640, 0o644, 0o620, 0o602, 0o646} {
					file.make(s, fmt.Sprintf("%s/%o", dir, mode), mode) // who is not root writes over none of them
					r := s.run()
					check := "error " + file.check
					if got, want := slices.Contains(found(r), check), !s.taken(); got != want {
						t.Errorf("mode %04o, %s: found %v, and the service refuses it: %v", mode, where, found(r), want)
					}
					for _, f := range r.Findings {
						if f.Check == file.check && !strings.Contains(f.Do, "run chmod 600 \""+dir) {
							t.Errorf("mode %04o: do %s", mode, f.Do)
						}
					}
				}
			}
		})
	}
}

// A secret that something has mounted for all to read belongs to whom that likes.
func TestMountedSecretsBelongToAnybody(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0o444, 0o400} {
		dir := inMemory(t)
		s := newSite(t)
		s.flags["keys-file"] = s.write(dir+"/keys", s.key.Text(), mode)
		s.flags["users-file"] = s.write(dir+"/users", "sqlite:"+s.at("cloakroom.db"), mode)
		s.flags["store"], s.flags["data"] = "memory:", s.dir+"/none"
		s.world.UID = os.Geteuid() + 1
		var owned []string
		for _, f := range s.run().Findings {
			if f.Check == "file-owner" {
				owned = append(owned, f.What)
			}
		}
		if text := fmt.Sprint(owned); strings.Contains(text, dir) != (mode == 0o400) {
			t.Errorf("mode %04o: %s", mode, text)
		}
	}
}
