package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/server"
)

// The SQLSTATEs that are told apart
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	readOnlyTransaction  = "25006"
)

// hints say what to do about an error.
var hints = map[string]string{
	"28P01":             "the password is wrong, or there is no such user: set both in the URL",
	"28000":             "the server's pg_hba.conf does not let this user in from here",
	"3D000":             "there is no such database: make it with CREATE DATABASE",
	"42501":             "this user lacks a right: see the package comment for those it needs",
	"53300":             "the server has no connection left: raise its max_connections, or lower MaxConns",
	"42P01":             "the tables are missing: start once as a user who may make them",
	readOnlyTransaction: "the server takes no writes: name the primary, or several hosts and target_session_attrs=read-write",
}

// state returns the SQLSTATE of an error, or "".
func state(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// rules returns what errors mean.
func rules(password string) server.Rules {
	return server.Rules{
		// The server says so of a COMMIT too, and then has rolled back.
		Undone: func(err error) bool {
			s := state(err)
			return s == serializationFailure || s == deadlockDetected
		},
		ReadOnly: func(err error) bool { return state(err) == readOnlyTransaction },
		Describe: func(err error) error { return describe(err, password) },
	}
}

// describe says in one line what went wrong and what to do.
func describe(err error, secrets ...string) error {
	pg, isPG := errors.AsType[*pgconn.PgError](err)
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	patience := server.Patience(err)
	if !isPG && !connecting && patience == nil {
		return err // not of the server: a SchemaError, an error of whoever wrote
	}
	e := &server.Error{Text: "postgres: " + link.Redact(err.Error(), secrets...)}
	if hint := hints[state(err)]; hint != "" {
		e.Text = "postgres: " + hint + ": " + link.Redact(err.Error(), secrets...)
	}
	if e.Cause = patience; isPG {
		e.Cause = pg
	}
	return e
}
