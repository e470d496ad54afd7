package memcachestore

import "github.com/cloakroom-dev/cloakroom/store"

// Recode reads an item of any kind and writes it again, for the fuzzer. It
// returns nil for one that cannot be read.
func Recode(userID string, b []byte) []byte {
	if e, err := decodeSession(store.ID{}, b); err == nil {
		if e.ended() {
			return encodeTombstone(e.Ended, e.until)
		}
		return e.encode()
	}
	if list, err := decodeIndex(userID, b); err == nil {
		return encodeIndex(userID, list)
	}
	if keys, err := decodeRegistry(b); err == nil {
		return encodeRegistry(keys)
	}
	return nil
}
