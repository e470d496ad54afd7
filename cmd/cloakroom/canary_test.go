package main_test

import (
	"encoding/base64"
	"strings"
	"testing"
)

// secretIn returns the secret of a key line.
func secretIn(t *testing.T, line string) []byte {
	t.Helper()
	line = strings.TrimSpace(line)
	secret, err := base64.RawURLEncoding.DecodeString(line[strings.LastIndexByte(line, ' ')+1:])
	if err != nil || len(secret) != 32 {
		t.Fatalf("no key line: %v", err)
	}
	return secret
}

// splitFlag returns name and value of --name=value.
func splitFlag(flag string) (name, value string) {
	name, value, _ = strings.Cut(strings.TrimPrefix(flag, "--"), "=")
	return name, value
}
