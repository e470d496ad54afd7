package main_test

import (
	"errors"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/faultproxy"
	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// TestPromise10_ADatabaseThatHangsHoldsUpNoRetirement: it stops answering once the key has
// ended. The command ends with 1 soon, and says what is not known; run again, it goes on.
func TestPromise10_ADatabaseThatHangsHoldsUpNoRetirement(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	u, err := url.Parse(services.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	proxy := faultproxy.New(t, u.Host)
	u.Host = proxy.Addr()
	at := []string{keyFile(t), "--users=" + u.String(), "--store=" + u.String()}
	addUser(t, dir, "ada", append(at, "--pepper=true")...)
	old := regexp.MustCompile(`\b[0-9a-f]{8}\b`).FindString(must(t, dir, append(at, "key", "list")...))
	proxy.Set(faultproxy.Fault{Latency: 20 * time.Millisecond}) // so that not all is done at once
	var out buffer
	cmd := exec.Command(binary, append(at, "key", "retire", "--now", "--wait=100ms", old)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(40*time.Second, func() { cmd.Process.Kill() })
	defer stop.Stop()
	for end := begun.Add(20 * time.Second); !strings.Contains(out.String(), "retired: ") && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	proxy.Set(faultproxy.Fault{Blackhole: true})
	err = cmd.Wait()
	exit, _ := errors.AsType[*exec.ExitError](err)
	if exit == nil || exit.ExitCode() != 1 || time.Since(begun) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	for _, want := range []string{"retired: " + old, "it is not known whether ", "whether no instance accepts it any more", "run this again"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("without %q: %s", want, out.String())
		}
	}
	proxy.Heal()
	if out := must(t, dir, append(at, "key", "retire", "--now", old)...); !strings.Contains(out, "ended: 0 sessions") {
		t.Error(out)
	}
	must(t, dir, append(at, "audit", "verify")...)
}
