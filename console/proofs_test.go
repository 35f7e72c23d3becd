package console_test

import (
	"context"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
)

func TestCheckpointAndProofs(t *testing.T) {
	r := newRig(t)
	for range 11 {
		if err := r.journal.Append(context.Background(), &event.Event{Observed: start, Payload: &event.TokenRevoked{Token: "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	var c console.CheckpointReply
	r.do("GET", console.PathCheckpoint, nil).ok(&c)
	if c.Checkpoint != "signed" || c.Events != 10 || c.Pages != 4 || !strings.HasPrefix(c.Key, "bugle.P01/00+") || !c.Signed.Equal(start) {
		t.Errorf("checkpoint %+v", c)
	}
	var p console.ProofReply
	r.do("GET", console.Path(console.PathProof, "7"), nil).ok(&p)
	if p.Number != 7 || p.Proof != "proof of event 7" {
		t.Errorf("proof %+v", p)
	}
	r.do("GET", console.Path(console.PathProof, "3"), nil).problem(500, "prove the event")
	r.do("GET", console.Path(console.PathProof, "11"), nil).problem(503, "No checkpoint covers event 11 yet")
	r.do("GET", console.Path(console.PathProof, "12"), nil).problem(404, "ends with event 11")
	r.do("GET", console.Path(console.PathProof, "0"), nil).problem(422, "number")
}
