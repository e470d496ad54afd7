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

// SQL puts a statement into the dialect: it replaces {int}, {bytes}, {key:N} with
// a number of bytes, {greatest}, {least} and {clock}, and numbers the arguments
// if the dialect wants that. No literal in the statement holds a ? or a {.
// What is unknown panics: the statements are the program's own.
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
