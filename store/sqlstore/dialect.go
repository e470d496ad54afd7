package sqlstore

import (
	"strconv"
	"strings"
)

// Dialect says what one database writes differently from the others. The
// statements of this package and of auth/sqlusers are written once, with ? for
// arguments, and are put together from a Dialect when a store is made. There are
// three: [SQLite], [PostgreSQL] and [MariaDB].
type Dialect struct {
	// Name is the database's name in errors.
	Name string

	// Numbered asks for $1, $2, … in place of ?.
	Numbered bool

	// Int is the type of a signed 64-bit integer, Bytes that of up to 1 MiB of
	// bytes and more.
	Int, Bytes string

	// Key returns the type of up to n bytes that an index can hold. They compare
	// byte by byte: no collation, no case.
	Key func(n int) string

	// Greatest and Least are the functions of two arguments.
	Greatest, Least string

	// Clock is the database's own time in milliseconds since 1970, as an
	// expression of type Int. No time zone changes it.
	Clock string

	// Partial says that CREATE INDEX takes a WHERE.
	Partial bool

	// Find returns the place, from 1, at which a column of bytes holds those of an
	// argument, byte by byte: no pattern, no case. It is 0 where it does not.
	Find func(column string) string

	// Table is what follows the closing parenthesis of CREATE TABLE.
	Table string

	// Steps says that a CREATE or an ALTER cannot be undone with the transaction
	// it is part of, so that a migration has to be able to go on in its middle.
	Steps bool

	// Upsert returns what follows INSERT … VALUES (…) where a row with this key
	// exists: set these columns to what was to be inserted or, without any,
	// leave the row and count no change.
	Upsert func(key string, columns ...string) string

	// DeleteFew deletes those rows of a table that a query names by their key,
	// as far as they meet a condition; UpdateFew sets columns of them. The query
	// has a LIMIT, and its arguments come first.
	DeleteFew func(table, key, query, where string) string
	UpdateFew func(table, key, query, set string) string
}

// SQL puts a statement into the dialect: it replaces {int}, {bytes}, {key:N} with
// a number of bytes, {greatest}, {least}, {clock} and {table}, and numbers the
// arguments if the dialect wants that. No literal in the statement holds a ? or
// a {. What is unknown panics: the statements are the program's own.
func (d *Dialect) SQL(query string) string {
	var b strings.Builder
	arg := 0
	for {
		i := strings.IndexAny(query, "?{")
		if i < 0 {
			b.WriteString(query)
			return b.String()
		}
		b.WriteString(query[:i])
		if query[i] == '?' {
			arg++
			b.WriteString(d.placeholder(arg))
			query = query[i+1:]
			continue
		}
		word, rest, ok := strings.Cut(query[i+1:], "}")
		if !ok {
			panic("sqlstore: statement with an open brace")
		}
		b.WriteString(d.word(word))
		query = rest
	}
}

func (d *Dialect) placeholder(n int) string {
	if d.Numbered {
		return "$" + strconv.Itoa(n)
	}
	return "?"
}

func (d *Dialect) word(word string) string {
	switch word {
	case "int":
		return d.Int
	case "bytes":
		return d.Bytes
	case "greatest":
		return d.Greatest
	case "least":
		return d.Least
	case "clock":
		return d.Clock
	case "table":
		return d.Table
	}
	if size, ok := strings.CutPrefix(word, "key:"); ok {
		if n, err := strconv.Atoi(size); err == nil {
			return d.Key(n)
		}
	}
	panic("sqlstore: statement with {" + word + "}")
}

// Where returns the condition of a partial index, or nothing where an index
// covers every row.
func (d *Dialect) Where(condition string) string {
	if !d.Partial {
		return ""
	}
	return " WHERE " + condition
}
