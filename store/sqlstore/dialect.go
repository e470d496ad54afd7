package sqlstore

import (
	"strconv"
	"strings"
)

// Dialect says what one database writes differently from the others. The
// statements of this package and of auth/sqlusers are written once, with ? for
// arguments, and are put together from a Dialect when a store is made.
type Dialect struct {
	// Name is the database's name in errors.
	Name string

	// Numbered asks for $1, $2, … in place of ?.
	Numbered bool

	// Int is the type of a signed 64-bit integer, Bytes that of up to 1 MiB of
	// bytes.
	Int, Bytes string

	// Key returns the type of up to n bytes that an index can hold. They compare
	// byte by byte: no collation, no case.
	Key func(n int) string

	// Greatest and Least are the functions of two arguments.
	Greatest, Least string

	// Clock is the database's own time in milliseconds since 1970, as an
	// expression of type Int.
	Clock string

	// Partial says that CREATE INDEX takes a WHERE.
	Partial bool

	// Upsert returns what follows INSERT … VALUES (…) where a row with this key
	// exists: set these columns to what was to be inserted or, without any,
	// leave the row and count no change.
	Upsert func(key string, columns ...string) string
}

// SQLite is the dialect of SQLite 3.42 and newer.
var SQLite = &Dialect{
	Name:     "sqlite",
	Int:      "INTEGER",
	Bytes:    "BLOB",
	Key:      func(int) string { return "BLOB" },
	Greatest: "max",
	Least:    "min",
	Clock:    "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
	Partial:  true,
	Upsert: func(key string, columns ...string) string {
		if len(columns) == 0 {
			return "ON CONFLICT (" + key + ") DO NOTHING"
		}
		set := make([]string, len(columns))
		for i, c := range columns {
			set[i] = c + " = excluded." + c
		}
		return "ON CONFLICT (" + key + ") DO UPDATE SET " + strings.Join(set, ", ")
	},
}

// SQL puts a statement into the dialect: it replaces {int}, {bytes}, {key N},
// {greatest}, {least} and {clock}, and numbers the arguments if the dialect
// wants that. The statement holds no ? and no { in a literal.
func (d *Dialect) SQL(query string) string {
	query = strings.NewReplacer(
		"{int}", d.Int,
		"{bytes}", d.Bytes,
		"{key16}", d.Key(16),
		"{key32}", d.Key(32),
		"{key255}", d.Key(255),
		"{greatest}", d.Greatest,
		"{least}", d.Least,
		"{clock}", d.Clock,
	).Replace(query)
	if !d.Numbered {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r == '?' {
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Where returns the condition of a partial index, or nothing where an index
// covers every row.
func (d *Dialect) Where(condition string) string {
	if !d.Partial {
		return ""
	}
	return " WHERE " + condition
}
