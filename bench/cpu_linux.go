package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// clockName says what threadTime and processTime count.
const clockName = "processor time"

// threadTime returns the processor time that this thread has used. Unlike that on
// the wall it leaves out what other programs take, and the collector's threads. A
// goroutine that asks twice is locked to its thread meanwhile.
func threadTime() time.Duration { return clock(unix.CLOCK_THREAD_CPUTIME_ID) }

// processTime returns the processor time that all threads have used.
func processTime() time.Duration { return clock(unix.CLOCK_PROCESS_CPUTIME_ID) }

func clock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
