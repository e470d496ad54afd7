package keyring

import "errors"

// judge says what is wrong with a key, if anything.
func judge(k Key) error {
	if k.secret == nil {
		return errors.New("there is no key; make one with cloakroom key new")
	}
	return nil
}
