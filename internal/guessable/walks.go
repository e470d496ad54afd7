package guessable

import (
	"strings"
	"sync"
)

// walks are ways along the keys of keyboards, each taken in both directions: rows,
// columns, and to and fro between two rows.
var walks = []string{
	"1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm",
	"qwertyuiopasdfghjklzxcvbnm1234567890",
	"1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
	"qazwsxedcrfvtgbyhnujmikolp",
	"zaq12wsxcde34rfvbgt56yhnmju78ik",
	"1q2w3e4r5t6y7u8i9o0pa1s2d3f4g5h6j7k8l9z1x2c3v4b5n6m",
	"pyfgcrlaoeuidhtnsqjkxbmwvz",
	"azertyuiopqsdfghjklmwxcvbn",
	"qwertzuiopasdfghjklyxcvbnm",
	"147258369", "741852963",
}

// nextKeys lists, in small letters, what follows one key or two of them in a walk.
var nextKeys = sync.OnceValue(func() map[string]string {
	m := make(map[string]string)
	put := func(before string, key byte) {
		if strings.IndexByte(m[before], key) < 0 {
			m[before] += string(key)
		}
	}
	for _, walk := range walks {
		back := []byte(walk)
		for i, j := 0, len(back)-1; i < j; i, j = i+1, j-1 {
			back[i], back[j] = back[j], back[i]
		}
		for _, w := range []string{walk, string(back)} {
			for i := 1; i < len(w); i++ {
				put(w[i-1:i], w[i])
				if i > 1 {
					put(w[i-2:i], w[i])
				}
			}
		}
	}
	return m
})

// folded is the probability of a key in small letters, of n that are as likely: each of
// them may come in either case.
func folded(right bool, key byte, n int) float64 {
	p := 0.9 / float64(n)
	switch {
	case !right:
		return 0.1 / 64
	case kindOf(key) <= upper:
		p /= 2
	}
	return p
}

// small returns a letter in its small form, and else what it is given.
func small(b byte) byte {
	if kindOf(b) == upper {
		return b | 0x20
	}
	return b
}

// byWalk expects the next key of a walk that the last two are on, or the last one.
func byWalk(text string, i int) float64 {
	for n := min(i, 2); n > 0; n-- {
		if keys := nextKeys()[strings.ToLower(text[i-n:i])]; keys != "" {
			return folded(strings.IndexByte(keys, small(text[i])) >= 0, text[i], len(keys))
		}
	}
	return -1
}

// byLane expects that each of n lanes goes on as it did, as the letters in A1B2C3 do and
// the digits: a step like the last one, in whatever case. Digits, and letters, begin
// again behind the last.
func byLane(n int) func(text string, i int) float64 {
	return func(text string, i int) float64 {
		if i < 2*n {
			return -1
		}
		last, before := small(text[i-n]), small(text[i-2*n])
		first, size := 0, 0
		switch kindOf(last) {
		case lower:
			first, size = 'a', 26
		case digit:
			first, size = '0', 10
		}
		if size == 0 || kindOf(before) != kindOf(last) {
			return -1
		}
		want := first + (2*int(last)-int(before)-first+2*size)%size
		return folded(int(small(text[i])) == want, text[i], 1)
	}
}

// hexWords are what people spell with the letters of hexadecimal digits.
const hexWords = "deadbeef deadc0de deadbabe deadfa11 cafebabe cafed00d cafe feedface feedbabe feedbeef facefeed baadf00d badcafe badc0de badf00d bad " +
	"baddcafe c0ffee c0decafe c0ded00d c0de b0bafee7 b0ba b105f00d ba5eba11 ba11 defec8ed decafbad decade facade fee1dead fade face feed f00d f005ba11 f005 " +
	"1badb002 abad1dea abadbabe beef babe dead ace bed dad c0dedbad acce55ed d15ea5e 5eed 8badf00d 0badf00d 0badcafe 00c0ffee effaced"

// spelled lists what follows the beginnings of such words.
var spelled = sync.OnceValue(func() map[string]string {
	m := make(map[string]string)
	for w := range strings.FieldsSeq(hexWords) {
		for n := range len(w) {
			if strings.IndexByte(m[w[:n]], w[n]) < 0 {
				m[w[:n]] += w[n : n+1]
			}
		}
	}
	return m
})

// byHexWord expects that a word of those goes on, the longest that may have begun, or
// that another one begins.
func byHexWord(text string, i int) float64 {
	for n := min(i, 7); ; n-- {
		if keys := spelled()[text[i-n:i]]; keys != "" {
			if strings.IndexByte(keys, text[i]) >= 0 {
				return 0.9 / float64(len(keys))
			}
			return 0.1 / 64
		}
	}
}
