package auth

import (
	"cmp"
	"net/url"
	"strings"
)

// maxNext is the longest address that Next lets pass, in bytes.
const maxNext = 2048

// Next returns target if it leads to this host, as a browser reads it, and
// fallback otherwise ("/" if that is empty). It is for addresses that came with
// a request, such as ?next=… of a login page: whoever wrote the link must not
// choose where the browser ends (CWE-601).
//
// A target passes if it is a path with a leading slash, with or without query
// and fragment, in plain ASCII as it stands in a Location (RFC 9110 §10.2.2), of
// at most 2,048 bytes. Browsers follow the WHATWG URL Standard, where they drop
// tabs and line ends anywhere, trim blanks, and take a backslash for a slash: so
// "//evil.example", "/\evil.example" and "/<tab>/evil.example" lead elsewhere,
// though net/url sees no host in some of them. Control characters, blanks and
// backslashes therefore refuse a target, and so do in its path ".", "..",
// escaped ones included, an escaped control character or backslash, and whatever
// starts with two slashes when it is decoded: what stands behind this host might
// read "/.//evil.example" once more.
//
// fallback comes from the program and is not checked.
func Next(target, fallback string) string {
	if local(target) {
		return target
	}
	return cmp.Or(fallback, "/")
}

// local tells whether a browser that is sent to target stays on this host.
func local(target string) bool {
	if target == "" || target[0] != '/' || len(target) > maxNext || strings.ContainsFunc(target, unsafeInURL) {
		return false
	}
	path := target
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		path = target[:i]
	}
	path, err := url.PathUnescape(path)
	if err != nil || strings.HasPrefix(path, "//") {
		return false
	}
	for i := range len(path) { // bytes: an escape need not be UTF-8
		if path[i] < ' ' || path[i] == 0x7f || path[i] == '\\' {
			return false
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// unsafeInURL tells what is not in a URL (RFC 3986 §2) and what a browser would
// drop or take for something else. Bytes that are no UTF-8 come as U+FFFD.
func unsafeInURL(r rune) bool {
	return r <= ' ' || r >= 0x7f || r == '\\'
}
