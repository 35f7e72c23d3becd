package console

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/bugle-fleet/bugle/projectors"
)

type readInput struct{ When }

func (c *Console) listViews(context.Context, *struct{}) (*out[ViewList], error) {
	list := ViewList{Items: []View{}, Event: c.cfg.Journal.Head().Event}
	for _, v := range c.cfg.Views.Status() {
		list.Items = append(list.Items, viewJSON(&v))
	}
	return answerAt(list, list.Event)
}

func viewJSON(v *projectors.Status) View {
	shown := View{
		View: v.Name, State: stateOf(v), Position: v.Position, Lag: v.Lag, LagSeconds: v.Behind.Round(time.Millisecond).Seconds(), Rows: v.Rows,
		Generation: v.Generation, Former: v.Former, Window: v.Window, Building: v.Building, Since: instant(v.Since.UTC()),
		StoppedAt: v.StoppedAt, StoppedBy: string(v.StoppedBy),
	}
	if v.Since.IsZero() {
		shown.Since = nil
	}
	if v.Err != nil {
		shown.Error = v.Err.Error()
	}
	return shown
}

// The states of a view.
const (
	viewServes   = "serving"
	viewLags     = "lagging"
	viewBuilding = "building"
	viewStopped  = "stopped"
)

func stateOf(v *projectors.Status) string {
	switch {
	case v.Err != nil:
		return viewStopped
	case v.Building:
		return viewBuilding
	case v.Behind > projectors.MaxLag:
		return viewLags
	}
	return viewServes
}

type digestInput struct {
	Name string `path:"name" maxLength:"64"`
	At   string `query:"at" maxLength:"64" doc:"as of an event: its number, or the last one at an instant (RFC 3339) or before a time back from now (2h, 7d); default where the view is"`
}

func (c *Console) getDigest(ctx context.Context, in *digestInput) (*out[DigestReply], error) {
	const doing = "digest the view"
	reply := DigestReply{View: in.Name}
	var digest [32]byte
	var err error
	if in.At == "" {
		reply.Position, digest, err = c.cfg.Views.Digest(in.Name)
	} else if reply.Position, err = c.asOf(ctx, in.At); err == nil {
		digest, err = c.digestAt(ctx, in.Name, reply.Position)
	}
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	reply.Digest = hex.EncodeToString(digest[:])
	return answerAt(reply, reply.Position)
}

func (c *Console) digestAt(ctx context.Context, name string, number uint64) (digest [32]byte, err error) {
	if err := c.answers(number); err != nil {
		return digest, err
	}
	past, err := c.cfg.Views.At(ctx, number)
	if err != nil {
		return digest, err
	}
	err = past.View(name).Read(func(s *projectors.Snapshot) error {
		digest, err = s.Digest()
		return err
	})
	return digest, err
}
