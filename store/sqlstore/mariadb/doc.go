// Package mariadb keeps Cloakroom's sessions and users in MariaDB or MySQL, so
// that many instances of a program share them. It is tested with MariaDB 10.11;
// for MySQL it keeps to what the manual of 8.0 says.
//
//	db, err := mariadb.Open(ctx, "mysql://cloakroom:secret@db.example:3306/cloakroom?tls=true", nil)
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	sessions := db.Store()
//	users, err := sqlusers.New(ctx, db)
//
// # The URL
//
// The scheme is mysql or mariadb; both mean the same. Parameters behind the ?:
//
//	tls=true          encrypt, and verify that the other end is the host
//	ca=/path          trust the certificates in this file instead of the system's
//	cert=, key=       a client certificate
//	server-name=      the name in the server's certificate, if it is not the host
//	socket=/path      a Unix socket in place of host and port
//
// An @ in any part of the URL, such as the password, is written %40.
//
// Another host than this machine needs TLS; [Options.AllowPlaintext] goes without.
//
// A read, and a write that succeeds, is one round trip: arguments are written into
// the statement, bytes as binary literals. The session's settings are this
// package's own, whatever the server's are: strict mode, so that nothing is cut in
// silence; UTC; autocommit; UTF-8, in which no byte hides a quote. The server's
// max_allowed_packet must be 4 MiB at least, for sessions of 1 MiB.
//
// # What is kept
//
// A write that has returned nil is committed to InnoDB:
//
//	the program is killed               kept
//	the server is killed                kept
//	the server loses power              kept with innodb_flush_log_at_trx_commit=1
//	                                    and, where there is a binary log,
//	                                    sync_binlog=1; [DB.Durable] looks
//	the primary is lost and a replica   lost, as far as the replica lagged behind:
//	takes over                          semi-synchronous replication narrows it,
//	                                    Galera certifies before it commits
//
// Lost means undone as if it had never been, back to a moment before: a session
// that was ended in the last second lives again.
//
// Reads go where writes go: a replica that lags, or another node of a Galera
// cluster without wsrep_sync_wait, would show a session that has ended. Let all
// instances name the same node. Where a write was not answered, since the link
// broke or the context ended, it may have been kept or not; it is not sent again,
// and whoever wants to know reads the record.
//
// # Rights
//
// The user needs CREATE, ALTER and INDEX for the first start and after an update
// that alters the tables, which several instances may run at once: one that is
// killed in the middle is no harm, the next goes on where it was. Otherwise these
// are enough (ASVS 13.2.2), on cloakroom_session and cloakroom_key and, where users
// are kept beside them, on cloakroom_user, cloakroom_epoch and cloakroom_setup; where
// failed logins are counted beside them, by sqlthrottle, on cloakroom_throttle:
//
//	GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom.cloakroom_session TO app;
//	GRANT SELECT ON cloakroom.cloakroom_schema TO app;
//
// and for the service's audit log, which without DELETE is kept for ever:
//
//	GRANT SELECT, INSERT, DELETE ON cloakroom.cloakroom_audit TO app;
//	GRANT SELECT, UPDATE ON cloakroom.cloakroom_audit_head TO app;
//
// Its instances tell each other, of keys above all, in cloakroom_instances,
// cloakroom_leases and cloakroom_signals: the rights of cloakroom_session there, too.
package mariadb
