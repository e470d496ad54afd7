// Command mkblocklist writes the list of passwords that package password
// refuses, blocklist.gz in the directory that it is given:
//
//	go run ./internal/mkblocklist .
//
// There are two kinds of entries. The popular ones of popular.gz are from leaks,
// the most popular first; see ../../blocklist.NOTICE for where they come from.
// Of those few have the 15 characters that a password needs here: whoever must
// have 15 makes them of fewer, and guessers try what people make. So most of the
// long entries are made by rule from the popular ones: repeated, with a year or
// digits behind, two in a row; walks on the keyboard; and phrases.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Of an entry, in code points. What is shorter than the least no policy allows.
const (
	shortest = 8
	long     = 15
	longest  = 64
)

//go:embed popular.gz
var popularGZ []byte

//go:embed phrases.txt
var phrasesText string

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mkblocklist DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mkblocklist:", err)
		os.Exit(1)
	}
}

// run writes the list and says how many entries are of which kind.
func run(dir string) error {
	popular, err := lines(popularGZ)
	if err != nil {
		return err
	}
	leaked, ruled := generate(popular)
	all := merge(leaked, ruled)
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	for _, s := range all {
		fmt.Fprintln(z, s)
	}
	if err := z.Close(); err != nil {
		return err
	}
	fmt.Printf("%d entries, %d of %d code points or more\n", len(all), count(all, long), long)
	fmt.Printf("%d from leaks, %d of these of %d or more\n", len(leaked), count(leaked, long), long)
	return os.WriteFile(filepath.Join(dir, "blocklist.gz"), b.Bytes(), 0o644)
}

// lines returns the lines of a compressed text.
func lines(gz []byte) ([]string, error) {
	z, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		return nil, err
	}
	var out []string
	in := bufio.NewScanner(z)
	for in.Scan() {
		out = append(out, in.Text())
	}
	return out, in.Err()
}

// generate returns the entries from leaks, which are the popular ones themselves,
// and those that are made by rule, in lower case, sorted, each once.
func generate(popular []string) (leaked, ruled []string) {
	var words []string
	for _, s := range popular {
		words = append(words, strings.ToLower(s))
	}
	leaked = clean(words, shortest)
	for _, rule := range [][]string{repeated(words), ended(words), paired(words), walks(), phrases()} {
		ruled = append(ruled, clean(rule, long)...)
	}
	return leaked, clean(ruled, long)
}

// merge returns what is in any of two lists.
func merge(a, b []string) []string { return clean(slices.Concat(a, b), shortest) }

// clean returns the entries with at least so many code points, sorted, each once.
func clean(entries []string, least int) []string {
	var out []string
	for _, s := range entries {
		if n := utf8.RuneCountInString(s); n >= least && n <= longest {
			out = append(out, strings.ToLower(s))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// count returns how many entries have at least so many code points.
func count(entries []string, least int) int {
	n := 0
	for _, s := range entries {
		if utf8.RuneCountInString(s) >= least {
			n++
		}
	}
	return n
}
