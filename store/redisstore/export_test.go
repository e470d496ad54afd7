package redisstore

import "github.com/cloakroom-dev/cloakroom/store"

// Encode, Decode and Parse are what the package does with outside bytes.
func Encode(r store.Record) ([]byte, error) { return encode(&r) }

func Decode(id store.ID, b []byte) (store.Record, error) { return decode(id, b) }

func Parse(url string) error { _, err := parse(url, false); return err }

// UnderWay returns how many calls are under way.
func (s *Store) UnderWay() int {
	n := 0
	for _, c := range s.conns {
		n += len(c.calls)
	}
	return n
}
