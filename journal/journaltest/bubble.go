package journaltest

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats-server/v2/server/ats"
)

// outside starts, once and outside every bubble, the one goroutine that all
// embedded NATS servers of a process share. Started inside a bubble it would
// belong to it, and the bubble would never end.
var outside = sync.OnceFunc(ats.Register)

// Bubble runs f in a bubble of testing/synctest: time is fake, and passes only
// when everything in the bubble waits. A journal on embedded JetStream that is
// opened and closed in f works there.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	outside()
	synctest.Test(t, f)
}
