// Package vault reads keys from HashiCorp Vault or OpenBao, and rotates them there:
// they are a field of a secret in a KV engine, version 2.
//
//	src, err := vault.Open("https://vault.internal:8200/secret/cloakroom?auth=approle&role-id=…&secret-id-file=/run/secrets/vault#keys", nil)
//	ring, err := keyring.Load(ctx, src)
//	go ring.Follow(ctx, src, &keyring.FollowOptions{Interval: time.Minute})
//
// It was tested with the official client (github.com/hashicorp/vault/api) against a
// server of the tests' own that speaks the documented HTTP API, and not against a
// real Vault or OpenBao. Try it on yours before you rely on it.
//
// # Places
//
//	https://HOST:PORT/MOUNT/PATH?QUERY#FIELD
//	MOUNT/PATH?QUERY#FIELD                      the server is that of VAULT_ADDR
//
// MOUNT and PATH are what vault kv get -mount=MOUNT PATH takes, FIELD is "keys" if it
// is left out. The text of the field is what a key file would hold. The query says how
// to log in and whom to trust:
//
//	auth=token        token-file, or VAULT_TOKEN
//	auth=approle      role-id, or VAULT_ROLE_ID; secret-id-file, or VAULT_SECRET_ID
//	auth=kubernetes   role; jwt-file, by default the service account's
//	mount             where the login is enabled, if not at approle or kubernetes
//	namespace         or VAULT_NAMESPACE
//	ca                a file of certificates, or VAULT_CACERT: these are trusted, and
//	                  the system's are not
//	cert, key         files of a client certificate, or VAULT_CLIENT_CERT, VAULT_CLIENT_KEY
//	server-name       in the server's certificate, or VAULT_TLS_SERVER_NAME
//	kv-mount          MOUNT once more, if it has a slash in it
//
// Without auth it is token. Special characters are written as %XX. Of the other
// variables of Vault's tools only VAULT_HEADERS counts, as the client adds these to
// each request, and VAULT_SKIP_VERIFY, which is refused: a certificate is always
// verified, and http:// leads to this machine alone, through no proxy. HTTPS_PROXY is
// honoured. A place of which a part looks like a key is refused, as the key was put there
// by mistake.
//
// Without ca the system's authorities are trusted, or those of SSL_CERT_FILE: see "Where
// keys are kept" in docs/operations.md. Better name the CA of the server.
//
// Files are read anew at each login, as they rotate. Their permissions have to be
// those of a secret: see [keyring.MountedFile]. Certificates are read by Open; everybody
// may read them, but nobody else may change them.
//
// # Setting up
//
//	vault secrets enable -version=2 -path=secret kv
//	cloakroom key new | vault kv put -mount=secret cloakroom keys=-
//	vault policy write cloakroom - <<EOF
//	path "secret/data/cloakroom" { capabilities = ["read"] }
//	EOF
//
// That is all that an instance needs. Whoever rotates, be it somebody with cloakroom
// key rotate or the service by itself, needs
//
//	path "secret/data/cloakroom" { capabilities = ["read", "update"] }
//
// and nobody needs create, delete, list, or anything of secret/metadata. A token of
// which the policy default was taken away cannot be renewed: it needs
// auth/token/lookup-self (read) and auth/token/renew-self (update). With AppRole:
//
//	vault auth enable approle
//	vault write auth/approle/role/cloakroom token_policies=cloakroom token_ttl=1h token_max_ttl=24h
//	vault read -field=role_id auth/approle/role/cloakroom/role-id
//	(umask 077 && vault write -f -field=secret_id auth/approle/role/cloakroom/secret-id > /run/secrets/vault)
//
// In Kubernetes, with the service account cloakroom of the namespace web:
//
//	vault write auth/kubernetes/role/cloakroom bound_service_account_names=cloakroom \
//		bound_service_account_namespaces=web token_policies=cloakroom token_ttl=1h
//
// The engine keeps ten versions of a secret, and old keys in them. That does no harm
// once they have been retired, but what they have sealed may lie in old backups: run
// vault kv destroy on versions that hold them, or keep fewer with
// vault kv metadata put -max-versions=2.
//
// # What is asked of the server
//
// The first Read logs in, and reads; each one after that is one GET of the newest
// version. Half-way through the life of its token the next Read renews it
// (auth/token/renew-self). Where it cannot be renewed any further, or has ended, or the
// server denies it, Read logs in anew, if possible while it still serves: that there
// will be no other one tells [Source.Renewal], before it ends. A login of which the
// token is denied at once is repeated at most once a minute. A token that was given is
// asked about once (auth/token/lookup-self), and a root token lives without renewal. A
// Read leaves no connection open and no goroutine behind.
//
// A Read or Write takes as long as its context, and Options.Timeout, ten seconds, at
// most. The client's own retries are off. A GET that met a broken connection, a 412 or
// a 5xx is sent three times in all, 100 and 200 ms apart, and so is what nobody has
// seen since there was no connection; a login or a write that somebody may have seen is
// not. Answers are read up to 2 MiB. Redirects are not followed, so that the token goes
// nowhere else: with standbys that redirect, name the active server or what leads to
// it.
//
// Errors say in words of this package what is wrong and what to do. What the server
// or the client says is never repeated, since both quote.
//
// # Writing
//
// Write is a true compare-and-set: it reads the newest version, compares the field,
// and writes a new version under the condition that it follows the one that was read
// (cas). Where that fails, it returns [keyring.ErrChanged]. Other fields of the secret
// go back as they came. The secret and the field have to exist.
//
// # Cost
//
// The client adds some 2 MB to a program that speaks HTTPS already. Programs that do
// not import this package do not have it.
package vault
