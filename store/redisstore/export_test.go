package redisstore

// UnderWay returns how many calls are under way.
func (s *Store) UnderWay() int {
	n := 0
	for _, c := range s.conns {
		n += len(c.calls)
	}
	return n
}
