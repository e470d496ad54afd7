package cloakroom

import (
	"net/http"
	"strings"
)

// forThisVisitor keeps shared caches away (ASVS 14.2.2).
func forThisVisitor(h http.Header, privateWillDo bool) {
	if !listed(h["Vary"], "cookie") && !listed(h["Vary"], "*") {
		h.Add("Vary", "Cookie")
	}
	if cc := h["Cache-Control"]; !listed(cc, "no-store") && !(privateWillDo && listed(cc, "private")) {
		h.Set("Cache-Control", "no-store")
	}
}

// listed reports whether a header of comma-separated tokens has this one.
func listed(lines []string, token string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(item, " \t"), token) {
				return true
			}
		}
	}
	return false
}
