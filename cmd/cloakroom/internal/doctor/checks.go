package doctor

// A Check is one thing that is looked at.
type Check struct {
	ID    string // stable
	Looks string // what is wrong if it finds something
	Why   string // what happens if it stays
}

// Checks are all checks but those of the public address, in the order of the
// documentation.
var Checks = []Check{
	{"config", "a setting that is wrong, or an unknown one", "the service does not start like this"},
	{"cookie-insecure", "`public-url` is http", "the session's cookie has no Secure attribute: it is for trying things out on this machine"},
	{"public-url-missing", "the service is reached from elsewhere and has no `public-url`", "invitations and password links lead to localhost"},
	{"listen-plain", "plain http on an address that others reach", "whoever reaches the port goes around the proxy that ends TLS, and reads what passes"},
	{"proxies-missing", "behind a proxy and no `trusted-proxies`", "everybody seems to come from one address: a hundred wrong passwords from anywhere make all wait"},
	{"proxies-wide", "`trusted-proxies` that take in half the internet", "anybody can claim any address, and so guess passwords without ever being made to wait"},
	{"plaintext-link", "links to servers elsewhere without TLS", "sessions, hashes and the server's password can be read and changed on the way"},
	{"anonymous-store", "servers elsewhere that take whoever comes", "whatever runs in that network can end every session, or read every account"},
	{"admin-listen", "`admin-listen` is the address of `listen`", "one of the two cannot listen, and the service does not start"},
	{"audit-retention", "an audit log that is kept for ever, or for days", "it grows without end; or what happened is gone before anybody asks"},

	{"data-mode", "a data directory that others may enter", "database, keys and backups in it are protected by their own modes alone, and new files are easily forgotten"},
	{"database-mode", "a database, its log or a copy beside it that others can read", "it holds password hashes and the names of all users"},
	{"file-owner", "files of the service that belong to somebody else", "the service cannot read or replace them; or somebody else can"},
	{"data-place", "data in memory or in a folder that is emptied", "a restart forgets everything: accounts, sessions and keys"},
	{"data-network", "SQLite on a network file system", "its log does not work there: the database gets damaged"},
	{"key-mode", "a key file that others can read", "whoever reads it can make a session of any user's"},
	{"key-folder", "a key file in a folder that others may write to", "whoever may rename files there puts a key of their own in its place"},
	{"key-links", "a key file with another name (hard link)", "under the other name the same keys are read with that name's rights, and a rotation leaves the old ones there"},
	{"key-copies", "copies of the key file beside it, and what a write that was cut off has left there", "copies are forgotten, backed up and committed; a key that was retired lives on in them"},
	{"secret-mode", "other files with secrets that others can read", "whoever reads one can reach the database with it"},
	{"web-folder", "secrets within the folder of a web server", "one wrong line in its configuration serves them to everybody"},
	{"git-tracked", "secrets in a git repository", "everybody who has ever cloned it has them, and deleting the file does not take them back"},
	{"git-ignored", "secrets in a git work tree that are not ignored", "the next \"git add .\" publishes them"},

	{"key-source", "keys that cannot be read, or are not keys", "the service does not start, or does not follow a rotation"},
	{"key-age", "a key that signs for over a year, or longer than `key-rotation`", "the longer a key is used, the more copies of it there are"},
	{"key-age-unknown", "a key without a date", "nobody knows when it is due for an exchange"},
	{"key-future", "a key from the future", "the clock is wrong, here or where it was made: times of sessions would be, too"},
	{"key-next", "a key that has been next for a month", "a rotation was begun and not finished"},
	{"key-retired", "retired keys that are still kept", "what is not there cannot leak"},
	{"key-retires-early", "a key that retires while sessions need it", "whoever was signed in under it is signed out at that moment"},
	{"key-retires-late", "a key that is accepted for longer than a session lives", "it protects nothing any more, and is worth stealing all the while"},
	{"key-count", "nearly as many keys as a ring holds", "the next rotations will fail"},
	{"key-registry", "the key that was used last is missing", "the service refuses to start without it: sessions and sealed hashes are under that key, or are about to be"},
	{"key-shared", "our key under another name: another program signs with it", "what the other program signs, or leaks, is good here; and neither can rotate alone"},

	{"database-reachable", "accounts or sessions that cannot be reached", "nobody can sign in, and every page answers 503"},
	{"database-missing", "a database that is not there", "there are no users yet; or the settings name another place than the service's"},
	{"latency", "a store that takes long to answer, compared with `store-timeout`", "calls that take too long are given up, and pages answer 503"},
	{"clock", "the clocks of this machine and of a server differ", "sessions end too early or too late; from five minutes on what has expired is not removed any more"},
	{"durability", "a server that may lose what it has acknowledged", "a crash brings ended sessions back, or signs everybody out"},
	{"replica", "a server that takes no writes", "nobody can sign in or out: it is a copy of the server that takes them"},
	{"failover", "replicas that may be behind", "if one takes over, what was acknowledged last is lost: a session that was ended lives again"},
	{"eviction", "a server that throws out sessions when memory is short", "people are signed out at random"},
	{"memory-full", "a server whose memory is nearly full", "new sessions are refused, or old ones thrown out"},
	{"item-size", "a server that takes no large sessions", "saving a session that grows fails"},
	{"store-volatile", "sessions in memory", "a restart signs everybody out, and a second instance knows none of them"},
	{"accounts-local", "sessions are shared and accounts are not", "an instance on another machine ends sessions whose user it does not know"},
	{"schema", "tables that are older or newer than this program", "older ones are upgraded at the next start, which needs a backup first; with newer ones the service does not start"},
	{"rights", "a database user with too many rights, or too few", "too many: a fault in the service becomes one of the whole server; too few: pages answer 503"},
	{"session-size", "sessions over half of the largest size", "at the largest size saving fails; long before that every request carries the weight"},
	{"session-growth", "sessions that grow with their age", "something is added at every request and never removed: they will reach the largest size"},
	{"sweep", "expired sessions that nobody removes", "the database grows without end"},

	{"no-admin", "no administrator who can sign in", "nobody can invite, unlock or disable anybody from the pages"},
	{"one-admin", "only one administrator who can sign in", "if that person loses the password only this machine's owner can help"},
	{"pepper-plain", "`pepper` is on and hashes are not encrypted", "those of people who do not sign in stay readable for whoever gets the database"},
	{"pepper-key", "hashes encrypted under a key that is gone", "these people cannot sign in until the key is back or they get a new password"},
	{"fleet-keys", "running instances with different keys", "whoever is signed in on one is a stranger on the other"},
	{"fleet-failing", "running instances that cannot look at their keys", "they go on with the keys they have, and will not follow a rotation"},
	{"fleet-version", "running instances of different versions", "fine while an upgrade runs, and not for long"},
	{"fleet-url", "running instances of different public addresses on one database", "one key is used by two applications: a session of one is good at the other"},

	{"tls-files", "a certificate and key that cannot be read or do not match", "the service does not start"},
	{"tls-expired", "a certificate that has expired, or is not valid yet", "browsers refuse the site"},
	{"tls-expiring", "a certificate that expires within two weeks", "browsers will refuse the site"},
	{"tls-host", "a certificate for other names than that of `public-url`", "browsers refuse the site"},
	{"tls-chain", "a chain without the certificates in between, or in the wrong order", "programs and some phones refuse the site while desktop browsers do not"},
	{"tls-weak", "a certificate with a short key or an old signature", "browsers refuse it, or anybody can forge it before long"},
	{"tls-key-mode", "a certificate's key that others can read", "whoever reads it can be this site to its users"},

	{"disk-space", "a disk that is nearly full", "nobody can sign in once it is: a session cannot be written"},
	{"file-limit", "few files at once", "each connection is a file: beyond the limit visitors are not let in"},
	{"clock-set", "a clock that stands before this program was made", "sessions and certificates are judged by it"},
}

// why returns why a check matters. Naming none of the list is a mistake of ours.
func why(id string) string {
	for _, c := range Checks {
		if c.ID == id {
			return c.Why
		}
	}
	panic("doctor: no check " + id)
}
