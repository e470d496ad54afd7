package sqlthrottle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// A user that owns nothing, with the rights that the packages postgres and mariadb
// name, is enough once the table is there.
func TestASVS_13_2_2_LeastPrivilege(t *testing.T) {
	for i, grants := range map[int]struct {
		kind  services.Kind
		admin string // with the password in place of SECRET
	}{
		1: {services.PostgresKind, `CREATE ROLE app LOGIN PASSWORD 'SECRET';
			GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom_throttle TO app;
			GRANT SELECT ON cloakroom_schema TO app;`},
		2: {services.MariaDBKind, `CREATE USER app@'127.0.0.1' IDENTIFIED BY 'SECRET';
			GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom.cloakroom_throttle TO app@'127.0.0.1';
			GRANT SELECT ON cloakroom.cloakroom_schema TO app@'127.0.0.1';`},
	} {
		t.Run(kinds[i].Name, func(t *testing.T) {
			s := services.Start(t, grants.kind)
			open(t, i, s.URL())
			s.Admin(t, s.URL(), strings.ReplaceAll(grants.admin, "SECRET", s.Password))
			st, db := open(t, i, strings.Replace(s.URL(), "//cloakroom:", "//app:", 1))
			th, err := throttle.New(st, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				first, err := th.Begin(t.Context(), bob)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := th.Begin(t.Context(), bob); err != nil {
					t.Fatal(err)
				}
				if err := th.Succeed(t.Context(), first); err != nil {
					t.Fatal(err)
				}
				if err := th.Unlock(t.Context(), bob.Account); err != nil {
					t.Fatal(err)
				}
				if _, err := st.Sweep(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			for _, denied := range []string{
				"DROP TABLE cloakroom_throttle", "UPDATE cloakroom_schema SET version = 9", "DELETE FROM cloakroom_session",
			} {
				if _, err := db.Exec(t.Context(), denied); err == nil || !strings.Contains(err.Error(), "denied") && !strings.Contains(err.Error(), "must be owner") {
					t.Errorf("%s: %v, want it denied", denied, err)
				}
			}
		})
	}
}
