package gcpsecrets

import "time"

// Tests wait less between two attempts.
func init() { backoff = time.Millisecond }
