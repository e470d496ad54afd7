//go:build !linux

package doctor

func fileSystem(string) string                  { return "" }
func room(string) (free, total uint64, ok bool) { return 0, 0, false }
