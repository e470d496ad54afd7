// Package password hashes passwords and verifies them, a bounded number at a
// time, and says which passwords may be set.
//
// Most programs take one [Hasher] and one [Policy] with the defaults:
//
//	h, err := password.New(nil)
//	…
//	err = policy.Check(password, user)         // before one is set
//	phc, err := h.Hash(ctx, password)          // store phc with the account
//	ok, err := h.Verify(ctx, phc, password)    // at login
//
// A hash costs 19 MiB and about 16 ms of a core, by intent: what costs a guesser
// that much costs the server as well. Two hundred logins at once would take
// gigabytes. So a Hasher works on a few at a time, lets a bounded number wait,
// and refuses the others at once with a [BusyError]. Sources of calls take turns,
// see [WithSource]. A program needs one Hasher; two have two bounds.
//
// The algorithm is argon2id (RFC 9106), the form the PHC string
//
//	$argon2id$v=19$m=19456,t=2,p=1$salt$key
//
// or, with a [Pepper], that string encrypted.
//
// # Hashes of other programs
//
// Verify takes what other programs have stored, so that their users can move
// without setting new passwords. [Hasher.NeedsRehash] is true for it, unless it is
// argon2id with the parameters of new hashes: a login makes it that. Options.Memory
// may allow less than stands here.
//
//	bcrypt         $2a$ $2b$ $2y$           passlib, htpasswd -B    accepted, cost 4 to 14
//	               bcrypt$$2b$              Django                  likewise
//	               $2$ $2x$                                         refused: wrong beyond ASCII
//	bcrypt_sha256  $bcrypt-sha256$2b,12$    passlib, version 1      accepted
//	               $bcrypt-sha256$v=2,      passlib, version 2      accepted
//	               bcrypt_sha256$$2b$       Django                  accepted
//	scrypt         $scrypt$ln=15,r=8,p=1$   passlib                 accepted, to 256 MiB
//	               scrypt:32768:8:1$        Werkzeug                likewise
//	               scrypt$16384$salt$8$5$   Django                  likewise
//	PBKDF2         $pbkdf2$ (SHA-1) $pbkdf2-sha256$ $pbkdf2-sha512$
//	                                        passlib                 accepted, to 2,500,000 iterations
//	               pbkdf2_sha1$ pbkdf2_sha256$
//	                                        Django                  likewise
//	               pbkdf2:sha1: pbkdf2:sha256: pbkdf2:sha512:
//	                                        Werkzeug                likewise
//	argon2         $argon2id$ $argon2i$     passlib                 accepted, version 19, to 256 MiB
//	               argon2$argon2id$         Django                  likewise
//	               $argon2d$                passlib                 refused: golang.org/x/crypto has none
//	SHA-crypt      $5$ $6$                  passlib, crypt(3)       accepted, 1,000 to 1,000,000 rounds
//	MD5-crypt      $apr1$ $1$               htpasswd -m             refused: weak
//	digests        {SHA} {SSHA}             htpasswd -s, LDAP       refused: weak, or without a salt
//	               md5$ sha1$ unsalted_md5$ Django                  refused: weak, or without a salt
//
// A salt has 8 bytes at least. What is refused, or not within the bounds, lets
// nobody in, see [Hasher.Check]; its owner needs a new password. Bounds are
// checked before any work, and what a hash needs counts for the pool: one of
// scrypt its 128·N·r bytes, one of bcrypt or PBKDF2 a place. The slowest within
// the bounds hold a place for about two seconds.
//
// bcrypt sees 72 bytes of a password, and "a" and "a\x00a" as one. A password
// that is longer or has a NUL is refused after the same work, even if it is the
// one that was set: else one that is not would get in. SHA-crypt takes the longer
// the longer a password is, so that over 256 bytes are refused, after the work of
// those.
//
// # What counts as the same password
//
// A password is verified exactly as received: nothing is cut, trimmed or folded
// (ASVS 6.2.8), with one exception. Keyboards and systems write one character
// in several ways, é as one code point or as two; so the password is put into
// Unicode's Normalization Form C first (NIST SP 800-63B-4 §3.1.1.2). Bytes that are
// no UTF-8 stay as they are. Hashes of other programs were made of the bytes as
// they were typed, and that is what is tried, once; but for those of passlib's
// argon2id, which look like this package's own.
package password
