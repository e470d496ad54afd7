package sqlusers

import "github.com/cloakroom-dev/cloakroom/store/sqlstore"

// schema is the history of the tables of users.
//
// admin says whether roles holds the role of that name: every statement that
// writes one writes the other, so that administrators are counted by an index
// in a way that every database understands.
func schema(d *sqlstore.Dialect) sqlstore.Schema {
	return sqlstore.Schema{Component: "user", Versions: [][]string{
		{
			`CREATE TABLE cloakroom_user (
				id {key:32} NOT NULL PRIMARY KEY,
				name {bytes} NOT NULL,
				canonical {key:1024} NOT NULL UNIQUE,
				roles {bytes} NOT NULL,
				admin {int} NOT NULL,
				password {bytes} NOT NULL,
				epoch {int} NOT NULL,
				disabled {int} NOT NULL,
				created {int} NOT NULL,
				updated {int} NOT NULL){table}`,
			`CREATE INDEX cloakroom_user_admin ON cloakroom_user (admin)` + d.Where("admin = 1"),
			// One row: the epoch that is added to everybody's.
			`CREATE TABLE cloakroom_epoch (
				id {int} NOT NULL PRIMARY KEY,
				epoch {int} NOT NULL){table}`,
			`INSERT INTO cloakroom_epoch (id, epoch) VALUES (1, 0)`,
			// At most one row: the setup token that is valid.
			`CREATE TABLE cloakroom_setup (
				id {int} NOT NULL PRIMARY KEY,
				hash {key:32} NOT NULL,
				until {int} NOT NULL){table}`,
		},
	}}
}

// statements are the texts of every statement in one dialect.
type statements struct {
	byName, byID, list, state string
	admins, enabledAdmins     string
	create, setPassword       string
	rehash                    string
	setDisabled, setRoles     string
	raiseEpoch, raiseEpochAll string
	raiseEpochFrom            string
	setup, checkSetup, claim  string
}

func newStatements(d *sqlstore.Dialect) statements {
	const (
		// The two epochs only ever grow, so their sum does, and never comes back.
		epoch = `epoch + (SELECT g.epoch FROM cloakroom_epoch g WHERE g.id = 1)`
		user  = `SELECT id, name, roles, password, ` + epoch + `, disabled FROM cloakroom_user `
	)
	s := statements{
		byName: user + `WHERE canonical = ?`,
		byID:   user + `WHERE id = ?`,
		list: `SELECT id, name, roles, ` + epoch + `, disabled, canonical, created, updated
			FROM cloakroom_user WHERE canonical > ? ORDER BY canonical LIMIT ?`,
		state:         `SELECT admin, disabled FROM cloakroom_user WHERE id = ?`,
		admins:        `SELECT count(*) FROM cloakroom_user WHERE admin = 1`,
		enabledAdmins: `SELECT count(*) FROM cloakroom_user WHERE admin = 1 AND disabled = 0`,
		create: `INSERT INTO cloakroom_user
			(id, name, canonical, roles, admin, password, epoch, disabled, created, updated)
			VALUES (?, ?, ?, ?, ?, ?, 1, 0, {clock}, {clock}) ` + d.Upsert("canonical"),
		setPassword: `UPDATE cloakroom_user SET password = ?, epoch = epoch + ?, updated = {clock} WHERE id = ?`,
		rehash:      `UPDATE cloakroom_user SET password = ?, updated = {clock} WHERE id = ? AND password = ?`,
		setDisabled: `UPDATE cloakroom_user SET disabled = ?, epoch = epoch + ?, updated = {clock} WHERE id = ?`,
		setRoles:    `UPDATE cloakroom_user SET roles = ?, admin = ?, updated = {clock} WHERE id = ?`,
		raiseEpoch:  `UPDATE cloakroom_user SET epoch = epoch + 1, updated = {clock} WHERE id = ?`,
		raiseEpochFrom: `UPDATE cloakroom_user SET epoch = epoch + 1, updated = {clock}
			WHERE id = ? AND ` + epoch + ` = ?`,
		raiseEpochAll: `UPDATE cloakroom_epoch SET epoch = epoch + 1 WHERE id = 1`,
		setup: `INSERT INTO cloakroom_setup (id, hash, until) VALUES (1, ?, ?) ` +
			d.Upsert("id", "hash", "until"),
		checkSetup: `SELECT count(*) FROM cloakroom_setup WHERE hash = ? AND until > ?
			AND NOT EXISTS (SELECT 1 FROM cloakroom_user WHERE admin = 1)`,
		claim: `DELETE FROM cloakroom_setup WHERE hash = ? AND until > ?`,
	}
	for _, p := range []*string{
		&s.byName, &s.byID, &s.list, &s.state, &s.admins, &s.enabledAdmins, &s.create, &s.setPassword, &s.rehash,
		&s.setDisabled, &s.setRoles, &s.raiseEpoch, &s.raiseEpochFrom, &s.raiseEpochAll, &s.setup, &s.checkSetup, &s.claim,
	} {
		*p = d.SQL(*p)
	}
	return s
}
