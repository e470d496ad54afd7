// Package vault keeps the keys in HashiCorp Vault or OpenBao, as a field of a secret
// in a KV engine, version 2.
package vault
