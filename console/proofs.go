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
	// ConsistencyProof proves that an older checkpoint is of the beginning of what
	// the last one, which it returns as a text, is of.
	ConsistencyProof(ctx context.Context, older tree.Checkpoint) (proof, newer []byte, err error)
	Archives
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

type eventInput struct {
	Number uint64 `path:"number" minimum:"1"`
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

// ConsistencyReply is the proof that what an older checkpoint covers is the beginning
// of what the last one covers.
type ConsistencyReply struct {
	Proof string `json:"proof" doc:"a text that is checked with both checkpoints and the public key"`
	Newer string `json:"newer" doc:"the last checkpoint, a signed note"`
	Key   string `json:"key" doc:"the public key as the site says it; check with one that came over a way you trust"`
}

type consistencyInput struct {
	Older string `query:"older" required:"true" maxLength:"8192" doc:"the text of the older checkpoint, as it was kept"`
}

// getConsistency proves that a checkpoint that somebody has kept is of the beginning
// of this journal, or says that it is not.
func (c *Console) getConsistency(ctx context.Context, in *consistencyInput) (*out[ConsistencyReply], error) {
	const doing = "prove that the older checkpoint is of this journal's beginning"
	if err := c.covered(ctx, 1); err != nil {
		return nil, err
	}
	public := c.cfg.Authority.HeadPublicKey()
	_, signed := c.cfg.Checkpoints.Checkpoint()
	older, err := tree.OpenCheckpoint([]byte(in.Older), public, signed.Origin)
	if err != nil {
		return nil, badRequest("The checkpoint cannot be taken", "older: %s.", err)
	}
	if older.Events > signed.Events && older.Events <= c.cfg.Journal.Head().Event {
		if err := c.covered(ctx, older.Events); err != nil {
			return nil, err
		}
	}
	proof, newer, err := c.cfg.Checkpoints.ConsistencyProof(ctx, older)
	if tampered, ok := errors.AsType[*tree.TamperError](err); ok {
		c.cfg.Log.Error("the journal is not what a checkpoint says", "err", err)
		return nil, problem(http.StatusConflict, "The journal is not the one that was signed", "%s.", tampered)
	}
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	key, err := tree.VerifierKey(signed.Origin, public)
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	return answer(ConsistencyReply{Proof: string(proof), Newer: string(newer), Key: key})
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
