package throttle_test

import (
	"testing"

	"github.com/cloakroom-dev/cloakroom/throttle"
	"github.com/cloakroom-dev/cloakroom/throttle/throttletest"
)

func TestMemory(t *testing.T) {
	throttletest.Run(t, func(*testing.T) throttle.Store { return throttle.NewMemory() })
}
