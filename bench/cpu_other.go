//go:build !linux

package main

import "time"

// clockName says what threadTime and processTime count.
const clockName = "time on the wall"

var began = time.Now()

// threadTime returns the time on the wall, for want of that of the processor.
func threadTime() time.Duration { return time.Since(began) }

// processTime is threadTime.
func processTime() time.Duration { return threadTime() }
