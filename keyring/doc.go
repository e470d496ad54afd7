// Package keyring makes, reads and rotates the keys that sign cookies and seal
// sessions.
//
// Most programs need two lines of it. [OpenFile] makes the key file at the
// first start and reads it ever after:
//
//	keys, err := keyring.OpenFile("keys")
//
// and the ring goes to cloakroom.New. Where several instances share a store,
// all of them need the same keys, so none may make its own: make one, deploy it as
// a secret, and [Load] it from the [Source] that it comes from:
//
//	keys, err := keyring.Load(ctx, keyring.Env("APP_KEYS"))                  // an environment variable
//	keys, err := keyring.Load(ctx, keyring.MountedFile("/run/secrets/keys")) // Docker, Kubernetes, systemd
//	keys, err := keyring.Load(ctx, keyring.File("/etc/app/keys"))            // a file of its own
//
// Packages beside this one are sources for HashiCorp Vault and OpenBao, the secret
// managers of AWS and Google, .env files, and files encrypted with age. Whatever has a
// Read method may be one; [Read] takes the text from anywhere. There is no default
// key, and none is made up in memory without being asked for by name ([Generate]).
//
// # What a text of keys looks like
//
// One key a line, as cloakroom key new, [Key.Text] and [Text] write it, with any
// number of comments:
//
//	# keys of the shop
//	cloakroom-key-v1 02b7c461 2026-01-02T03:04:05Z active JaTqg…
//	cloakroom-key-v1 1c303486 2026-06-07T08:09:10Z next Ud7bO…
//
// or one bare secret of at least 32 random bytes, as openssl rand -hex 32, openssl
// rand -base64 32 and Python's secrets.token_urlsafe(32) print it. Secrets that are
// short, typed, or stand in somebody's documentation are refused (ASVS 11.2.3): see
// [Read].
//
// That finds what people type and publish, and not every weak source: from 32 bytes
// nobody can tell whether they were random. It does not know most words of languages
// other than English, nor words with digits for letters, where they look like base64;
// passwords that a key derivation function was given; random numbers that were not made
// for secrets, but for those of the best-known seeds; or a good secret that has been used
// elsewhere. To judge the first key takes some tens of milliseconds, and 4 MiB from then
// on; a program that judges none pays nothing.
//
// # Rotating
//
// A [Ring] holds one active key, which signs, and any number of others that are
// accepted only: next keys, which will be active soon, and retiring keys, until
// their time has passed. That is all it takes to rotate without signing anyone
// out (ASVS 13.3.4): give every instance the next key ([Announce]), then make it active
// and let the old one retire for as long as a session may live ([Activate]), then drop
// it ([Prune]). Between two steps every instance has to have read what the one before
// wrote: so none ever meets a cookie under a key that it does not know. [Rollback] goes
// back from the second to the first. Each of these returns the keys of the next state,
// and leaves those that it is given as they are. [Edit] takes such a step in a source
// that can be written to, and [Ring.Follow] keeps a ring to what its source says, without
// a restart:
//
//	go keys.Follow(ctx, src, nil)
//
// # Purposes
//
// No key is used directly. [Ring.Purpose] derives keys of its own for every
// purpose and context (ASVS 9.2.2, 9.2.3), so that what was made for one cannot
// be passed off as another.
package keyring
