package guessable_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"
)

// refuseAll fails the test if bytes are accepted as a secret, in whatever form.
func refuseAll(t *testing.T, what string, b []byte) {
	t.Helper()
	for i, text := range []string{hex.EncodeToString(b), base64.StdEncoding.EncodeToString(b)} {
		if judge(text) == nil {
			t.Errorf("%s is accepted in form %d", what, i)
		}
	}
	if len(b) == 32 {
		refuseKey(t, what, [32]byte(b))
	}
}

// Hashes of what everybody tries first are no secrets.
func TestAttack_A47_HashesOfTheObviousAreRefused(t *testing.T) {
	t.Parallel()
	sum := func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
	for _, word := range []string{"password", "secret", "changeme", "letmein", "production", "my-app", "correcthorsebatterystaple"} {
		capital, upper := strings.ToUpper(word[:1])+word[1:], strings.ToUpper(word)
		for _, text := range []string{word, capital, upper, word + "\n", word + "\r\n", upper + "\r\n", string(sum(word)), hex.EncodeToString(sum(word))} {
			refuseAll(t, fmt.Sprintf("SHA-256 of %q", text), sum(text))
		}
		if len(word) <= 12 {
			for _, end := range []string{"1", "7", "!", "12", "123", "2024", "2026"} {
				refuseAll(t, "SHA-256 of "+word+end, sum(word+end))
				refuseAll(t, "SHA-256 of "+capital+end, sum(capital+end))
			}
		}
		s3, m5, s1 := sha3.Sum256([]byte(word)), md5.Sum([]byte(word)), sha1.Sum([]byte(word))
		m5m5 := md5.Sum([]byte(hex.EncodeToString(m5[:])))
		refuseAll(t, "SHA3-256 of "+word, s3[:])
		refuseAll(t, "MD5 of "+word+" and of that", append(m5[:], m5m5[:]...))
		refuseAll(t, "SHA-1 and MD5 of "+word, append(s1[:], m5[:]...))
	}
	for _, n := range []string{"0", "1", "42", "2026", "31337", "99999", "1\n", "1234\n"} {
		refuseAll(t, fmt.Sprintf("SHA-256 of %q", n), sum(n))
	}
}

// 32 bytes that follow from each other, and files, are no random bytes.
func TestASVS_11_2_3_SeriesAreRefused(t *testing.T) {
	t.Parallel()
	series := map[string]func(i int) byte{
		"squares":         func(i int) byte { return byte(i * i) },
		"triangular":      func(i int) byte { return byte(i * (i + 1) / 2) },
		"two counters":    func(i int) byte { return byte(i/2 + i%2*16) },
		"up and down":     func(i int) byte { return byte(i/2 ^ -(i % 2)) },
		"multiples of 37": func(i int) byte { return byte(37 * i) },
		"words, ours":     func(i int) byte { return byte(uint32(0x01020304*(i/4+1)) >> (8 * (i % 4))) },
		"words, theirs":   func(i int) byte { return byte(uint32(0x01f2a3b4*(i/4+1)) >> (24 - 8*(i%4))) },
	}
	for name, f := range series {
		b := make([]byte, 32)
		for i := range b {
			b[i] = f(i)
		}
		refuseAll(t, name, b)
	}
	fib, times := []byte{1, 1}, []byte(nil)
	for len(fib) < 32 {
		fib = append(fib, fib[len(fib)-1]+fib[len(fib)-2])
	}
	for _, d := range []uint64{0, 987654321, 2345678901, 2999999999} {
		times = binary.LittleEndian.AppendUint64(times, 1763718200123456789+d)
	}
	refuseAll(t, "Fibonacci", fib)
	refuseAll(t, "times", times)
	refuseAll(t, "two UUIDs of one machine", unhexed(t, "e4eaaaf2d14211e1b3e4080027620cdde4eaaaf3d14211e1b3e4080027620cdd"))
	for _, digits := range []string{
		"3141592653589793238462643383279502884197169399375105820974944592", "2026112120251231200001011999123119700101198402292024022920380119",
		"deadbeefcafebabefeedfacebaadf00ddeadc0de0badcafe8badf00dc0ffee00", "facefeedbeefdeadcafebabeb0bafee7c0dedbad00c0ffeeba5eba11f005ba11",
		"1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f1a2b", "1029384756abcdef5647382910fedcba0192837465fabcde6574839201edcbaf",
		"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89", "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19",
		"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
	} {
		refuseAll(t, digits, unhexed(t, digits))
	}
}

func unhexed(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Text stays text in whatever clothes.
func TestASVS_11_2_3_DisguisedTextIsRefused(t *testing.T) {
	t.Parallel()
	const text = "my super secret session key 12345"
	each := func(f func(b byte) byte) []byte {
		b := []byte(text)
		for i := range b {
			b[i] = f(b[i])
		}
		return b
	}
	var packed, zipped bytes.Buffer
	for w, buf := range map[io.WriteCloser]*bytes.Buffer{zlib.NewWriter(&packed): &packed, gzip.NewWriter(&zipped): &zipped} {
		if _, err := io.WriteString(w, text); err != nil || w.Close() != nil || buf.Len() < 32 {
			t.Fatal(err)
		}
	}
	for name, b := range map[string][]byte{
		"with the high bit":  each(func(b byte) byte { return b | 0x80 }),
		"with another mask":  each(func(b byte) byte { return b ^ 0xaa }),
		"moved on":           each(func(b byte) byte { return b + 100 }),
		"shifted":            each(func(b byte) byte { return b << 1 }),
		"with NUL":           []byte(strings.ReplaceAll(text, " ", "\x00")),
		"with a sign":        []byte(strings.ReplaceAll(text, " ", "\x01")),
		"in ISO 8859-1":      []byte("S\xfc\xdf\xf6lgef\xe4\xdfe f\xfcr gr\xf6\xdfere K\xf6rper\xfcbungen"),
		"in KOI8-R":          unhexed(t, "d0c1d2cfccd820c4ccd120d3c5d3d3c9c920d4d5d420d3c5cbd2c5d4203230323620cfcb"),
		"in GBK":             unhexed(t, "ced2b5c4c3d8c3dcbbe1bbb0c3dcd4bfcac7b7c7b3a3b0b2c8abb5c4c7ebb2bbd2aab8e6cbdfb1f0c8"),
		"in EBCDIC":          unhexed(t, "94a840a2a497859940a285839985a340a285a2a2899695409285a840f1f2f3f4f5"),
		"packed":             packed.Bytes(),
		"zipped":             zipped.Bytes(),
		"a picture":          append([]byte("\x89PNG\r\n\x1a\n"), random(32)...),
		"a document":         append([]byte("%PDF-1.7\n"), random(32)...),
		"somebody's SSH key": append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), random(32)...),
	} {
		refuseAll(t, name, b)
	}
}

// Keys of a keyboard that lie beside each other, and alphabets put together, were typed.
func TestASVS_11_2_3_WalksAreRefused(t *testing.T) {
	for _, text := range []string{
		"1qaz2wsx3edc4rfv5tgb6yhn1QAZ2WSX3EDC4RFV5TGB6YHN", "1qaz2wsx3edc4rfvBGT5NHY6MJU7zaq1xsw2cde3vfr4", "qazwsxedcrfvtgbyhnujmikolpQAZWSXEDCRFVTGBYHNUJM",
		"1q2w3e4r5t6y7u8i9o0pA1S2D3F4G5H6J7K8L9Z1X2C3", "zaq12wsxcde34rfvbgt56yhnmju78ikZAQ12WSXCDE34", "aoeuidhtnsqjkxbmwvzAOEUIDHTNSQJKXBMWVZaoeuid",
		"QAZwsxEDCrfvTGByhnUJMikOLpqazWSXedcRFVtgbYHN", "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v2", "aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3aB4cD",
		"Aa1Bb2Cc3Dd4Ee5Ff6Gg7Hh8Ii9Jj0Kk1Ll2Mm3Nn4Oo", "AZBYCXDWEVFUGTHSIRJQKPLOMNazbycxdwevfugthsir",
	} {
		if err := judge(text); err == nil || !strings.Contains(err.Error(), "was typed") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
