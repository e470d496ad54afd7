package csrf_test

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// With a session: every method, Sec-Fetch-Site, Origin and token. Where the
// answer is a refusal, the handler has not run and nothing was written.
func TestASVS_3_5_1_EveryCellOfTheMatrix(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	u, _ := url.Parse(s.URL)

	type cell struct{ name, value string }
	sites := []cell{{"same-origin", "same-origin"}, {"same-site", "same-site"}, {"cross-site", "cross-site"},
		{"none", "none"}, {"absent", ""}, {"garbage", "Same-Origin, none"}}
	origins := []cell{{"same", s.URL}, {"http-same-host", "http://" + u.Host}, {"sibling", "https://sibling." + u.Host},
		{"null", "null"}, {"absent", ""}, {"other-port", "https://127.0.0.1:444"}}

	me, other := visit(t, s), visit(t, s)
	old := me.login()
	renewed := me.do("POST", "/renew", "", "X-CSRF-Token", old)
	tokens := []cell{{"right", renewed.body}, {"missing", ""}, {"of-other-session", other.login()}, {"of-old-session", old}}

	var got strings.Builder
	passed := 0
	for _, method := range []string{"GET", "POST", "post", "PUT"} {
		for _, site := range sites {
			for _, origin := range origins {
				for _, token := range tokens {
					var header, field []string
					if site.value != "" {
						header = append(header, "Sec-Fetch-Site", site.value)
					}
					if origin.value != "" {
						header = append(header, "Origin", origin.value)
					}
					withToken := header
					if token.value != "" {
						withToken = append([]string{"X-CSRF-Token", token.value}, header...)
						field = []string{"csrf_token", token.value}
					}
					name := fmt.Sprintf("%-4s  site=%-11s  origin=%-14s  token=%-16s", method, site.name, origin.name, token.name)
					hits, writes := a.hits.Load(), a.store.writes.Load()
					answer := me.do(method, "/do", "", withToken...)
					// A form's field has to do the same as the header.
					form := me.do(method, "/do", encode(field...), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
					if method != "GET" && form.verdict() != answer.verdict() {
						t.Errorf("%s: %s by header, %s by field", name, answer.verdict(), form.verdict())
					}
					hits, writes = a.hits.Load()-hits, a.store.writes.Load()-writes
					if answer.status == 200 {
						passed++
						if hits != 2 || writes != 2 {
							t.Errorf("%s: passed, but the handler ran %d times and wrote %d", name, hits, writes)
						}
					} else if hits != 0 || writes != 0 {
						t.Errorf("%s: %s, but the handler ran %d times and the store was written %d times", name, answer.verdict(), hits, writes)
					} else if len(answer.header["Set-Cookie"]) > 0 {
						t.Errorf("%s: the refusal set a cookie", name)
					}
					fmt.Fprintf(&got, "%s  %s\n", name, answer.verdict())
				}
			}
		}
	}

	// All GETs pass. Of each other method those with the right token, from the
	// same origin or no browser: Sec-Fetch-Site same-origin, none or absent, with
	// Origin same or absent.
	if want := 6*6*4 + 3*(3*2*1); passed != want {
		t.Errorf("%d cells pass, want %d", passed, want)
	}
	const golden = "testdata/matrix.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if cells := strings.Count(string(want), "\n"); cells != 4*6*6*4 {
		t.Errorf("the golden file has %d cells", cells)
	}
	wantLines, gotLines := strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")
	for i := range min(len(wantLines), len(gotLines)) {
		if gotLines[i] != wantLines[i] {
			t.Errorf("got  %s\nwant %s", gotLines[i], wantLines[i])
		}
	}
}
