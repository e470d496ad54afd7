//go:build !unix || solaris || aix

package secretfile

import "sync"

var writing sync.Mutex

// lock keeps out this process alone.
func lock(string) (unlock func(), err error) {
	writing.Lock()
	return writing.Unlock, nil
}
