package main_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// With the flag it takes some ten seconds and both processors:
//
//	go test ./cmd/cloakroom -run TestProve -v -args -prove
var prove = flag.Bool("prove", false, "200 and 500 logins at once, in place of 12")

// hashingBound is how far logins may drive the service's memory up in all, in KiB.
const hashingBound = 128 << 10

// TestProve_HashingBound lets many sign in at once, with the right password. The
// service's memory stays within the bound, whoever it has no place for gets a 503
// that says when to come back, and who is signed in already goes on meanwhile.
func TestProve_HashingBound(t *testing.T) {
	crowds := []int{12}
	if *prove {
		crowds = []int{200, 500}
	}
	dir := t.TempDir()
	addUser(t, dir, "ada")
	s := start(t, dir, "--log-level=error")
	c := s.client()
	c.want(c.page("/auth/login"), 200)
	base := s.peak() // before the first hash
	c.login("ada", goodPassword)
	quiet := watch(c, func() { time.Sleep(300 * time.Millisecond) })
	t.Logf("signed-in pages with no login beside them: %s", quiet)

	for _, n := range crowds {
		var all crowd
		pages := watch(c, func() { all = signIn(s, n) })
		if pages.failed > 0 {
			t.Errorf("beside %d logins %d signed-in pages failed", n, pages.failed)
		}
		for status, count := range all.statuses {
			if status != http.StatusOK && status != http.StatusServiceUnavailable {
				t.Errorf("%d of %d logins: status %d", count, n, status)
			}
		}
		if all.statuses[http.StatusOK] == 0 {
			t.Errorf("nobody of %d got in", n)
		}
		if i := slices.IndexFunc(all.retryAfter, notSeconds); i >= 0 {
			t.Errorf("of %d logins, a 503 with Retry-After %q", n, all.retryAfter[i])
		}
		grown := "memory is not measured here"
		if base > 0 && len(buildFlags) == 0 { // the race detector keeps a shadow of all memory
			more := s.peak() - base
			if more > hashingBound {
				t.Errorf("%d logins at once took %d MiB, at most %d are allowed", n, more>>10, hashingBound>>10)
			}
			grown = fmt.Sprintf("peak memory %d MiB over the %d MiB at rest, %d allowed", more>>10, base>>10, hashingBound>>10)
		}
		t.Logf("%d logins at once, %v: %d signed in, %d told to come back; %s; signed-in pages meanwhile: %s",
			n, all.took.Round(time.Millisecond), all.statuses[http.StatusOK], all.statuses[http.StatusServiceUnavailable], grown, pages)
		// More than may run and wait: the excess must have been told so.
		if n >= 500 && len(all.retryAfter) == 0 {
			t.Errorf("none of %d was told to come back", n)
		}
	}
}

// notSeconds reports a Retry-After that is not one to sixty seconds.
func notSeconds(after string) bool {
	sec, err := strconv.Atoi(after)
	return err != nil || sec < 1 || sec > 60
}

// vmHWM is the largest resident set that a process has had, in KiB.
var vmHWM = regexp.MustCompile(`(?m)^VmHWM:\s*(\d+) kB$`)

// peak returns the service's largest resident set so far in KiB, 0 where the
// system does not tell.
func (s *server) peak() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	m := vmHWM.FindSubmatch(status)
	if m == nil {
		return 0
	}
	kib, _ := strconv.Atoi(string(m[1]))
	return kib
}

// crowd is what became of many who signed in at once.
type crowd struct {
	took       time.Duration
	statuses   map[int]int // 0: no answer
	retryAfter []string    // of the 503s
}

// signIn lets n sign in at the same moment, each on a connection of its own.
func signIn(s *server, n int) crowd {
	all := crowd{statuses: map[int]int{}}
	http1 := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for range n {
		wg.Go(func() {
			<-gate
			status, after := 0, ""
			res, err := http1.Post(s.URL+"/auth/login", "application/json", strings.NewReader(credentials("ada", goodPassword)))
			if err == nil {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				status, after = res.StatusCode, res.Header.Get("Retry-After")
			}
			mu.Lock()
			defer mu.Unlock()
			all.statuses[status]++
			if status == http.StatusServiceUnavailable {
				all.retryAfter = append(all.retryAfter, after)
			}
		})
	}
	begin := time.Now()
	close(gate)
	wg.Wait()
	all.took = time.Since(begin)
	return all
}

// pages are the times that signed-in pages took, sorted.
type pages struct {
	took   []time.Duration
	failed int
}

func (p pages) String() string {
	if len(p.took) == 0 {
		return "none"
	}
	at := func(part float64) time.Duration {
		return p.took[int(part*float64(len(p.took)-1))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%d, median %v, p99 %v, longest %v", len(p.took), at(0.5), at(0.99), at(1))
}

// watch reads the profile of a signed-in client again and again, with four
// browsers at once, until during returns.
func watch(c *client, during func()) pages {
	var all pages
	var mu sync.Mutex
	var wg sync.WaitGroup
	over := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(5 * time.Millisecond):
				}
				begin := time.Now()
				ok := reads(c)
				mu.Lock()
				all.took = append(all.took, time.Since(begin))
				if !ok {
					all.failed++
				}
				mu.Unlock()
			}
		})
	}
	during()
	close(over)
	wg.Wait()
	slices.Sort(all.took)
	return all
}

// reads reports whether the client gets its profile.
func reads(c *client) bool {
	r, err := http.NewRequest("GET", c.base+"/auth/profile", nil)
	if err != nil {
		return false
	}
	r.Header.Set("Accept", "text/html")
	res, err := c.http.Do(r)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return err == nil && res.StatusCode == http.StatusOK && bytes.Contains(body, []byte("ada"))
}
