package auditlog

import (
	"strings"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// schema is the history of the tables. The indexes follow the order in which entries
// are read, the newest first, so that whatever is filtered by, a page is the
// beginning of one of them.
func schema(d *sqlstore.Dialect) sqlstore.Schema {
	index := func(name, columns, condition string) string {
		return "CREATE INDEX cloakroom_audit_" + name + " ON cloakroom_audit (" + columns + ", time_ms, seq)" + d.Where(condition)
	}
	return sqlstore.Schema{Component: "audit", Versions: [][]string{
		{
			`CREATE TABLE cloakroom_audit (
				seq {int} NOT NULL PRIMARY KEY,
				time_ms {int} NOT NULL,
				kind {key:64} NOT NULL,
				suspicious {int} NOT NULL,
				user_id {key:512} NOT NULL,
				account {key:512} NOT NULL,
				actor {key:512} NOT NULL,
				name {bytes} NOT NULL,
				addr {key:128} NOT NULL,
				session_id {bytes} NOT NULL,
				request_id {bytes} NOT NULL,
				reason {bytes} NOT NULL,
				times {int} NOT NULL,
				details {bytes} NOT NULL,
				batch {bytes} NOT NULL,
				key_id {bytes} NOT NULL,
				hash {bytes} NOT NULL,
				tag {bytes} NOT NULL){table}`,
			`CREATE INDEX cloakroom_audit_time ON cloakroom_audit (time_ms, seq)`,
			index("kind", "kind", "length(kind) > 0"),
			index("user", "user_id", filled("user_id")),
			index("account", "account", filled("account")),
			index("actor", "actor", filled("actor")),
			index("addr", "addr", filled("addr")),
			index("suspicious", "suspicious", "suspicious = 1"),
			// One row: the newest entry. turn is what appending locks it by.
			`CREATE TABLE cloakroom_audit_head (
				id {int} NOT NULL PRIMARY KEY,
				turn {int} NOT NULL,
				seq {int} NOT NULL,
				hash {bytes} NOT NULL){table}`,
			`INSERT INTO cloakroom_audit_head (id, turn, seq, hash) VALUES (1, 0, 0, '')`,
		},
	}}
}

// filled is the condition of an index over a column that is empty for most entries,
// word for word: a query that uses the index repeats it.
func filled(column string) string { return "length(" + column + ") > 0" }

// The columns of an entry, and those that only verifying needs.
const (
	entryColumns = `seq, time_ms, kind, suspicious, user_id, account, actor, name, addr, session_id, request_id, reason, times, details`
	allColumns   = entryColumns + `, batch, key_id, hash, tag`
	columns      = 18
	perInsert    = 32 // rows of one statement
)

// statements are the texts of every statement in one dialect.
type statements struct {
	dialect                         *sqlstore.Dialect
	insert                          [perInsert + 1]string // by the number of rows
	lock, head, setHead             string
	hashOf, batchOf, oldest         string
	scan, beginnings, first, remove string
	timeOf, suspicious, tagOf       string
	ofKind, byKey                   string
}

func newStatements(d *sqlstore.Dialect) statements {
	s := statements{
		dialect: d,
		lock:    `UPDATE cloakroom_audit_head SET turn = turn + 1 WHERE id = 1`,
		head:    `SELECT seq, hash FROM cloakroom_audit_head WHERE id = 1`,
		setHead: `UPDATE cloakroom_audit_head SET seq = ?, hash = ? WHERE id = 1`,
		hashOf:  `SELECT hash FROM cloakroom_audit WHERE seq = ?`,
		batchOf: `SELECT count(*) FROM cloakroom_audit WHERE seq > ? AND batch = ?`,
		oldest:  `SELECT COALESCE(min(seq), 0) FROM cloakroom_audit`,
		scan:    `SELECT ` + allColumns + ` FROM cloakroom_audit WHERE seq >= ? AND seq <= ? ORDER BY seq LIMIT ?`,
		beginnings: `SELECT ` + allColumns + ` FROM cloakroom_audit WHERE kind = ? AND length(kind) > 0
			ORDER BY seq + 0 DESC LIMIT 1`, // an expression: by the index of kinds
		ofKind: `SELECT ` + allColumns + ` FROM cloakroom_audit WHERE kind = ? AND length(kind) > 0 ORDER BY seq`,
		byKey:  `SELECT key_id, count(*) FROM cloakroom_audit GROUP BY key_id`,
		first:  `SELECT seq, time_ms, hash FROM cloakroom_audit ORDER BY seq LIMIT ?`,
		remove: `DELETE FROM cloakroom_audit WHERE seq <= ?`,
		timeOf: `SELECT time_ms FROM cloakroom_audit WHERE seq = ?`,
		tagOf:  `SELECT key_id, tag FROM cloakroom_audit WHERE seq = ?`,
		suspicious: `SELECT time_ms, times, kind, addr, account, user_id FROM cloakroom_audit
			WHERE suspicious = 1 AND time_ms >= ? ORDER BY time_ms DESC, seq DESC LIMIT ?`,
	}
	for _, p := range []*string{
		&s.lock, &s.head, &s.setHead, &s.hashOf, &s.batchOf, &s.oldest, &s.scan, &s.beginnings, &s.first, &s.remove, &s.timeOf, &s.suspicious, &s.tagOf,
		&s.ofKind, &s.byKey,
	} {
		*p = d.SQL(*p)
	}
	one := "(?" + strings.Repeat(", ?", columns-1) + ")"
	for n := 1; n <= perInsert; n++ {
		s.insert[n] = d.SQL("INSERT INTO cloakroom_audit (" + allColumns + ") VALUES " + one + strings.Repeat(", "+one, n-1))
	}
	return s
}
