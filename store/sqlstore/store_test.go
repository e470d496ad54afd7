package sqlstore_test

import (
	"testing"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// TestStore holds the store to the contract.
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t).Store() })
}
