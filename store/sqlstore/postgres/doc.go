// Package postgres keeps Cloakroom's sessions and users in PostgreSQL, 12 and
// newer, so that many instances of a program share them.
//
//	db, err := postgres.Open(ctx, "postgres://cloakroom:secret@db.example:5432/cloakroom?sslmode=verify-full", nil)
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	sessions := db.Store()
//	users, err := sqlusers.New(ctx, db)
//
// # The URL
//
// It is libpq's: sslmode, sslrootcert, sslcert, sslkey, target_session_attrs,
// several hosts, and for what it leaves out PGPASSFILE and the other variables
// (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING).
// An @ in any part of it, such as the password, is written %40. Another host than
// this machine needs sslmode=verify-full, with which nobody on the way can read or
// answer; [Options.AllowPlaintext] takes less.
//
// A read, and a write that succeeds, is one round trip. To that end statements are
// prepared, once on each connection, which costs the first of them one more. A
// PgBouncer that pools by transaction gives a connection to others in between:
// before version 1.21 add default_query_exec_mode=exec to the URL, which prepares
// nothing and is one round trip as well.
//
// # What is kept
//
// A write that has returned nil is committed:
//
//	the program is killed               kept
//	the server is killed, or loses      kept with fsync and synchronous_commit on,
//	power                               which are the defaults; [DB.Durable] looks
//	the primary is lost and a replica   lost, as far as the replica lagged behind:
//	takes over                          synchronous_standby_names makes it wait
//
// Lost means undone as if it had never been, back to a moment before: a session
// that was ended in the last second lives again. With synchronous_standby_names
// a commit is acknowledged when a replica has it too.
//
// Reads go where writes go, to the primary: a replica that lags would show a
// session that has ended. Where a write was not answered, since the link broke or
// the context ended, it may have been kept or not; it is not sent again, and
// whoever wants to know reads the record.
//
// # Rights
//
// The user needs CREATE on the schema for the first start and after an update
// that alters the tables, which several instances may run at once. Otherwise
// these are enough (ASVS 13.2.2):
//
//	GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom_session, cloakroom_key TO app;
//	GRANT SELECT ON cloakroom_schema TO app;
//	-- and, where users are kept beside them:
//	GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom_user, cloakroom_epoch, cloakroom_setup TO app;
//	-- where failed logins are counted beside them, by sqlthrottle:
//	GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom_throttle TO app;
//	-- for the service, its audit log; without DELETE it is kept for ever:
//	GRANT SELECT, INSERT, DELETE ON cloakroom_audit TO app;
//	GRANT SELECT, UPDATE ON cloakroom_audit_head TO app;
//	-- and what its instances tell each other, of keys above all:
//	GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom_instances, cloakroom_leases, cloakroom_signals TO app;
package postgres
