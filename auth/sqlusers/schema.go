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
		{
			`ALTER TABLE cloakroom_user ADD COLUMN must_change {int} NOT NULL DEFAULT 0`,
			// The one link of a user that is valid: NULL for none. It is a part of
			// the row, so that whatever voids it does so in its own statement.
			`ALTER TABLE cloakroom_user ADD COLUMN link {key:32}`,
			`ALTER TABLE cloakroom_user ADD COLUMN link_kind {int} NOT NULL DEFAULT 0`,
			`ALTER TABLE cloakroom_user ADD COLUMN link_until {int} NOT NULL DEFAULT 0`,
			`CREATE UNIQUE INDEX cloakroom_user_link ON cloakroom_user (link)` + d.Where("link IS NOT NULL"),
			// For the searches that look for the few among the many.
			`CREATE INDEX cloakroom_user_disabled ON cloakroom_user (disabled, canonical)` + d.Where("disabled = 1"),
			`CREATE INDEX cloakroom_user_must_change ON cloakroom_user (must_change, canonical)` + d.Where("must_change = 1"),
		},
	}}
}

// statements are the texts of every statement in one dialect.
type statements struct {
	byName, byID, state       string
	account, search           string
	admins, enabledAdmins     string
	create, rename, remove    string
	owner                     string
	setPassword, setHash      string
	changePassword, rehash    string
	sealed, sealers, rewrap   string // see rewrapping
	able, unsealed            string // see tallying
	requireChange             string
	setDisabled, setRoles     string
	raiseEpoch, raiseEpochAll string
	raiseEpochFrom            string
	setLink, byLink, takeLink string
	setup, checkSetup, claim  string
}

func newStatements(d *sqlstore.Dialect) statements {
	const (
		// The two epochs only ever grow, so their sum does, and never comes back.
		epoch = `epoch + (SELECT g.epoch FROM cloakroom_epoch g WHERE g.id = 1)`
		user  = `SELECT id, name, roles, password, ` + epoch + `, disabled, must_change`

		// What administration sees: not the hash.
		account = `SELECT id, name, roles, ` + epoch + `, disabled, must_change, canonical, created, updated,
			CASE WHEN length(password) = 0 THEN 0 ELSE 1 END, CASE WHEN link IS NULL THEN 0 ELSE link_kind END, link_until
			FROM cloakroom_user WHERE `

		// Every password that is set has these in its statement: no crash leaves
		// an old session or an old link beside it.
		anew = `epoch = epoch + 1, must_change = 0, link = NULL, updated = {clock}`
	)
	s := statements{
		byName:        user + ` FROM cloakroom_user WHERE canonical = ?`,
		byID:          user + ` FROM cloakroom_user WHERE id = ?`,
		account:       account + `id = ?`,
		search:        account + `canonical >= ? AND canonical < ?`,
		state:         `SELECT admin, disabled FROM cloakroom_user WHERE id = ?`,
		admins:        `SELECT count(*) FROM cloakroom_user WHERE admin = 1`,
		enabledAdmins: `SELECT count(*) FROM cloakroom_user WHERE admin = 1 AND disabled = 0`,
		create: `INSERT INTO cloakroom_user
			(id, name, canonical, roles, admin, password, must_change, epoch, disabled, created, updated)
			VALUES (?, ?, ?, ?, ?, ?, ?, 1, 0, {clock}, {clock}) ` + d.Upsert("canonical"),
		owner:          `SELECT id FROM cloakroom_user WHERE canonical = ?`,
		rename:         `UPDATE cloakroom_user SET name = ?, canonical = ?, updated = {clock} WHERE id = ?`,
		remove:         `DELETE FROM cloakroom_user WHERE id = ?`,
		setPassword:    `UPDATE cloakroom_user SET password = ?, ` + anew + ` WHERE id = ?`,
		setHash:        `UPDATE cloakroom_user SET password = ?, updated = {clock} WHERE id = ?`,
		changePassword: `UPDATE cloakroom_user SET password = ?, ` + anew + ` WHERE id = ? AND password = ?`,
		rehash:         `UPDATE cloakroom_user SET password = ?, updated = {clock} WHERE id = ? AND password = ?`,
		requireChange:  `UPDATE cloakroom_user SET must_change = 1, epoch = epoch + 1, updated = {clock} WHERE id = ?`,
		setDisabled:    `UPDATE cloakroom_user SET disabled = ?, epoch = epoch + ?, link = NULL, updated = {clock} WHERE id = ?`,
		setRoles:       `UPDATE cloakroom_user SET roles = ?, admin = ?, updated = {clock} WHERE id = ?`,
		raiseEpoch:     `UPDATE cloakroom_user SET epoch = epoch + 1, updated = {clock} WHERE id = ?`,
		raiseEpochFrom: `UPDATE cloakroom_user SET epoch = epoch + 1, updated = {clock} WHERE id = ? AND ` + epoch + ` = ?`,
		raiseEpochAll:  `UPDATE cloakroom_epoch SET epoch = epoch + 1 WHERE id = 1`,
		setLink:        `UPDATE cloakroom_user SET link = ?, link_kind = ?, link_until = ? WHERE id = ? AND disabled = 0`,
		byLink: user + `, link_kind, link_until FROM cloakroom_user
			WHERE link = ? AND link_until > ? AND disabled = 0`,
		takeLink: `UPDATE cloakroom_user SET password = ?, ` + anew + `
			WHERE id = ? AND link = ? AND link_until > ? AND disabled = 0`,
		setup: `INSERT INTO cloakroom_setup (id, hash, until) VALUES (1, ?, ?) ` + d.Upsert("id", "hash", "until"),
		checkSetup: `SELECT count(*) FROM cloakroom_setup WHERE hash = ? AND until > ?
			AND NOT EXISTS (SELECT 1 FROM cloakroom_user WHERE admin = 1)`,
		claim: `DELETE FROM cloakroom_setup WHERE hash = ? AND until > ?`,
	}
	for _, p := range []*string{
		&s.byName, &s.byID, &s.account, &s.state, &s.admins, &s.enabledAdmins, &s.create, &s.owner, &s.rename, &s.remove,
		&s.setPassword, &s.setHash, &s.changePassword, &s.rehash, &s.requireChange, &s.setDisabled, &s.setRoles,
		&s.raiseEpoch, &s.raiseEpochFrom, &s.raiseEpochAll, &s.setLink, &s.byLink, &s.takeLink, &s.setup, &s.checkSetup, &s.claim,
	} {
		*p = d.SQL(*p)
	}
	s.rewrapping(d)
	s.tallying(d)
	return s // but search, which Search makes whole
}
