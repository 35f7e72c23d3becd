package console

import (
	"context"
	"errors"
	"net/http"

	"github.com/bugle-fleet/bugle/journal/tree"
)

// Checkpoints is what a console needs of a [tree.Tree].
type Checkpoints interface {
	// Checkpoint returns the last one as a text, nil if there is none yet.
	Checkpoint() (text []byte, c tree.Checkpoint)
	// Wait returns once a checkpoint covers the event.
	Wait(ctx context.Context, event uint64) error
	// Prove makes the proof of an event.
	Prove(ctx context.Context, event uint64) ([]byte, error)
}

func (c *Console) getCheckpoint(ctx context.Context, _ *struct{}) (*out[CheckpointReply], error) {
	if err := c.covered(ctx, 1); err != nil {
		return nil, err
	}
	text, signed := c.cfg.Checkpoints.Checkpoint()
	key, err := tree.VerifierKey(signed.Origin, c.cfg.Authority.HeadPublicKey())
	if err != nil {
		return nil, c.fail(ctx, "tell the key of checkpoints", err)
	}
	return answer(CheckpointReply{
		Checkpoint: string(text), Key: key, Origin: signed.Origin, Events: signed.Events, Pages: signed.Pages,
		Root: signed.Root.String(), Signed: signed.Signed,
	})
}

func (c *Console) getProof(ctx context.Context, in *eventInput) (*out[ProofReply], error) {
	if head := c.cfg.Journal.Head().Event; in.Number > head {
		return nil, notFound("There is no event %d; the journal ends with event %d.", in.Number, head)
	}
	if err := c.covered(ctx, in.Number); err != nil {
		return nil, err
	}
	proof, err := c.cfg.Checkpoints.Prove(ctx, in.Number)
	if err != nil {
		return nil, c.fail(ctx, "prove the event", err)
	}
	return answer(ProofReply{Number: in.Number, Proof: string(proof)})
}

// covered waits until what was acknowledged a moment ago is signed too.
func (c *Console) covered(ctx context.Context, number uint64) error {
	late, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	err := c.cfg.Checkpoints.Wait(late, number)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return problem(http.StatusServiceUnavailable, "The checkpoint is behind", "No checkpoint covers event %d yet; try again in a moment.", number)
	}
	if err != nil {
		return c.fail(ctx, "wait for a checkpoint", err)
	}
	return nil
}
