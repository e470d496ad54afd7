package doctor

import (
	"context"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

var systemChecks = []string{"file-limit", "clock-set"}

// system judges the machine.
func (e *examination) system(_ context.Context, l *notes) {
	if n, ok := e.World.MaxFiles(); !ok {
		l.skip("the system does not say", "file-limit")
	} else if n < 1024 {
		l.find("file-limit", finding.Warning, "raise it where the service is started: LimitNOFILE=65536 for systemd, ulimit -n 65536 in a shell",
			"%d files may be open at once, where this was started", n)
	}
	if now := e.World.Now(); now.Before(e.World.Built.Add(-day)) {
		l.find("clock-set", finding.Error, "set the clock right (timedatectl set-ntp true)", "it is %s here, and this program was made on %s", date(now), date(e.World.Built))
	}
}
