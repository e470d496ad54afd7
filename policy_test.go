package cloakroom_test

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
)

// What the security policy promises is what an Options without a word gives.
func TestASVS_7_1_1_LimitsOfTheDocsAreThoseOfTheCode(t *testing.T) {
	doc, err := os.ReadFile("docs/security-policy.md")
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[string]string{
		"idle timeout":                   cloakroom.DefaultIdleTimeout.String(),
		"lifetime":                       cloakroom.DefaultLifetime.String(),
		"largest session":                fmt.Sprintf("%d bytes", cloakroom.DefaultMaxBytes),
		"time for one call of the store": cloakroom.DefaultStoreTimeout.String(),
	} {
		row := regexp.MustCompile(`(?m)^\| ` + limit + ` \| ([^|]+) \|`).FindSubmatch(doc)
		if row == nil {
			t.Errorf("docs/security-policy.md has no limit %q", limit)
		} else if got := string(row[1]); got != want {
			t.Errorf("docs/security-policy.md: %s is %s, in the code it is %s", limit, got, want)
		}
	}
}
