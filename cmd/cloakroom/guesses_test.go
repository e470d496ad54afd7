package main_test

import (
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// verified is a line about a password that was looked at and found wrong.
var verified = regexp.MustCompile(`"msg":"login_refused"[^\n]*"reason":"password"`)

// TestAttack_A33_GuessesAtOnceOverFourInstances lets 200 wrong passwords of one account
// arrive at the same moment, at four instances that share nothing but the database: five
// are verified, the others are told to come back. The owner signs in meanwhile, in a
// browser of theirs; from elsewhere they wait as the guesser does.
func TestAttack_A33_GuessesAtOnceOverFourInstances(t *testing.T) {
	t.Parallel()
	const instances, guesses = 4, 200
	for name, place := range map[string]string{"postgres": services.Postgres(t), "mariadb": services.MariaDB(t)} {
		t.Run(name, func(t *testing.T) {
			args := append(sameFor(place), keyFile(t))
			addUser(t, t.TempDir(), "bob", args...)
			all := make([]*server, instances)
			for i := range all {
				all[i] = start(t, t.TempDir(), args...)
			}
			owner := all[0].client().login("bob", goodPassword)

			var mu sync.Mutex
			statuses, after := map[int]int{}, 0
			var wg sync.WaitGroup
			begin := make(chan struct{})
			for i := range guesses {
				wg.Go(func() {
					guesser := all[i%instances].client()
					<-begin
					a := guesser.do("POST", "/auth/login", credentials("bob", "guess number "+strconv.Itoa(i)+" of many"))
					mu.Lock()
					defer mu.Unlock()
					statuses[a.StatusCode]++
					if sec, _ := strconv.Atoi(a.Header.Get("Retry-After")); a.StatusCode == 429 && sec >= 1 && sec <= 30 {
						after++
					}
				})
			}
			wg.Go(func() {
				<-begin
				for i := range instances {
					c := owner.at(all[i])
					c.session() // the token of the session of before
					c.want(c.do("POST", "/auth/login", credentials("bob", goodPassword), "X-CSRF-Token", c.csrf), 200)
				}
			})
			close(begin)
			wg.Wait()

			looked := 0
			for _, s := range all {
				looked += len(verified.FindAllString(s.stderr.String(), -1))
			}
			if looked > 5 || statuses[401] != looked || statuses[401]+statuses[429] != guesses || after != statuses[429] {
				t.Errorf("of %d guesses %d were verified; statuses %v, %d with a Retry-After of at most 30 seconds", guesses, looked, statuses, after)
			}
			stranger := all[1].client()
			stranger.want(stranger.do("POST", "/auth/login", credentials("bob", goodPassword)), 429)

			// A restart forgets nothing.
			all[2].cmd.Process.Kill()
			again := start(t, t.TempDir(), args...).client()
			again.want(again.do("POST", "/auth/login", credentials("bob", goodPassword)), 429)
		})
	}
}
