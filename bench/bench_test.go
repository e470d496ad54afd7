package main

import (
	"net/http"
	"testing"
)

// benchmark runs one page of each program in memory: for a profile of one of them,
// as in go test -run '^$' -bench Read/cloakroom -cpuprofile cpu.out.
func benchmark(b *testing.B, method string, known bool, page func(app) http.Handler) {
	apps, err := inMemory()
	if err != nil {
		b.Fatal(err)
	}
	for _, a := range apps {
		b.Run(a.name, func(b *testing.B) {
			cookie := ""
			if known {
				if cookie, err = a.enter(); err != nil {
					b.Fatal(err)
				}
			}
			v := newVisitor(page(a), method, cookie)
			if err := v.check(); err != nil && known {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				v.visit()
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	benchmark(b, "GET", true, func(a app) http.Handler { return a.read })
}

func BenchmarkWrite(b *testing.B) {
	benchmark(b, "POST", true, func(a app) http.Handler { return a.write })
}

func BenchmarkUntouched(b *testing.B) {
	benchmark(b, "GET", false, func(a app) http.Handler { return a.idle })
}

// A contestant that did not do its work would win.
func TestEveryProgramKeepsItsSession(t *testing.T) {
	apps, err := inMemory()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range apps {
		t.Run(a.name, func(t *testing.T) {
			if err := newVisitor(a.read, "GET", "").check(); err == nil {
				t.Error("a stranger has read a value")
			}
			cookie, err := a.enter()
			if err != nil {
				t.Fatal(err)
			}
			if err := newVisitor(a.read, "GET", cookie).check(); err != nil {
				t.Error(err)
			}
			if err := newVisitor(a.write, "POST", cookie).check(); err != nil {
				t.Error(err)
			}
			if err := newVisitor(a.read, "GET", cookie).check(); err != nil {
				t.Errorf("after a write: %v", err)
			}
		})
	}
}
