package mariadb

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/server"
)

// The error numbers that are told apart
// (https://mariadb.com/kb/en/mariadb-error-code-reference/).
const (
	duplicateEntry    = 1062
	lockWaitTimeout   = 1205
	deadlock          = 1213
	changedSinceRead  = 1020
	optionReadOnly    = 1290
	readOnly          = 1792
	readOnlyMode      = 1836
	tableExists       = 1050
	columnExists      = 1060
	indexExists       = 1061
	nothingToDrop     = 1091
	accessDenied      = 1045
	databaseDenied    = 1044
	tableDenied       = 1142
	unknownDatabase   = 1049
	tooManyConns      = 1040
	tooManyOfTheUser  = 1203
	noSuchTable       = 1146
	insecureTransport = 3159
)

// hints say what to do about an error.
var hints = map[uint16]string{
	accessDenied:      "the password is wrong, or there is no such user: set both in the URL",
	databaseDenied:    "this user has no right to the database: GRANT it",
	tableDenied:       "this user lacks a right: see the package comment for those it needs",
	unknownDatabase:   "there is no such database: make it with CREATE DATABASE",
	tooManyConns:      "the server has no connection left: raise its max_connections, or lower MaxConns",
	tooManyOfTheUser:  "the user has no connection left: raise max_user_connections, or lower MaxConns",
	noSuchTable:       "the tables are missing: start once as a user who may make them",
	optionReadOnly:    "the server takes no writes: name the primary",
	readOnly:          "the server takes no writes: name the primary",
	readOnlyMode:      "the server takes no writes: name the primary",
	insecureTransport: "the server wants TLS: add tls=true to the URL",
}

// number returns the error number of the server, or 0.
func number(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// isDone tells whether an error says that the work is done already.
func isDone(err error) bool {
	switch number(err) {
	case tableExists, columnExists, indexExists, nothingToDrop:
		return true
	}
	return false
}

// isLink tells whether an error is of the connection: to make it, or lost.
func isLink(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	return errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, mysql.ErrNoTLS)
}

// rules returns what errors mean.
func rules(password string) server.Rules {
	return server.Rules{
		// After lockWaitTimeout the server may keep what the transaction did
		// before: package server rolls it back.
		Undone: func(err error) bool {
			switch number(err) {
			case deadlock, lockWaitTimeout, changedSinceRead:
				return true
			}
			return false
		},
		ReadOnly: func(err error) bool {
			switch number(err) {
			case optionReadOnly, readOnly, readOnlyMode:
				return true
			}
			return false
		},
		Nothing: func(query string, err error) bool {
			return number(err) == duplicateEntry && strings.HasSuffix(query, sqlstore.OrNothing)
		},
		Describe: func(err error) error { return describe(err, password) },
	}
}

// describe says in one line what went wrong and what to do.
func describe(err error, secrets ...string) error {
	my, isMy := errors.AsType[*mysql.MySQLError](err)
	patience := server.Patience(err)
	broken := isLink(err)
	if !isMy && !broken && patience == nil {
		return err // not of the server: a SchemaError, an error of whoever wrote
	}
	e := &server.Error{Text: "mariadb: " + link.Redact(err.Error(), secrets...)}
	if hint := hints[number(err)]; hint != "" {
		e.Text = "mariadb: " + hint + ": " + link.Redact(err.Error(), secrets...)
	}
	if e.Cause = patience; isMy {
		e.Cause = my
	}
	return e
}
