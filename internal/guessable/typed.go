package guessable

import (
	"math"
	"strings"
	"sync"
)

// typedBits is how much better than chance, in bits, a text has to be foretold before
// it is refused. Whatever foretells: of random texts, no more than one in 2^typedBits
// is foretold as well as that (Markov's inequality for the likelihood ratio).
const typedBits = 32

// typed tells whether a text of hexadecimal digits, or of base64 without padding, is
// what people type: words, repetitions, rows of the keyboard or of the alphabet. It
// is put together from some views of what comes next, by how well each did so far.
func typed(text string, hexadecimal bool) bool {
	chars := 64.0
	foretell := []func(text string, i int) float64{
		chance, byWords, byStep(1), byStep(-1), byStep(0), byKeyboard, byRepetition, byWalk, byLane(1), byLane(2), byLane(3),
	}
	if hexadecimal {
		// It has words of its own.
		chars, text = 16, strings.ToLower(text)
		foretell[1] = byHexWord
	}
	weights := make([]float64, len(foretell))
	for j := range weights {
		weights[j] = 1 / float64(len(weights))
	}
	var bits float64
	for i := range len(text) {
		var sum float64
		for j, f := range foretell {
			p := f(text, i)
			if p < 0 { // has no view
				p = 1 / chars
			}
			weights[j] *= p
			sum += weights[j]
		}
		bits += math.Log2(sum * chars)
		for j := range weights {
			// Each keeps some weight, so that it can come back.
			weights[j] = 0.95*weights[j]/sum + 0.05/float64(len(weights))
		}
	}
	return bits >= typedBits
}

func chance(string, int) float64 { return -1 }

// sure is the probability of what a view is nearly sure of, or of all else.
func sure(right bool) float64 {
	if right {
		return 0.9
	}
	return 0.1 / 64
}

// byStep expects the neighbour in the alphabet, or the same again.
func byStep(step int) func(text string, i int) float64 {
	return func(text string, i int) float64 {
		if i == 0 {
			return -1
		}
		return sure(int(text[i]) == int(text[i-1])+step)
	}
}

// byKeyboard expects the next key to the right, in the case that there was.
func byKeyboard(text string, i int) float64 {
	const rows = "1234567890-qwertyuiop_asdfghjkl_zxcvbnm_QWERTYUIOP_ASDFGHJKL_ZXCVBNM_"
	if i == 0 {
		return -1
	}
	at := strings.IndexByte(rows, text[i-1])
	if at < 0 || at+1 == len(rows) {
		return -1
	}
	return sure(text[i] == rows[at+1])
}

// byRepetition expects what came the last time behind the same two characters.
func byRepetition(text string, i int) float64 {
	if i < 3 {
		return -1
	}
	last := strings.LastIndex(text[:i-1], text[i-2:i])
	if last < 0 {
		return -1
	}
	return sure(text[i] == text[last+2])
}

// byWords expects words like those of the samples, also where each begins with a
// capital letter.
func byWords(text string, i int) float64 {
	before, now := lower, kindOf(text[i])
	letter := 26 // no letter
	if i > 0 {
		before = kindOf(text[i-1])
		if before <= upper {
			letter = int(text[i-1]|0x20) - 'a'
		}
	}
	p := follows[before][now]
	switch now {
	case digit:
		return p / 10
	case sign:
		return p / 2 // an alphabet has two
	}
	return p * letters()[letter][int(text[i]|0x20)-'a']
}

// The kinds of characters in base64.
const (
	lower = iota
	upper
	digit
	sign
)

func kindOf(c byte) int {
	switch {
	case 'a' <= c && c <= 'z':
		return lower
	case 'A' <= c && c <= 'Z':
		return upper
	case '0' <= c && c <= '9':
		return digit
	}
	return sign
}

// follows says how often, where words are typed, one kind follows another.
var follows = [4][4]float64{
	lower: {0.80, 0.10, 0.05, 0.05},
	upper: {0.80, 0.12, 0.04, 0.04},
	digit: {0.15, 0.15, 0.65, 0.05},
	sign:  {0.60, 0.25, 0.10, 0.05},
}

// letters says how often, in the samples, one letter follows another or none (26).
var letters = sync.OnceValue(func() *[27][26]float64 {
	var single [26]float64
	var pairs [27][26]float64
	total := 0.0
	for _, phrase := range samplePhrases() {
		before := 26
		for _, c := range []byte(strings.ToLower(phrase)) {
			if kindOf(c) != lower {
				before = 26
				continue
			}
			single[c-'a']++
			total++
			pairs[before][c-'a']++
			before = int(c - 'a')
		}
	}
	// What has not been seen is not impossible.
	for i := range pairs {
		var sum float64
		for _, n := range pairs[i] {
			sum += n
		}
		for j := range pairs[i] {
			pairs[i][j] = (pairs[i][j] + 20*(single[j]+1)/(total+26)) / (sum + 20)
		}
	}
	return &pairs
})
