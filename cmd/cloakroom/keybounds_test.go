package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestBoundsOfTheKeySettingsAreDocumented: what the service takes is what the page says where
// it explains the setting.
func TestBoundsOfTheKeySettingsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for setting, beyond := range map[string]string{"keys-interval": "2h", "key-rotation": "59m"} {
		_, msg, _ := runCommand(t, "serve", "--"+setting+"="+beyond)
		bounds := regexp.MustCompile(setting + `: out of bounds: from (\w+) to (\w+)`).FindStringSubmatch(msg)
		if bounds == nil {
			t.Errorf("%s: %s", setting, msg)
			continue
		}
		said := "`" + bounds[1] + "` to `" + bounds[2] + "`"
		if !slices.ContainsFunc(strings.Split(text, "\n\n"), func(p string) bool {
			return strings.Contains(p, setting) && strings.Contains(p, said)
		}) {
			t.Errorf("no paragraph of docs/operations.md says that %s takes %s", setting, said)
		}
	}
}
