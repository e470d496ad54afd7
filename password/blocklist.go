package password

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
)

//go:generate go run ./internal/mkblocklist .

// blocklistGZ is the list of passwords that guessers try first: in lower case,
// one a line, sorted, so that it can be searched as it is.
//
//go:embed blocklist.gz
var blocklistGZ []byte

// blocklist is the list, from the first password that is checked on.
var blocklist = sync.OnceValue(unpack)

func unpack() string {
	z, err := gzip.NewReader(bytes.NewReader(blocklistGZ))
	if err == nil {
		var text strings.Builder
		text.Grow(int(binary.LittleEndian.Uint32(blocklistGZ[len(blocklistGZ)-4:]))) // the size of the text (RFC 1952 §2.3.1)
		if _, err = io.Copy(&text, z); err == nil {
			return text.String()
		}
	}
	panic(fmt.Sprintf("password: embedded blocklist: %v", err)) // the binary is damaged
}

// blocklisted tells whether a folded password is on the list: all of it, as a
// good long password may well contain a bad short one.
func blocklisted(folded string) bool {
	text := blocklist()
	for lo, hi := 0, len(text); lo < hi; {
		// The line around the middle; lo and hi are always where lines begin.
		start := lo + strings.LastIndexByte(text[lo:lo+(hi-lo)/2], '\n') + 1
		end := start + strings.IndexByte(text[start:], '\n')
		switch strings.Compare(folded, text[start:end]) {
		case 0:
			return true
		case 1:
			lo = end + 1
		default:
			hi = start
		}
	}
	return false
}
