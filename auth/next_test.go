package auth_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/auth"
)

// target is a line of testdata/next.txt.
type target struct {
	pass  bool
	where string
	text  string
}

func targets(t testing.TB) []target {
	t.Helper()
	f, err := os.Open("testdata/next.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []target
	for sc, n := bufio.NewScanner(f), 1; sc.Scan(); n++ {
		line := sc.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		part := strings.Split(line, "\t")
		if len(part) != 3 || part[0] != "pass" && part[0] != "refuse" {
			t.Fatalf("line %d: %q", n, line)
		}
		text, err := strconv.Unquote(part[2])
		if err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		all = append(all, target{part[0] == "pass", part[1], text})
	}
	if len(all) < 120 {
		t.Fatalf("only %d targets", len(all))
	}
	return all
}

func TestAttack_A27_NextNeverLeadsToAnotherHost(t *testing.T) {
	for _, c := range targets(t) {
		if where, _ := browse(c.text); where != c.where {
			t.Errorf("%+q: the reader of this test goes to %q, a browser to %q", c.text, where, c.where)
		}
		want := "/fallback"
		if c.pass {
			want = c.text
		}
		if got := auth.Next(c.text, "/fallback"); got != want {
			t.Errorf("Next(%+q) = %+q, want %+q", c.text, got, want)
		}
	}
}

// What Next lets pass must still lead here when net/http has written it into a
// header: http.Redirect cleans paths and escapes.
func TestAttack_A27_TheLocationLeadsHere(t *testing.T) {
	for _, c := range targets(t) {
		w := httptest.NewRecorder()
		http.Redirect(w, httptest.NewRequest("POST", "https://own.example/auth/login", nil), auth.Next(c.text, "/"), http.StatusSeeOther)
		to := w.Header().Get("Location")
		if where, path := browse(to); where != "own" || strings.HasPrefix(path, "//") {
			t.Errorf("%+q: Location: %+q leads to %q, %q", c.text, to, where, path)
		}
	}
}

func TestNextBounds(t *testing.T) {
	longest := "/" + strings.Repeat("a", 2047)
	if auth.Next(longest, "/f") != longest || auth.Next(longest+"a", "/f") != "/f" {
		t.Error("a target has at most 2048 bytes")
	}
	if got := auth.Next("//evil.example", ""); got != "/" {
		t.Errorf("without a fallback: %q", got)
	}
}

// FuzzNext compares Next with a reader of URLs that works as browsers do and
// shares nothing with it.
func FuzzNext(f *testing.F) {
	for _, c := range targets(f) {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := auth.Next(s, "/fallback")
		if got == "/fallback" && s != got {
			return
		}
		if got != s {
			t.Fatalf("Next(%+q) = %+q", s, got)
		}
		where, path := browse(s)
		if where != "own" || strings.HasPrefix(path, "//") {
			t.Errorf("%+q passed and leads to %s, %q", s, where, path)
		}
		if written, _, _ := strings.Cut(s, "#"); !strings.HasPrefix(written+"?", path+"?") {
			t.Errorf("%+q passed, and a browser makes its path %q", s, path)
		}
		decoded, ok := decodeOnce(s)
		if where, path := browse(decoded); !ok || where != "own" || strings.HasPrefix(path, "//") {
			t.Errorf("%+q passed, and decoded once more it leads to %s, %q", s, where, path)
		}
		for i := range len(s) {
			if s[i] <= ' ' || s[i] >= 0x7f {
				t.Errorf("%+q passed with byte %#x", s, s[i])
			}
		}
	})
}

func ExampleNext() {
	for _, next := range []string{"/orders?page=2", "https://evil.example/", `/\evil.example`, ""} {
		fmt.Println(auth.Next(next, "/home"))
	}
	// Output:
	// /orders?page=2
	// /home
	// /home
	// /home
}
