package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// clockName says what threadTime counts.
const clockName = "processor time of the measuring thread"

// threadTime returns the processor time that this thread has used. Unlike that on
// the wall it leaves out what other programs take, and the collector's threads. A
// goroutine that asks twice is locked to its thread meanwhile.
func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
