package main

import (
	"strings"
	"testing"
)

func TestFigures(t *testing.T) {
	for got, want := range map[string]string{
		took(312):            "312 ns",
		took(4_256):          "4.26 µs",
		took(103e9):          "103 s",
		times(0.5):           "0.500",
		times(0.0121):        "0.0121",
		times(1.0 / 3_400e3): "1 / 3400000",
		digits(100 * 0.858):  "85.8",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if m := median([]float64{9, 1, 5}); m != 5 {
		t.Errorf("median %v", m)
	}
	// By rounds: a machine that was slow in one of them was slow for both.
	if r := ratio([]float64{1, 10, 1}, []float64{2, 20, 2}); r != 0.5 {
		t.Errorf("ratio %v", r)
	}
}

func TestTableIsMarkdown(t *testing.T) {
	var b strings.Builder
	printTable(&b, [][]string{{"what", "µs"}, {"a read", "2"}})
	if want := "| what   | µs  |\n| ------ | --- |\n| a read | 2   |\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
