//go:build !linux

package doctor

func fileSystem(string) (kind string, ok bool)  { return "", false }
func room(string) (free, total uint64, ok bool) { return 0, 0, false }
