package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// How many of the most popular passwords a rule takes.
const (
	repeatedOf = 12_000
	tailedOf   = 500 // of the repeated ones, those that get a tail as well
	endedOf    = 2_500
	pairedOf   = 100
)

// tails are what people put behind a password, counters those that make a short
// one long.
var (
	tails    = []string{"!", ".", "1", "1!", "12", "123", "123!", "1234", "2023", "2024", "2025", "2026"}
	counters = []string{"12345", "123456", "1234567", "12345678", "123456789", "1234567890", "654321", "0123456789", "20242025", "20252026"}
)

// fill repeats a word until it is long enough, twice at least.
func fill(word string) string {
	n := max(2, (long+utf8.RuneCountInString(word)-1)/utf8.RuneCountInString(word))
	return strings.Repeat(word, n)
}

// repeated are popular passwords that were repeated until they were long enough,
// with a blank or nothing between, the first of them with a tail as well; and
// single characters.
func repeated(words []string) []string {
	var out []string
	for i, w := range words[:min(len(words), repeatedOf)] {
		out = append(out, fill(w))
		if i >= tailedOf {
			continue
		}
		n := len(fill(w)) / len(w)
		out = append(out, fill(w)+w, strings.Repeat(w+" ", n)[:n*(len(w)+1)-1])
		for _, tail := range tails {
			out = append(out, fill(w)+tail)
		}
	}
	for _, c := range "abcdefghijklmnopqrstuvwxyz0123456789 !.-_*#@?$%&+=" {
		for n := long; n <= 40; n++ {
			out = append(out, strings.Repeat(string(c), n))
		}
	}
	return out
}

// ended are popular passwords with a tail that makes them long enough.
func ended(words []string) []string {
	var out []string
	for _, w := range words[:min(len(words), endedOf)] {
		for _, tail := range slices.Concat(tails, counters) {
			out = append(out, w+tail)
		}
	}
	return out
}

// paired are two of the most popular passwords in a row.
func paired(words []string) []string {
	words = words[:min(len(words), pairedOf)]
	var out []string
	for _, a := range words {
		for _, b := range words {
			out = append(out, a+b)
		}
	}
	return out
}

// rows are what the fingers run along: rows of keyboards, columns, the alphabet.
var rows = []string{
	"1234567890", "0123456789", "qwertyuiop", "asdfghjkl", "zxcvbnm", "1234567890qwertyuiopasdfghjklzxcvbnm",
	"qwertyuiopasdfghjklzxcvbnm", "qwertyuiopasdfghjklzxcvbnm1234567890", "qwertyuiop[]asdfghjkl;'zxcvbnm,./",
	"qwertzuiopasdfghjklyxcvbnm", "qwertzuiopüasdfghjklöäyxcvbnm", "azertyuiopqsdfghjklmwxcvbn",
	"`1234567890-=", "1234567890-=qwertyuiop[]", "!@#$%^&*()_+", "!\"§$%&/()=?",
	"abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijklmnopqrstuvwxyz1234567890",
	"a1b2c3d4e5f6g7h8i9j0", "1a2b3c4d5e6f7g8h9i0j", "q1w2e3r4t5y6u7i8o9p0", "1q2w3e4r5t6y7u8i9o0p", "q2w3e4r5t6y7u8i9o0p",
	"qawsedrftgyhujikolp", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p", "1qazxsw23edcvfr45tgbnhy67ujmki89olp0",
	"qazwsxedcrfvtgbyhnujmikolp", "zaq12wsxcde34rfvbgt56yhnmju78iklo90p", "zaq1xsw2cde3vfr4bgt5nhy6mju7",
	"1qay2wsx3edc4rfv5tgb6zhn7ujm", "qweasdzxcrtyfghvbnuiojklm", "qweasdzxc123", "123qweasdzxc", "qwe123asd456zxc789",
	"asdfqwerzxcv1234", "qwerasdfzxcv1234", "1234qwerasdfzxcv", "147258369", "741852963", "159357", "123654789", "789456123",
	"112233445566778899", "11223344556677889900", "111222333444555666777888999", "11112222333344445555",
	"aabbccddeeffgghhiijj", "aaabbbcccdddeeefff", "aaaabbbbccccdddd", "abcabcabcabcabcabc", "abc123abc123abc123",
	"12345678987654321", "1234567890987654321", "12345678900987654321", "1234567887654321", "0123456789876543210",
	"314159265358979323846", "3.14159265358979323846", "271828182845904523536",
}

// walks go along a row, forwards and backwards and round and round, to any key;
// and along its beginning again and again. The first, also with a tail.
func walks() []string {
	var out []string
	for _, row := range rows {
		keys := []rune(row)
		back := slices.Clone(keys)
		slices.Reverse(back)
		for _, way := range [][]rune{keys, back} {
			round := slices.Concat(way, way, way)
			for n := long; n <= min(40, len(round)); n++ {
				out = append(out, string(round[:n]))
				for _, tail := range tails[:min(len(tails), max(0, len(way)+1-n))] {
					out = append(out, string(round[:n])+tail)
				}
			}
			for from := range way {
				for n := long; n <= min(20, len(way)-from); n++ {
					out = append(out, string(way[from:from+n]))
				}
			}
			for n := 3; n <= len(way); n++ {
				out = append(out, fill(string(way[:n])))
			}
		}
	}
	return out
}

// phrases are those of phrases.txt with what people put between words and behind
// them.
func phrases() []string {
	var out []string
	for line := range strings.Lines(phrasesText) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		for _, between := range []string{"", " ", "-", "_", "."} {
			phrase := strings.ReplaceAll(line, " ", between)
			out = append(out, phrase, phrase+phrase)
			for _, tail := range tails {
				out = append(out, phrase+tail)
			}
		}
	}
	return out
}
