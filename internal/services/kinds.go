package services

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
)

// maker is what one kind of server does differently from the others.
type maker struct {
	make  func(*Server) error                        // the data, once; may be nil
	serve func(*Server) (name string, args []string) // the command that runs it
	ping  func(*Server) error                        // nil once it answers
	setUp func(*Server) error                        // users and a first database, once; may be nil
	url   func(s *Server, addr, db string) string

	// of a server with databases
	sql          func(s *Server, db, sql string) error
	create, drop func(s *Server, db string) error
}

var makers map[Kind]maker

func init() { // in init, as its functions refer to it
	makers = map[Kind]maker{
		PostgresKind: {
			make: initPostgres, serve: servePostgres, setUp: setUpPostgres, url: urlOf("postgres", "?sslmode=disable"),
			ping: func(s *Server) error { return psql(s, "postgres", "SELECT 1") },
			sql:  psql,
			create: func(s *Server, db string) error {
				return psql(s, "postgres", `CREATE DATABASE "`+db+`" OWNER cloakroom`)
			},
			drop: func(s *Server, db string) error {
				return psql(s, "postgres", `DROP DATABASE IF EXISTS "`+db+`" WITH (FORCE)`)
			},
		},
		MariaDBKind: {
			make: initMariaDB, serve: serveMariaDB, setUp: setUpMariaDB, url: urlOf("mysql", ""),
			ping: func(s *Server) error {
				return s.run("", "mariadb-admin", "--no-defaults", "--user=root", "--password=", "--socket="+s.socket(), "--connect-timeout=1", "ping")
			},
			sql:    mysql,
			create: createMariaDB,
			drop:   func(s *Server, db string) error { return mysql(s, "", "DROP DATABASE IF EXISTS `"+db+"`") },
		},
		RedisKind: {
			serve: serveRedis,
			ping: func(s *Server) error {
				return s.dial(s.unlessTLS("*2\r\n$4\r\nAUTH\r\n$"+strconv.Itoa(len(s.Password))+"\r\n"+s.Password+"\r\n*1\r\n$4\r\nPING\r\n"), "+OK\r\n+PONG\r\n")
			},
			url: func(s *Server, addr, _ string) string {
				return s.unlessTLS2("redis", "rediss") + "://:" + s.Password + "@" + addr + "/0"
			},
		},
		MemcachedKind: {
			serve: serveMemcached,
			ping:  func(s *Server) error { return s.dial(s.unlessTLS("version\r\n"), "VERSION ") },
			url: func(s *Server, addr, _ string) string {
				return s.unlessTLS2("memcache", "memcaches") + "://" + addr
			},
		},
	}
}

func urlOf(scheme, query string) func(s *Server, addr, db string) string {
	return func(s *Server, addr, db string) string {
		u := url.URL{Scheme: scheme, User: url.UserPassword("cloakroom", s.Password), Host: addr, Path: "/" + db}
		return u.String() + query
	}
}

// unlessTLS returns ask, or nothing where the server would not understand it.
func (s *Server) unlessTLS(ask string) string {
	if s.tlsDir != "" {
		return ""
	}
	return ask
}

func (s *Server) unlessTLS2(plain, encrypted string) string {
	if s.tlsDir != "" {
		return encrypted
	}
	return plain
}

func (s *Server) socket() string { return filepath.Join(s.Dir, "sock") }

// pem is a file of the TLS directory, readable by the server's user alone, as
// PostgreSQL demands of a key.
func (s *Server) pem(name string) string {
	path := filepath.Join(s.Dir, name)
	if b, err := os.ReadFile(filepath.Join(s.tlsDir, name)); err == nil {
		_ = os.WriteFile(path, b, 0o600)
	}
	if uid, gid, ok := unprivileged(); ok {
		_ = os.Chown(path, uid, gid)
	}
	return path
}

func initPostgres(s *Server) error {
	file := filepath.Join(s.Dir, "password")
	if err := os.WriteFile(file, []byte(s.Password), 0o644); err != nil {
		return err
	}
	return s.run("", "initdb", "--pgdata="+filepath.Join(s.Dir, "data"), "--username=postgres", "--pwfile="+file,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
}

func servePostgres(s *Server) (string, []string) {
	args := []string{"-D", filepath.Join(s.Dir, "data"), "-p", strconv.Itoa(s.Port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" + s.Dir,
		"-c", "fsync=off", "-c", "dynamic_shared_memory_type=mmap", // which leaves nothing when it is killed
		"-c", "max_connections=300", "-c", "shared_buffers=64MB"}
	if s.tlsDir != "" {
		args = append(args, "-c", "ssl=on", "-c", "ssl_cert_file="+s.pem("cert.pem"), "-c", "ssl_key_file="+s.pem("key.pem"))
	}
	return "postgres", args
}

func setUpPostgres(s *Server) error {
	if err := psql(s, "postgres", "CREATE ROLE cloakroom LOGIN PASSWORD '"+s.Password+"'"); err != nil {
		return err
	}
	return psql(s, "postgres", "CREATE DATABASE cloakroom OWNER cloakroom")
}

func psql(s *Server, db, sql string) error {
	return s.run(sql, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1",
		"--host="+s.Dir, "--port="+strconv.Itoa(s.Port), "--username=postgres", "--dbname="+db)
}

func initMariaDB(s *Server) error {
	return s.run("", "mariadb-install-db", "--no-defaults", "--datadir="+filepath.Join(s.Dir, "data"),
		"--tmpdir="+s.Dir, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
}

func serveMariaDB(s *Server) (string, []string) {
	args := []string{"--no-defaults", "--datadir=" + filepath.Join(s.Dir, "data"), "--socket=" + s.socket(),
		"--pid-file=" + filepath.Join(s.Dir, "pid"), "--tmpdir=" + s.Dir, "--bind-address=127.0.0.1", "--port=" + strconv.Itoa(s.Port),
		"--skip-name-resolve", "--max-connections=300", "--innodb-flush-log-at-trx-commit=2",
		"--innodb-buffer-pool-size=64M"}
	if s.tlsDir != "" {
		args = append(args, "--ssl-cert="+s.pem("cert.pem"), "--ssl-key="+s.pem("key.pem"))
	}
	return "mariadbd", args
}

func setUpMariaDB(s *Server) error {
	// Root comes in through the socket alone, which is in a directory of its own.
	if err := mysql(s, "", "CREATE USER cloakroom@'127.0.0.1' IDENTIFIED BY '"+s.Password+"'"); err != nil {
		return err
	}
	return createMariaDB(s, "cloakroom")
}

func createMariaDB(s *Server, db string) error {
	return mysql(s, "", fmt.Sprintf("CREATE DATABASE `%[1]s`; GRANT ALL ON `%[1]s`.* TO cloakroom@'127.0.0.1'", db))
}

func mysql(s *Server, db, sql string) error {
	return s.run(sql, "mariadb", "--no-defaults", "--user=root", "--password=", "--socket="+s.socket(), "--database="+db)
}

func serveRedis(s *Server) (string, []string) {
	args := []string{"--bind", "127.0.0.1", "--dir", s.Dir, "--unixsocket", s.socket(),
		"--save", "", "--appendonly", "no", "--requirepass", s.Password}
	if s.tlsDir != "" {
		return "redis-server", append(args, "--port", "0", "--tls-port", strconv.Itoa(s.Port), "--tls-auth-clients", "no",
			"--tls-cert-file", s.pem("cert.pem"), "--tls-key-file", s.pem("key.pem"), "--tls-ca-cert-file", s.pem("ca.pem"))
	}
	return "redis-server", append(args, "--port", strconv.Itoa(s.Port))
}

func serveMemcached(s *Server) (string, []string) {
	args := []string{"-l", "127.0.0.1", "-p", strconv.Itoa(s.Port), "-U", "0", "-m", "256", "-I", "2m"}
	if s.tlsDir != "" {
		args = append(args, "-Z", "-o", "ssl_chain_cert="+s.pem("cert.pem")+",ssl_key="+s.pem("key.pem"))
	}
	return "memcached", args
}
