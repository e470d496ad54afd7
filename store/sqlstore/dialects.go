package sqlstore

import (
	"strconv"
	"strings"
)

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
	Find:     instr,
	Upsert:   onConflict,
	DeleteFew: func(table, key, query, where string) string {
		return "DELETE FROM " + table + " WHERE " + key + " IN (" + query + ") AND " + where
	},
	UpdateFew: func(table, key, query, set string) string {
		return "UPDATE " + table + " SET " + set + " WHERE " + key + " IN (" + query + ")"
	},
}

// PostgreSQL is the dialect of PostgreSQL 12 and newer.
//
// The few rows stand in an array, since a subquery of its own may be run again
// for every row, each time with a LIMIT of its own. What another sweep holds is
// left to it.
var PostgreSQL = &Dialect{
	Name:     "postgres",
	Numbered: true,
	Int:      "BIGINT",
	Bytes:    "BYTEA",
	Key:      func(int) string { return "BYTEA" },
	Greatest: "greatest",
	Least:    "least",
	Clock:    "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
	Partial:  true,
	Find:     func(column string) string { return "position(? IN " + column + ")" },
	Upsert:   onConflict,
	DeleteFew: func(table, key, query, where string) string {
		return "DELETE FROM " + table + " WHERE " + key + " = ANY (ARRAY(" + query + " FOR UPDATE SKIP LOCKED)) AND " + where
	},
	UpdateFew: func(table, key, query, set string) string {
		return "UPDATE " + table + " SET " + set + " WHERE " + key + " = ANY (ARRAY(" + query + " FOR UPDATE SKIP LOCKED))"
	},
}

// MariaDB is the dialect of MariaDB 10.3 and MySQL 8.0, and newer ones.
//
// Its INSERT fails where a row with the key exists, rather than to be told to
// ignore that: told so, the database ignores other faults as well, and cuts what
// is too long. [OrNothing] marks the statements of which this failure is an
// answer.
var MariaDB = &Dialect{
	Name:     "mariadb",
	Int:      "BIGINT",
	Bytes:    "MEDIUMBLOB",
	Key:      varbinary,
	Greatest: "greatest",
	Least:    "least",
	// The session's time zone is UTC; in another an hour comes twice a year.
	Clock: "CAST(unix_timestamp(now(3)) * 1000 AS SIGNED)",
	Find:  instr, // of a binary string it is one of bytes
	Table: " ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
	Steps: true,
	Upsert: func(_ string, columns ...string) string {
		if len(columns) == 0 {
			return OrNothing
		}
		return "ON DUPLICATE KEY UPDATE " + each(columns, func(c string) string { return c + " = VALUES(" + c + ")" })
	},
	// Neither statement may name its table in a subquery with a LIMIT, but both
	// may join one.
	DeleteFew: func(table, key, query, where string) string {
		return "DELETE t FROM " + table + " t JOIN (" + query + ") few ON few." + key + " = t." + key + " WHERE t." + where
	},
	UpdateFew: func(table, key, query, set string) string {
		return "UPDATE " + table + " t JOIN (" + query + ") few ON few." + key + " = t." + key + " SET t." + set
	},
}

// OrNothing ends an INSERT of the MariaDB dialect that leaves a row with its key
// as it is. DB.Exec and the Queryer of DB.Write report the database's error of a
// duplicate key as no row changed for such a statement, and for no other.
const OrNothing = "/* or nothing */"

func varbinary(n int) string {
	if n > 3072 { // InnoDB's longest key in bytes
		panic("sqlstore: an index holds no key of this size")
	}
	return "VARBINARY(" + strconv.Itoa(n) + ")"
}

// instr is the Find of SQLite and MariaDB.
func instr(column string) string { return "instr(" + column + ", ?)" }

// onConflict is the Upsert of SQLite and PostgreSQL.
func onConflict(key string, columns ...string) string {
	if len(columns) == 0 {
		return "ON CONFLICT (" + key + ") DO NOTHING"
	}
	return "ON CONFLICT (" + key + ") DO UPDATE SET " + each(columns, func(c string) string { return c + " = excluded." + c })
}

func each(columns []string, f func(string) string) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = f(c)
	}
	return strings.Join(list, ", ")
}
