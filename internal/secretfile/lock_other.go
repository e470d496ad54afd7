//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package secretfile

import "context"

// lockFile keeps others from changing the file at path, which has to exist, until
// unlock is called.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	return lockBeside(ctx, path, lockWait)
}
