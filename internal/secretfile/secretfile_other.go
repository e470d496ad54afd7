//go:build !unix

package secretfile

import (
	"io/fs"
	"os"
)

func openRead(path string) (*os.File, error) { return os.Open(path) }

// checkOwner has nothing to look at, for the reason of checkMode.
func checkOwner(*os.File, fs.FileInfo) error { return nil }

// checkMode has nothing to look at: access is a matter of the ACL that the file
// inherits from its directory, and the mode bits are made up.
func checkMode(*os.File, Rule, fs.FileMode) error { return nil }

// keepOwner has nothing to do: a new file inherits from its directory.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

// syncDir has nothing to do: directories cannot be synced here.
func syncDir(string) error { return nil }
