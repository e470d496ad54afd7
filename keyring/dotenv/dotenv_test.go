package dotenv_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/dotenv"
)

// save writes a .env file that is nobody else's.
func save(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, place string) *dotenv.Source {
	t.Helper()
	src, err := dotenv.Open(place)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestReads(t *testing.T) {
	for _, tc := range []struct{ file, want string }{
		{"KEYS=abc\n", "abc"},
		{"KEYS=abc", "abc"},
		{"export KEYS=abc\n", "abc"},
		{" export\tKEYS = abc \t\n", "abc"},
		{"KEYS: abc\n", "abc"},
		{"\ufeffKEYS=abc\n", "abc"},
		{"A=1\r\nKEYS=abc\r\nB=2\r\n", "abc"},
		{"# KEYS=no\n\nKEYS=abc # yes\nB=2\n", "abc"},
		{"KEYS=a#b\n", "a#b"},
		{"KEYS=\"a b # c\" # d\n", "a b # c"},
		{"KEYS='a b'\n", "a b"},
		{`KEYS="a\nb\n"` + "\n", "a\nb\n"},
		{`KEYS='a\nb'` + "\n", `a\nb`},
		{"KEYS=\"a\nb\n\"\nB=2\n", "a\nb\n"},
		{"KEYS='a\r\nb\r\n'\r\n", "a\nb\n"},
		{"A=$KEYS\nKEYS=abc\nB=${KEYS}$\n", "abc"},
		{"XKEYS=1\nKEYS=abc\nKEYSX=2\nkeys=3\n", "abc"},
		{"KEYS=cloakroom-key-v1 02b7c461 2026-01-02T03:04:05Z active x+/_-=\n", "cloakroom-key-v1 02b7c461 2026-01-02T03:04:05Z active x+/_-="},
		{"EMPTY=\nKEYS=abc\n", "abc"},
		{`KEYS="# \"a\"\nb\\\r"` + "\n", "# \"a\"\nb\\\r"},
	} {
		text, err := open(t, save(t, tc.file)+"#KEYS").Read(t.Context())
		if err != nil || string(text) != tc.want {
			t.Errorf("%q: %q, %v, want %q", tc.file, text, err, tc.want)
		}
	}
}

// A file with one name, or with several key lines under it, is a ring.
func TestLoad(t *testing.T) {
	k, next := keyring.Generate(), keyring.Generate().AsNext()
	path := save(t, "SESSION_KEYS=\""+k.Text()+"\\n"+next.Text()+"\"\nOLD="+k.Text()+"\n")
	src := open(t, path+"#SESSION_KEYS")
	ring, err := keyring.Load(t.Context(), src)
	if err != nil || ring.Active() != k.ID() || !ring.Has(next.ID()) {
		t.Errorf("%v, %v", ring, err)
	}
	if ring, err = keyring.Load(t.Context(), open(t, path+"#OLD")); err != nil || ring.Active() != k.ID() {
		t.Errorf("%v, %v", ring, err)
	}
	if got := fmt.Sprint(src); got != "dotenv:"+path+"#SESSION_KEYS" || src.Files()[0] != path {
		t.Errorf("is called %s", got)
	}
}

// TestPromise11_FaultsShowNothing: the parser quotes what it cannot read; none of it is
// shown.
func TestPromise11_FaultsShowNothing(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, tc := range []struct{ file, name, want string }{
		{"A=1\n", "KEYS", "there is no KEYS in it; add the line KEYS="},
		{"", "KEYS", "there is no KEYS in it"},
		{"A=" + secret, secret, `add the line NAME="…"`},
		{"A=1\nKEYS=\n", "KEYS", "KEYS is empty"},
		{"KEYS=\"  \"\n", "KEYS", "KEYS is empty"},
		{"KEYS=" + secret + "\nA=1\nKEYS=" + secret + "x\n", "KEYS", "KEYS is set on line 1 and again on line 3"},
		{"X=1\nKEYS=" + secret + "$X\n", "KEYS", "there is a $ in KEYS"},
		{"X=1\nKEYS=\"" + secret + "${X}\"\n", "KEYS", "there is a $ in KEYS"},
		{"KEYS='" + secret + "$X'\n", "KEYS", "there is a $ in KEYS"},
		{"KEYS=\"" + secret + "\\$X\"\n", "KEYS", "there is a $ in KEYS"},
		{"A=1\nKEYS=\"" + secret + "\nB=2\n", "KEYS", "line 2 cannot be read"},
		{"KEYS=" + secret + "\nexport\u00a0KEYS=" + secret + "x\n", "KEYS", "KEYS is set on line 1 and again on line 2"},
		{"KEYS=" + secret + "\nexport\u0085KEYS=" + secret + "x\n", "KEYS", "KEYS is set on line 1 and again on line 2"},
		{"KEYS=\"" + secret + "\\st\"\n", "KEYS", "there is a \\ in KEYS"},
		{"KEYS=\"" + secret + "\\t\"\n", "KEYS", "there is a \\ in KEYS"},
		{"A=1\n\n" + secret + "!=1\n", "KEYS", "line 3 cannot be read"},
		{"A=1\n" + secret + "\nKEYS=x\n", "KEYS", "line 2 cannot be read"},
		{"A=$(" + secret + ")\n-=" + secret, "KEYS", "line 2 cannot be read"},
		{"\xff\xfeK\x00E\x00Y\x00S\x00=\x00h\x00", "KEYS", "UTF-16"},
		{"KEYS=" + secret + "\n#" + strings.Repeat("x", 256<<10), "KEYS", "more than 256 KiB"},
	} {
		_, err := open(t, save(t, tc.file)+"#"+tc.name).Read(t.Context())
		switch {
		case err == nil:
			t.Errorf("%.60q is taken", tc.file)
		case !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "dotenv: "):
			t.Errorf("%.60q: %v, want one line with %q", tc.file, err, tc.want)
		case strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%.60q: shows what it has read: %v", tc.file, err)
		}
	}
}

// TestASVS_13_3_1_TheFileIsNobodyElses goes through all modes.
func TestASVS_13_3_1_TheFileIsNobodyElses(t *testing.T) {
	path := save(t, "KEYS=abc\n")
	src := open(t, path+"#KEYS")
	for mode := range fs.FileMode(0o100) {
		if err := os.Chmod(path, 0o600|mode); err != nil {
			t.Fatal(err)
		}
		_, err := src.Read(t.Context())
		if (err == nil) != (mode == 0) || err != nil && !strings.Contains(err.Error(), "run chmod 600") {
			t.Errorf("mode %04o: %v", 0o600|mode, err)
		}
		if err := src.Write(t.Context(), []byte("abc"), []byte("abc")); (err == nil) != (mode == 0) {
			t.Errorf("mode %04o: written: %v", 0o600|mode, err)
		}
	}
	for place, want := range map[string]string{
		filepath.Dir(path) + "#KEYS":  "regular file",
		path + "x#KEYS":               `make it with mode 0600, and in it KEYS="…"`,
		path + "/below#KEYS":          "not a directory",
		path + "x#hunter2hunter2keys": `in it NAME="…"`,
	} {
		if _, err := open(t, place).Read(t.Context()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := open(t, path+"x#KEYS").Read(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

func TestOpenNamesEveryFault(t *testing.T) {
	for place, want := range map[string][]string{
		"":                                 {"no name: write PATH#NAME"},
		".env":                             {"no name: write PATH#NAME"},
		".env#":                            {"behind the #"},
		"#KEYS":                            {"no path"},
		"#":                                {"no path", "behind the #"},
		"//host/.env#KEYS":                 {"no path"},
		".env#1KEYS":                       {"behind the #"},
		".env#hunter2-key":                 {"behind the #"},
		"a\nb#KEYS":                        {"no path"},
		".env#" + strings.Repeat("K", 256): {"behind the #"},
	} {
		_, err := dotenv.Open(place)
		if err == nil {
			t.Errorf("%q is taken", place)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q", place, err, want)
			continue
		}
		for i, w := range want {
			if !strings.Contains(lines[i], w) {
				t.Errorf("%q: line %d: %q, want %q", place, i, lines[i], w)
			}
		}
	}
	if s := open(t, "a#b/.env#KEYS"); s.Files()[0] != "a#b/.env" {
		t.Errorf("files %s", s.Files())
	}
}

// Written keys are read again, and nothing else in the file has changed.
func TestWriteChangesNothingElse(t *testing.T) {
	old := keyring.Generate()
	line := old.Text()
	for _, tc := range []struct{ before, value, behind string }{
		{"", line, ""},
		{"", line, "\n"},
		{"A=1\nexport KEYS_=x # y\n# KEYS=z\n", line, "\t \n\nB=\"2\n3\"\n"},
		{"\ufeffA=1\r\n", "'" + line + "'", " # mine\r\nB=$A\r\n"},
		{"export A='KEYS=no'\n", `"` + line + `"`, "#x\n"},
		{"A=\"\\\"KEYS=no\\\"\"\n", `"` + line + `\n"`, "\nB='it\\'s'\n"},
		{"A=1\n", "\"# two\n" + line + "\n" + keyring.Generate().AsNext().Text() + "\n\"", "  \nB=2"},
		{"A=1\r\n", "'\r\n" + line + "\r\n'", "\r\nB=2"},
		{"A=1\n", line, " # with#comments\n"},
		{"A=1\n", line, " #\n"},
		{"\u00a0\n", line, "\u00a0\n"},
		{"A=${B}\nB=é\n", line, "\n\n\n"},
	} {
		for _, name := range []string{"KEYS=", "export  KEYS =\t", "KEYS: "} {
			path := save(t, tc.before+name+tc.value+tc.behind)
			src := open(t, path+"#KEYS")
			k := keyring.Generate()
			_, err := keyring.Edit(t.Context(), src, func(keys []keyring.Key) ([]keyring.Key, error) {
				keys = slices.DeleteFunc(keys, func(k keyring.Key) bool { return k.State() == keyring.Next })
				return keyring.Announce(keys, k)
			})
			if err != nil {
				t.Errorf("%q: %v", tc, err)
				continue
			}
			ring, err := keyring.Load(t.Context(), src)
			if err != nil || ring.Active() != old.ID() || !ring.Has(k.ID()) || len(ring.Keys()) != 2 {
				t.Errorf("%q: %v, %v", tc, ring, err)
			}
			text, err := os.ReadFile(path)
			if err != nil || !strings.HasPrefix(string(text), tc.before+name) || !strings.HasSuffix(string(text), tc.behind) {
				t.Errorf("%q: the rest has changed: %q, %v", tc, text, err)
			}
			middle := strings.TrimSuffix(strings.TrimPrefix(string(text), tc.before+name), tc.behind)
			if strings.Contains(middle, "\n") == strings.Contains(tc.value, `\n`) {
				t.Errorf("%q: lines have changed: %q", tc, middle)
			}
			if strings.Contains(middle, "\n") && strings.Contains(tc.before, "\r\n") != strings.Contains(middle, "\r\n") {
				t.Errorf("%q: line ends have changed: %q", tc, middle)
			}
		}
	}
}

// What a rotation writes is the same to a shell and to us.
func TestAShellReadsWhatIsWritten(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Log("there is no shell here to ask")
		return
	}
	for _, value := range []string{keyring.Generate().Text(), "'" + keyring.Generate().Text() + "'", "\"" + keyring.Generate().Text() + "\n\""} {
		path := save(t, "A=1\nexport KEYS="+value+"\nB=2\n")
		src := open(t, path+"#KEYS")
		for range 2 {
			_, err := keyring.Edit(t.Context(), src, func(keys []keyring.Key) ([]keyring.Key, error) {
				return append(keys, keyring.Generate().AsNext()), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			text, err := src.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), shell, "-c", `. "$0"; printf "%s|%s|%s" "$A" "$KEYS" "$B"`, path).Output()
			if want := "1|" + string(text) + "|2"; err != nil || string(out) != want {
				t.Errorf("the shell reads %d bytes, %v, want %d", len(out), err, len(want))
			}
		}
	}
}

// What cannot be written so that it is read again is not written.
func TestWriteRefuses(t *testing.T) {
	for _, tc := range []struct{ file, text, want string }{
		{"KEYS=abc\n", "it's \"quoted\"", "cannot hold these keys beside their comments"},
		{"KEYS=abc\n", "a$b", "cannot hold these keys"},
		{"KEYS=abc\n", `a\`, "cannot hold these keys"},
		{"KEYS=abc\n", "a`b`", "cannot hold these keys"},
		{"KEYS=abc\n", "a\rb", "cannot hold these keys"},
		{"KEYS=abc\n", "'", ""},
		{"KEYS=abc\n", `a"b`, ""},
		{"KEYS=abc\n", "# a\nb\n", ""},
		{"KEYS=abc\n#" + strings.Repeat("x", 255<<10), strings.Repeat("y", 2<<10), "cannot hold these keys"},
		{"KEYS=xyz\n", "new", "changed meanwhile"},
		{"A=1\n", "new", "there is no KEYS"},
	} {
		path := save(t, tc.file)
		src := open(t, path+"#KEYS")
		err := src.Write(t.Context(), []byte("abc"), []byte(tc.text))
		text, _ := os.ReadFile(path)
		if tc.want == "" {
			if got, err2 := src.Read(t.Context()); err != nil || err2 != nil || string(got) != tc.text {
				t.Errorf("%q: %v, %q, %v", tc.text, err, got, err2)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) || string(text) != tc.file {
			t.Errorf("%.40q, %.40q: %v, want %q", tc.file, tc.text, err, tc.want)
		}
	}
}

// TestWriteIsCompareAndSet: of many who edit at once, all get through, and no other name
// is lost.
func TestWriteIsCompareAndSet(t *testing.T) {
	path := save(t, "A=1\nKEYS='"+keyring.Generate().Text()+"'\nMORE='"+keyring.Generate().Text()+"'\n")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := []string{"KEYS", "MORE"}[i%2]
			_, err := keyring.Edit(t.Context(), open(t, path+"#"+name), func(keys []keyring.Key) ([]keyring.Key, error) {
				return append(keys, keyring.Generate().AsNext()), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, name := range []string{"KEYS", "MORE"} {
		ring, err := keyring.Load(t.Context(), open(t, path+"#"+name))
		if err != nil || len(ring.Keys()) != 5 {
			t.Errorf("%s: %v, %v", name, ring, err)
		}
	}
	src := open(t, path+"#A")
	if err := src.Write(t.Context(), []byte("0"), []byte("2")); !errors.Is(err, keyring.ErrChanged) {
		t.Errorf("written over what was never read: %v", err)
	}
}

func TestContextsAreHonoured(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	src := open(t, save(t, "KEYS=abc")+"#KEYS")
	if _, err := src.Read(ctx); err == nil {
		t.Error("read")
	}
	if err := src.Write(ctx, []byte("abc"), []byte("x")); err == nil {
		t.Error("written")
	}
}
