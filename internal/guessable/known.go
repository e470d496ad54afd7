package guessable

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
)

// knownBits is the size of the table of what everybody knows, as a power of two. It is
// about half full, and has four MiB.
const knownBits = 19

// A knownTable holds the first eight bytes of secrets, which random bytes have by chance
// less than once in 2^45. It is an open one: an entry lies at the place that its last bits
// name, or behind that.
type knownTable [1 << knownBits]uint64

func (t *knownTable) has(secret []byte) bool {
	prefix := binary.BigEndian.Uint64(secret)
	for i := prefix; ; i++ {
		switch t[i%uint64(len(t))] {
		case prefix:
			return true
		case 0:
			return false
		}
	}
}

func (t *knownTable) add(secret []byte) {
	prefix := binary.BigEndian.Uint64(secret)
	i := prefix
	for t[i%uint64(len(t))] != 0 {
		i++
	}
	t[i%uint64(len(t))] = prefix
}

// addBytes adds what many bytes make of a secret, or 32.
func (t *knownTable) addBytes(b []byte) {
	secret := Condense(b)
	t.add(secret[:])
}

// addLine adds the SHA-256 of a text, also with what a shell or an editor puts behind.
func (t *knownTable) addLine(text []byte) {
	for _, end := range []string{"", "\n", "\r\n"} {
		sum := sha256.Sum256(append(text, end...))
		t.add(sum[:])
	}
}

// addHashes adds what else is made of a phrase where 32 bytes are asked for.
func (t *knownTable) addHashes(phrase []byte) {
	s256 := sha256.Sum256(phrase)
	twice := sha256.Sum256(s256[:])
	asText := sha256.Sum256(hex.AppendEncode(nil, s256[:]))
	s384, s512, s3 := sha512.Sum384(phrase), sha512.Sum512(phrase), sha3.Sum256(phrase)
	m5, s1 := md5.Sum(phrase), sha1.Sum(phrase)
	m5m5 := md5.Sum(hex.AppendEncode(nil, m5[:]))
	t.add(twice[:])
	t.add(asText[:])
	t.add(s3[:])
	t.addBytes(s384[:])
	t.addBytes(s512[:])
	t.addBytes(append(m5[:], m5m5[:]...))
	t.addBytes(append(s1[:], m5[:]...))
}

// behind returns what people put behind a word when it has to have a digit in it.
func behind() []string {
	list := strings.Fields("! 1! 12 123 1234 01 007 42 69 99")
	for i := range 10 {
		list = append(list, strconv.Itoa(i))
	}
	for year := 2015; year <= 2030; year++ {
		list = append(list, strconv.Itoa(year))
	}
	return list
}

// known returns the secrets that everybody knows or finds by a search of an instant:
// phrases and numbers that were hashed, and what [sampleSecrets] lists. A phrase itself
// is text and refused as such. It takes some tens of milliseconds, once and only where a
// key is judged.
var known = sync.OnceValue(func() *knownTable {
	t, behind := new(knownTable), behind()
	for _, phrase := range samplePhrases() {
		plain := []byte(phrase)
		cases := [][]byte{plain}
		if upper := bytes.ToUpper(plain); !bytes.Equal(upper, plain) {
			capital := append(bytes.ToUpper(plain[:1]), plain[1:]...)
			cases = append(cases, capital, upper)
		}
		t.addHashes(plain)
		for i, text := range cases {
			t.addLine(text[:len(text):len(text)])
			if i == 2 || len(text) > 12 {
				continue
			}
			for _, b := range behind {
				sum := sha256.Sum256(append(text[:len(text):len(text)], b...))
				t.add(sum[:])
			}
		}
	}
	var buf [8]byte
	for i := range 100_000 {
		text := strconv.AppendInt(buf[:0], int64(i), 10)
		sum := sha256.Sum256(text)
		t.add(sum[:])
		if i < 10_000 {
			sum = sha256.Sum256(append(text, '\n'))
			t.add(sum[:])
		}
	}
	for _, s := range sampleSecrets {
		b, err := hex.DecodeString(s)
		if err != nil {
			panic("guessable: sample secret: " + err.Error())
		}
		t.addBytes(b)
	}
	return t
})

// isSample tells whether a secret is known to the world.
func isSample(secret *[Size]byte) bool { return known().has(secret[:]) }
