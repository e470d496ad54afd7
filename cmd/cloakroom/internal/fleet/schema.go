package fleet

import "github.com/cloakroom-dev/cloakroom/store/sqlstore"

// schema is the history of the tables. Times are in milliseconds since 1970, as
// everywhere.
func schema() sqlstore.Schema {
	return sqlstore.Schema{Component: "fleet", Versions: [][]string{
		{
			`CREATE TABLE cloakroom_instances (
				id {key:64} NOT NULL PRIMARY KEY,
				started {int} NOT NULL,
				seen {int} NOT NULL,
				version {bytes} NOT NULL,
				addr {bytes} NOT NULL,
				url {bytes} NOT NULL,
				key_states {bytes} NOT NULL,
				failing {bytes} NOT NULL,
				look {int} NOT NULL){table}`,
			`CREATE TABLE cloakroom_leases (
				name {key:64} NOT NULL PRIMARY KEY,
				holder {key:64} NOT NULL,
				until_at {int} NOT NULL){table}`,
			`CREATE TABLE cloakroom_signals (
				name {key:64} NOT NULL PRIMARY KEY,
				value {int} NOT NULL,
				note {bytes} NOT NULL){table}`,
		},
	}}
}

// statements are the texts of every statement in one dialect.
type statements struct {
	report, leave, sweep            string
	instances, silent               string
	generation, raise, signal       string
	setNote, note                   string
	lease, lead, takeFirst, release string
	clock                           string
}

const instanceColumns = "id, started, seen, version, addr, url, key_states, failing, look"

func newStatements(d *sqlstore.Dialect) statements {
	s := statements{
		report: `INSERT INTO cloakroom_instances (` + instanceColumns + `) VALUES (?, ?, {clock}, ?, ?, ?, ?, ?, ?) ` +
			d.Upsert("id", "started", "seen", "version", "addr", "url", "key_states", "failing", "look"),
		leave: `DELETE FROM cloakroom_instances WHERE id = ?`,
		instances: `SELECT ` + instanceColumns + ` FROM cloakroom_instances
			WHERE seen >= {clock} - ? AND seen <= {clock} + ? ORDER BY started, id`,
		silent: `SELECT ` + instanceColumns + ` FROM cloakroom_instances
			WHERE seen >= {clock} - ? AND seen < {clock} - ? OR seen > {clock} + ? ORDER BY started, id`,
		sweep: `DELETE FROM cloakroom_instances WHERE seen < {clock} - ? OR seen > {clock} + ?`,

		generation: `SELECT value FROM cloakroom_signals WHERE name = ?`,
		// The time comes in so that the number rises across a restored backup too.
		// One that is far ahead, or no number, is nobody's: it begins anew.
		raise: `UPDATE cloakroom_signals SET value = CASE WHEN value < {clock} + 86400000
			THEN {greatest}(value + 1, {clock}) ELSE {clock} END WHERE name = ?`,
		signal: `INSERT INTO cloakroom_signals (name, value, note) VALUES (?, 0, ?) ` + d.Upsert("name"),

		setNote: `INSERT INTO cloakroom_signals (name, value, note) VALUES (?, 0, ?) ` + d.Upsert("name", "note"),
		note:    `SELECT note FROM cloakroom_signals WHERE name = ?`,

		lease: `SELECT holder, until_at FROM cloakroom_leases WHERE name = ?`,
		lead: `UPDATE cloakroom_leases SET holder = ?, until_at = ?
			WHERE name = ? AND (holder = ? OR until_at <= ? OR until_at > ?)`,
		takeFirst: `INSERT INTO cloakroom_leases (name, holder, until_at) VALUES (?, ?, ?) ` + d.Upsert("name"),
		release:   `DELETE FROM cloakroom_leases WHERE name = ? AND holder = ?`,

		clock: `SELECT {clock}`,
	}
	for _, p := range []*string{
		&s.report, &s.leave, &s.instances, &s.silent, &s.sweep, &s.generation, &s.raise, &s.signal,
		&s.setNote, &s.note, &s.lease, &s.lead, &s.takeFirst, &s.release, &s.clock,
	} {
		*p = d.SQL(*p)
	}
	return s
}
