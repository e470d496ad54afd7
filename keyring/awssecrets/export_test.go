package awssecrets

import "time"

// Tests wait less between two attempts.
func init() { maxBackoff = time.Millisecond }
