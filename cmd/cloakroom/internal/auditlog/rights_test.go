package auditlog_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// TestASVS_13_2_2_LeastPrivilege: the rights that the packages postgres and mariadb name
// are enough once the tables are there, and none of them changes an entry.
func TestASVS_13_2_2_LeastPrivilege(t *testing.T) {
	for i, grants := range map[int]struct {
		kind  services.Kind
		admin string // with the password in place of SECRET
	}{
		1: {services.PostgresKind, `CREATE ROLE app LOGIN PASSWORD 'SECRET';
			GRANT SELECT, INSERT, DELETE ON cloakroom_audit TO app;
			GRANT SELECT, UPDATE ON cloakroom_audit_head TO app;
			GRANT SELECT ON cloakroom_schema TO app;`},
		2: {services.MariaDBKind, `CREATE USER app@'127.0.0.1' IDENTIFIED BY 'SECRET';
			GRANT SELECT, INSERT, DELETE ON cloakroom.cloakroom_audit TO app@'127.0.0.1';
			GRANT SELECT, UPDATE ON cloakroom.cloakroom_audit_head TO app@'127.0.0.1';
			GRANT SELECT ON cloakroom.cloakroom_schema TO app@'127.0.0.1';`},
	} {
		t.Run(kinds[i].Name, func(t *testing.T) {
			s, keys := services.Start(t, grants.kind), ring(t)
			open(t, kinds[i].OpenFor(t, s.URL()), keys)
			s.Admin(t, s.URL(), strings.ReplaceAll(grants.admin, "SECRET", s.Password))
			db := kinds[i].OpenFor(t, strings.Replace(s.URL(), "//cloakroom:", "//app:", 1))
			l, log := open(t, db, keys)
			for range 3 {
				login(log, "alice")
			}
			if list := find(t, l, auditlog.Query{User: "alice"}); len(list) != 3 {
				t.Errorf("%d entries, want 3", len(list))
			}
			_, err := l.Prune(t.Context(), time.Now().Add(-time.Hour))
			must(t, err)
			_, err = l.Verify(t.Context())
			must(t, err)
			for _, denied := range []string{"UPDATE cloakroom_audit SET times = 9", "DROP TABLE cloakroom_audit", "DELETE FROM cloakroom_audit_head"} {
				if _, err := db.Exec(t.Context(), denied); err == nil || !strings.Contains(err.Error(), "denied") && !strings.Contains(err.Error(), "must be owner") {
					t.Errorf("%s: %v, want it denied", denied, err)
				}
			}
		})
	}
}
