package console

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// AllViews stands for every view in a rebuild.
const AllViews = "all"

type viewInput struct {
	Name string `path:"name" maxLength:"64"`
}

// viewsNamed are the views that a name stands for.
func (c *Console) viewsNamed(name string) (names []string) {
	for _, v := range c.cfg.Views.Status() {
		if name == v.Name || name == AllViews {
			names = append(names, v.Name)
		}
	}
	return names
}

// rebuildView folds a view, or one after the other, anew, says how far it is, and
// makes each outcome an event. The rebuild ends with the call.
func (c *Console) rebuildView(ctx context.Context, in *viewInput) (*huma.StreamResponse, error) {
	names := c.viewsNamed(in.Name)
	if len(names) == 0 {
		return nil, c.failView(ctx, "rebuild "+clip(in.Name), projectors.ErrNoView)
	}
	return c.streamed("rebuild "+in.Name, func(ctx context.Context, s *stream) error {
		var failed error
		for _, name := range names {
			reply, err := c.rebuild(ctx, s, name)
			if err == nil {
				err = errors.Join(s.send("", "result", reply), s.flush())
			}
			failed = errors.Join(failed, err)
			if ctx.Err() != nil {
				break
			}
		}
		return failed
	})
}

// streamed answers with a stream of what do sends, and a problem at its end if do
// fails.
func (c *Console) streamed(doing string, do func(context.Context, *stream) error) (*huma.StreamResponse, error) {
	leave, err := c.enterStream()
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer leave()
		ctx, cancel := c.streamContext(hc.Context())
		defer cancel()
		s := newStream(hc)
		err := do(ctx, s)
		if err != nil {
			if p, ok := errors.AsType[*Problem](c.failView(ctx, doing, err)); ok {
				err = s.send("", "problem", p)
			}
		}
		if err := errors.Join(err, s.flush()); err != nil && ctx.Err() == nil {
			c.cfg.Log.Warn("outcome could not be reported", "doing", doing, "err", err)
		}
	}}, nil
}

func (c *Console) rebuild(ctx context.Context, s *stream, name string) (RebuildReply, error) {
	r, err := c.withProgress(ctx, s, name, func(ctx context.Context, progress func(projectors.Progress)) (projectors.Result, error) {
		return c.cfg.Views.Rebuild(ctx, name, progress)
	})
	if err != nil {
		return RebuildReply{}, err
	}
	return c.replaced(ctx, name, r, &event.ViewRebuilt{View: name, Generation: r.Generation, Position: r.Position, Digest: r.Digest, Same: r.Same})
}

// lateAppend bounds how long the event may take of what was done for a caller who
// has gone.
const lateAppend = 10 * time.Second

// replaced makes an event of another generation that serves now, also if the
// caller has gone.
func (c *Console) replaced(ctx context.Context, name string, r projectors.Result, p event.Payload) (RebuildReply, error) {
	e := &event.Event{Observed: c.cfg.Now(), Actor: actorOf(ctx), Payload: p}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateAppend)
	defer cancel()
	if err := c.cfg.Journal.Append(late, e); err != nil {
		return RebuildReply{}, err
	}
	return RebuildReply{View: name, Generation: r.Generation, Position: r.Position, Digest: hex.EncodeToString(r.Digest[:]), Same: r.Same, Event: e.Number}, nil
}

// progressEvery is how often a rebuild says how far it is.
const progressEvery = 100 * time.Millisecond

// replacing makes another generation of a view serve.
type replacing func(ctx context.Context, progress func(projectors.Progress)) (projectors.Result, error)

// withProgress replaces a generation while this goroutine writes to the stream; a
// slow reader misses steps and does not hold up the work.
func (c *Console) withProgress(ctx context.Context, s *stream, name string, replace replacing) (projectors.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	steps := make(chan projectors.Progress, 1)
	type outcome struct {
		projectors.Result
		err error
	}
	ended := make(chan outcome, 1)
	go func() {
		r, err := replace(ctx, func(p projectors.Progress) {
			select {
			case steps <- p:
			default:
			}
		})
		ended <- outcome{r, err}
	}()
	var told time.Time
	for {
		select {
		case p := <-steps:
			if time.Since(told) < progressEvery {
				continue
			}
			told = time.Now()
			shown := Progress{View: name, Done: p.Done, Total: p.Total, Rate: float64(int64(p.Rate)), LeftSeconds: p.Left.Seconds()}
			if err := errors.Join(s.send("", "progress", shown), s.flush()); err != nil {
				cancel()
				o := <-ended // it may have been done by then
				if o.err != nil {
					o.err = errors.Join(err, o.err)
				}
				return o.Result, o.err
			}
		case o := <-ended:
			return o.Result, o.err
		}
	}
}

type rollbackInput struct {
	Name string `path:"name" maxLength:"64"`
	Body ReasonRequest
}

// rollbackView lets the generation serve again that served before the last
// rebuild, and makes that an event.
func (c *Console) rollbackView(ctx context.Context, in *rollbackInput) (*huma.StreamResponse, error) {
	if in.Name == AllViews || len(c.viewsNamed(in.Name)) == 0 {
		return nil, c.failView(ctx, "roll back "+clip(in.Name), projectors.ErrNoView)
	}
	if c.statusOf(in.Name).Former == 0 {
		return nil, c.failView(ctx, "roll back "+in.Name, projectors.ErrNoFormer)
	}
	return c.streamed("roll back "+in.Name, func(ctx context.Context, s *stream) error {
		r, err := c.withProgress(ctx, s, in.Name, func(ctx context.Context, _ func(projectors.Progress)) (projectors.Result, error) {
			return c.cfg.Views.Rollback(ctx, in.Name)
		})
		if err != nil {
			return err
		}
		reply, err := c.replaced(ctx, in.Name, r, &event.ViewRolledBack{
			View: in.Name, Generation: r.Generation, Position: r.Position, Digest: r.Digest, Same: r.Same, Reason: in.Body.Reason,
		})
		if err != nil {
			return err
		}
		return s.send("", "result", reply)
	})
}

func (c *Console) statusOf(name string) (s projectors.Status) {
	for _, v := range c.cfg.Views.Status() {
		if v.Name == name {
			s = v
		}
	}
	return s
}

// answers tells why the views cannot say what was after an event: they are being
// built, or one has stopped before it.
func (c *Console) answers(number uint64) error {
	for _, v := range c.cfg.Views.Status() {
		switch {
		case v.Building:
			return problem(http.StatusServiceUnavailable, "A view is being built",
				"View %s cannot tell yet what was after event %d: it is being built and has %d events to go; try again in a while.", v.Name, number, v.Lag)
		case v.Err != nil && v.Position < number:
			return conflict("View %s cannot tell what was after event %d: it %s; mend that and rebuild it.", v.Name, number, stopReason(&v))
		}
	}
	return nil
}

// stopReason says where and why a view stopped.
func stopReason(v *projectors.Status) string {
	where := fmt.Sprintf("behind event %d", v.Position)
	if v.StoppedAt > 0 {
		where = fmt.Sprintf("at event %d", v.StoppedAt)
	}
	if v.StoppedBy != "" {
		where += fmt.Sprintf(" (%s)", v.StoppedBy)
	}
	return fmt.Sprintf("has stopped %s: %v", where, v.Err)
}
