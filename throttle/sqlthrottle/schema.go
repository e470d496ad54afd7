package sqlthrottle

import (
	"strings"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// schema is the history of the table of counters: a row a lane, with the fields of
// a throttle.Counter. A time in milliseconds since 1970, as everywhere.
func schema(d *sqlstore.Dialect) sqlstore.Schema {
	return sqlstore.Schema{Component: "throttle", Versions: [][]string{
		{
			`CREATE TABLE cloakroom_throttle (
				id {key:32} NOT NULL PRIMARY KEY,
				owner {key:32} NOT NULL,
				gen {int} NOT NULL,
				fails {int} NOT NULL,
				until_at {int} NOT NULL,
				last_at {int} NOT NULL,
				run {int} NOT NULL,
				total {int} NOT NULL,
				due {int} NOT NULL){table}`,
			`CREATE INDEX cloakroom_throttle_owner ON cloakroom_throttle (owner)` + d.Where(hasOwner),
			`CREATE INDEX cloakroom_throttle_due ON cloakroom_throttle (due)`,
		},
	}}
}

// hasOwner is the condition of the index over owners, word for word: a query that
// does not repeat it cannot use the index.
const hasOwner = "length(owner) > 0"

// maxLanes is how many lanes an attempt goes through at most: the statements over
// several are written for each number.
const maxLanes = 4

// statements are the texts of every statement in one dialect. Those over several
// rows stand under their number.
type statements struct {
	read, insert        [maxLanes + 1]string
	add, addTotal, swap string
	drop, clock, sweep  string
	give, clearTotal    string

	d *sqlstore.Dialect
}

const columns = "id, owner, gen, fails, until_at, last_at, run, total, due"

func newStatements(d *sqlstore.Dialect) statements {
	s := statements{
		d: d,
		// Whoever comes between reading and this finds the counts as they were read,
		// or more of them, but not so many that one more means anything else.
		add: `UPDATE cloakroom_throttle SET fails = fails + 1, total = total + ?, last_at = ?, due = ?
			WHERE id = ? AND gen = ? AND run = ? AND until_at <= ? AND fails < ? AND total < ?`,
		addTotal: `UPDATE cloakroom_throttle SET total = total + 1, due = ? WHERE id = ? AND run = ? AND total < ?`,
		swap: `UPDATE cloakroom_throttle SET gen = ?, fails = ?, until_at = ?, last_at = ?, run = ?, total = ?, due = ?
			WHERE id = ? AND gen = ? AND fails = ? AND until_at = ? AND last_at = ? AND run = ? AND total = ?`,
		// One of the databases works from left to right and sees what it has set: so
		// fails and total come last.
		give: `UPDATE cloakroom_throttle SET
			until_at = CASE WHEN gen <> ? THEN until_at WHEN fails - ? < ? THEN 0 WHEN until_at = ? THEN ? ELSE until_at END,
			last_at = CASE WHEN gen = ? THEN {least}(last_at, ?) ELSE last_at END,
			due = CASE WHEN run = ? AND total >= ? AND total - ? < ? THEN ? ELSE due END,
			fails = CASE WHEN gen = ? THEN {greatest}(fails - ?, 0) ELSE fails END,
			total = CASE WHEN run = ? THEN {greatest}(total - ?, 0) ELSE total END
			WHERE id = ? AND (gen = ? OR run = ?)`,
		clearTotal: `UPDATE cloakroom_throttle SET total = 0, run = ?, due = CASE WHEN due = ? THEN ? ELSE due END
			WHERE id = ? AND (total < ? OR run = ?)`,
		drop:  `DELETE FROM cloakroom_throttle WHERE owner = ? AND ` + hasOwner,
		clock: `SELECT {clock}`,
		sweep: d.DeleteFew("cloakroom_throttle", "id",
			`SELECT id FROM cloakroom_throttle WHERE due <= ? ORDER BY due LIMIT ?`, "due <= ?"),
	}
	for _, p := range []*string{
		&s.add, &s.addTotal, &s.swap, &s.give, &s.clearTotal, &s.drop, &s.clock, &s.sweep,
	} {
		*p = d.SQL(*p)
	}
	for n := 1; n <= maxLanes; n++ {
		s.read[n] = d.SQL(`SELECT id, gen, fails, until_at, last_at, run, total, due FROM cloakroom_throttle
			WHERE id IN (?` + strings.Repeat(", ?", n-1) + `)`)
		row := `(?` + strings.Repeat(", ?", strings.Count(columns, ",")) + `)`
		s.insert[n] = d.SQL(`INSERT INTO cloakroom_throttle (` + columns + `) VALUES ` +
			row + strings.Repeat(", "+row, n-1) + ` ` + d.Upsert("id"))
	}
	return s
}

// The conditions under which a row goes when an attempt is settled.
const (
	// gone: it succeeded, and the lane is not locked but by this attempt itself.
	goneClear = `id = ? AND (total < ? OR run = ?)`
	// Of the failures in a row nothing is left, and there are no others.
	goneTotal = `id = ? AND (total < ? OR run = ?) AND fails = 0`
	// It counted this attempt alone.
	goneGive = `id = ? AND gen = ? AND run = ? AND fails = ? AND total = ?`
)

// remove returns a DELETE of the rows that meet any of the conditions.
func (s *statements) remove(conditions []string) string {
	return s.d.SQL(`DELETE FROM cloakroom_throttle WHERE (` + strings.Join(conditions, `) OR (`) + `)`)
}
