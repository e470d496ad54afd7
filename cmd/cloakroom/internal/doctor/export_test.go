package doctor

import (
	"context"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// MariaDB judges what a database answers that speaks like MariaDB.
func MariaDB(ctx context.Context, reader sqlstore.Queryer) *Report {
	e, t := &examination{cfg: &config.Config{}}, &target{settings: "store"}
	l := &notes{checks: []string{"durability", "replica", "rights"}, patience: time.Minute}
	l.fill(ctx, func(ctx context.Context, l *notes) { e.mariadb(ctx, l, t, &looking{reader: reader}) })
	return report([]*notes{l})
}

// Files looks at files, on the thread that calls it.
func Files(opts Options) *Report {
	opts.World = opts.World.complete()
	e := &examination{Options: opts, cfg: opts.Settings.Config}
	l := &notes{checks: filesChecks}
	e.files(context.Background(), l)
	return report([]*notes{l})
}
