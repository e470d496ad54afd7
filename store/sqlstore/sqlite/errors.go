package sqlite

import (
	"errors"
	"fmt"
	"strings"

	driver "modernc.org/sqlite"
)

// errClosed is what a closed database answers.
var errClosed = errors.New("sqlite: the database is closed")

// The primary result codes that are told apart (https://www.sqlite.org/rescode.html).
const (
	codeBusy     = 5
	codeLocked   = 6
	codeReadOnly = 8
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotADB   = 26
)

// code returns the primary result code of an error of SQLite, or 0.
func code(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// describe says in one line what went wrong and what to do.
func describe(path, doing string, err error) error {
	hint := ""
	switch code(err) {
	case codeBusy, codeLocked:
		hint = "another program holds it: end that program"
	case codeReadOnly:
		hint = "this user may not write to it or to its folder: change the owner or name another file"
	case codeCorrupt:
		hint = "it is damaged: restore a backup"
	case codeFull:
		hint = "the disk is full: make room"
	case codeCantOpen:
		hint = "it cannot be opened: check the permissions of the file and of its folder"
	case codeNotADB:
		hint = "it is not a SQLite database: name another file, or restore a backup"
	default:
		return fmt.Errorf("sqlite: %s %q: %w", doing, path, err)
	}
	return fmt.Errorf("sqlite: %s %q: %s: %w", doing, path, hint, err)
}

// oneLine keeps what SQLite says in one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
