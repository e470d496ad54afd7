package guessable

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/bits"
	"strings"
)

// What is tested here has a bound each: of random secrets, 32 bytes long, no more than
// one in 2^32 is refused, mostly far fewer.

// isSeries tells whether bytes are numbers that follow from those before: counters of 8
// to 64 bits in either order of bytes, squares, sums, and what is put together of parts
// that hardly differ, as time stamps and UUIDs of one machine.
func isSeries(b []byte) bool {
	steps := make([]byte, len(b)-1)
	sums := 0
	for i := 1; i < len(b); i++ {
		steps[i-1] = b[i] - b[i-1]
		if i < 2 || b[i] != b[i-1]+b[i-2] {
			sums = 0
		} else if sums++; sums >= 6 {
			return true
		}
	}
	return hasSteps(steps, 8) || hasWordSteps(b, 2, 5) || hasWordSteps(b, 4, 4) || hasWordSteps(b, 8, 3) ||
		sameColumns(b, 4) || sameColumns(b, 8) || sameColumns(b, 12) || sameColumns(b, 16)
}

// hasWordSteps is hasSteps for words of several bytes.
func hasWordSteps(b []byte, size, n int) bool {
	for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
		var words []uint64
		for w := range bytesOf(b, size) {
			var full [8]byte
			if order == binary.BigEndian {
				copy(full[8-size:], w)
			} else {
				copy(full[:], w)
			}
			words = append(words, order.Uint64(full[:]))
		}
		same, mask := 2, ^uint64(0)>>(64-8*size)
		for i := 2; i < len(words); i++ {
			if (words[i]-2*words[i-1]+words[i-2])&mask != 0 {
				same = 1
			}
			if same++; same >= n {
				return true
			}
		}
	}
	return false
}

// bytesOf yields b in whole parts of n bytes.
func bytesOf(b []byte, n int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for i := 0; i+n <= len(b) && yield(b[i:i+n]); i += n {
		}
	}
}

// sameColumns tells whether, of words written one below the other, so many columns hold
// one byte throughout that 48 bits are foretold.
func sameColumns(b []byte, size int) bool {
	foretold, rows := 0, len(b)/size
	for col := range size {
		same := rows > 1
		for row := 1; row < rows; row++ {
			same = same && b[row*size+col] == b[col]
		}
		if same {
			foretold += 8 * (rows - 1)
		}
	}
	return foretold >= 48
}

// isDisguised tells whether b is text that does not look like it: with another bit set in
// each byte or all of them moved, words with a sign between that cannot be typed, letters
// of other alphabets or of EBCDIC, or compressed.
func isDisguised(b []byte) bool {
	for c := range 256 {
		x := byte(c)
		if all(b, func(b byte) bool { return isPrint(b ^ x) }) || all(b, func(b byte) bool { return isPrint(b + x) }) ||
			all(b, func(b byte) bool { return b == x || isWord(b) || b == '-' || b == '_' }) {
			return true
		}
	}
	for n := 1; n < 8; n++ {
		if all(b, func(b byte) bool { return isPrint(bits.RotateLeft8(b, n)) }) {
			return true
		}
	}
	return all(b, isForeign) || all(b, isEBCDIC) || isFile(b)
}

func all(b []byte, is func(byte) bool) bool {
	for _, c := range b {
		if !is(c) {
			return false
		}
	}
	return true
}

func isPrint(b byte) bool { return ' ' <= b && b <= '~' }

// isWord tells of what words and blanks are made of.
func isWord(b byte) bool {
	return 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9' || b == ' '
}

// isForeign tells of words in ISO 8859-1 and -15, Windows-1251 and KOI8-R: there letters
// lie in the highest quarter.
func isForeign(b byte) bool { return isWord(b) || b >= 0xc0 && b != 0xd7 && b != 0xf7 }

// isEBCDIC tells of words in EBCDIC.
func isEBCDIC(b byte) bool {
	low := b & 0xf
	switch b >> 4 {
	case 0x8, 0x9, 0xc, 0xd:
		return 1 <= low && low <= 9
	case 0xa, 0xe:
		return 2 <= low && low <= 9
	case 0xf:
		return low <= 9
	}
	return b == 0x40 || b == 0x4b || b == 0x60 || b == 0x6d
}

// isFile tells whether b is the beginning of a file of a kind that shows at once, or
// compressed text.
func isFile(b []byte) bool {
	for _, magic := range []string{"\x89PNG\r\n\x1a\n", "%PDF-", "ssh-ed25519", "\x00\x00\x00\x07ssh-", "\x00\x00\x00\x0bssh-"} {
		if strings.HasPrefix(string(b), magic) {
			return true
		}
	}
	// Both have a check sum at their end.
	if b[0] == 0x78 {
		if r, err := zlib.NewReader(bytes.NewReader(b)); err == nil && ends(r) {
			return true
		}
	}
	if b[0] == 0x1f && b[1] == 0x8b {
		if r, err := gzip.NewReader(bytes.NewReader(b)); err == nil && ends(r) {
			return true
		}
	}
	return false
}

// maxText bounds what is compressed, in bytes: more is no secret.
const maxText = 64 << 10

// ends tells whether what is compressed comes to a good end, of a size that a text has.
func ends(r io.Reader) bool {
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxText+1))
	return err == nil && n <= maxText
}

// isDecimal tells whether a text of hexadecimal digits has decimal ones alone, as the
// digits of pi and dates.
func isDecimal(b []byte) bool {
	return strings.Trim(hex.EncodeToString(b), "0123456789") == ""
}
