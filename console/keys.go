package console

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// Paths of the site's keys. What is task, policy or ca.
const (
	PathKeys      = Base + "/keys"               // GET → [KeyList]
	PathKeyRotate = Base + "/keys/{what}/rotate" // POST [ReasonRequest] → [Written]
	PathKeyRetire = Base + "/keys/{what}/retire" // POST [RetireRequest] → [Written]
)

// KeyList is the keys that agents are to trust, and how far they are.
type KeyList struct {
	Ring    uint32      `json:"ring" doc:"number of the newest ring of keys; 1 if they never changed"`
	Since   *time.Time  `json:"since,omitempty" doc:"when that ring was made"`
	Keys    []Key       `json:"keys"`
	Devices []RingCount `json:"devices" doc:"devices by the newest ring that they have reported, rising; ring 1 stands for those that have reported none"`
	OldCA   int         `json:"oldCA" doc:"devices whose certificate is by an authority that does not issue any more"`
}

// Key is one key that is trusted.
type Key struct {
	What  string `json:"what" enum:"task,policy,ca"`
	ID    string `json:"id"`
	Since uint32 `json:"since" doc:"the ring that brought it"`
	InUse bool   `json:"inUse" doc:"it signs; the others are only trusted"`
}

// RingCount is how many devices have a ring.
type RingCount struct {
	Ring    uint32 `json:"ring"`
	Devices int    `json:"devices"`
}

// RetireRequest says why, and whether although something rests on the old keys.
type RetireRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"4096"`
	Force  bool   `json:"force,omitempty" doc:"also if open operations are signed by them, devices have certificates of them, or listeners may not know the new ones"`
}

// FactKeyring is the fact with which an agent reports the number of its ring.
const FactKeyring = "agent.keyring"

func (c *Console) listKeys(ctx context.Context, _ *struct{}) (*out[KeyList], error) {
	ring, old := c.cfg.Authority.Ring()
	reply := KeyList{Ring: ring.Number, OldCA: old, Keys: []Key{}}
	if !ring.At.IsZero() {
		reply.Since = &ring.At
	}
	for _, k := range ring.Keys {
		reply.Keys = append(reply.Keys, Key(k))
	}
	event := c.position()
	var err error
	if reply.Devices, err = c.ringCounts(ctx, ring.Number); err != nil {
		return nil, c.failView(ctx, "count the devices", err)
	}
	return answerAt(reply, event)
}

// ringCounts counts devices by the ring that they have reported.
func (c *Console) ringCounts(ctx context.Context, newest uint32) ([]RingCount, error) {
	numbers, err := c.cfg.Devices.Numbers()
	if err != nil {
		return nil, err
	}
	counts := make([]int, newest+1)
	if newest == 1 { // nothing to look for
		counts[1] = int(numbers.GetCardinality())
		numbers.Clear()
	}
	for i := numbers.Iterator(); i.HasNext(); {
		d, _, err := c.cfg.Devices.Get(i.Next())
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		counts[ringOf(&d, newest)]++
	}
	all := []RingCount{}
	for ring, n := range counts {
		if n > 0 {
			all = append(all, RingCount{uint32(ring), n})
		}
	}
	return all, nil
}

func ringOf(d *device.Device, newest uint32) uint32 {
	for _, f := range d.Facts {
		if f.Name == FactKeyring {
			if n, err := strconv.ParseUint(f.Value, 10, 32); err == nil && n >= 1 && n <= uint64(newest) {
				return uint32(n)
			}
		}
	}
	return 1
}

type rotateInput struct {
	What string `path:"what" enum:"task,policy,ca"`
	Body ReasonRequest
}

func (c *Console) rotateKey(ctx context.Context, in *rotateInput) (*out[Written], error) {
	number, err := c.cfg.Authority.RotateKey(ctx, actorOf(ctx), in.What, in.Body.Reason)
	if err != nil {
		return nil, c.fail(ctx, "rotate the key", err)
	}
	return answerAt(Written{number}, number)
}

type retireInput struct {
	What string `path:"what" enum:"task,policy,ca"`
	Body RetireRequest
}

func (c *Console) retireKeys(ctx context.Context, in *retireInput) (*out[Written], error) {
	if err := c.seenAll(ctx); err != nil && !in.Body.Force {
		return nil, c.failView(ctx, "retire the keys", err)
	}
	number, err := c.cfg.Authority.RetireKeys(ctx, actorOf(ctx), in.What, in.Body.Reason, in.Body.Force, func(old []task.KeyID) error {
		switch in.What {
		case authority.KeyTask:
			return c.unusedKeys(old)
		case authority.KeyCA:
			return c.listenersKnow()
		}
		return nil
	})
	if err != nil {
		return nil, c.failView(ctx, "retire the keys", err)
	}
	return answerAt(Written{number}, number)
}

// seenAll waits until the views that say what rests on a key hold what is in the
// journal: by one that is behind, an operation that was just made would be missed.
func (c *Console) seenAll(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	err := c.cfg.Views.Wait(wait, c.cfg.Journal.Head().Event, "operation", "status")
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return problem(http.StatusServiceUnavailable, "The views are behind",
			"What rests on the keys is not known yet, for the views are behind the journal; try again in a moment, or force it.")
	}
	return err
}

// unusedKeys is nil if no open operation, and no cancel that is still handed out,
// is signed by one of the keys.
func (c *Console) unusedKeys(old []task.KeyID) error {
	open, _, err := c.cfg.Operations.Open()
	if err != nil {
		return err
	}
	cancels, err := c.cfg.Operations.Cancels()
	if err != nil {
		return err
	}
	n := 0
	for i := range open {
		t, err := open[i].Signed.Task()
		if err != nil {
			return err
		}
		if slices.Contains(old, t.Key) {
			n++
		}
	}
	var stay []ed25519.PublicKey
	for _, k := range c.cfg.Authority.TaskPublicKeys() {
		if !slices.Contains(old, task.KeyIDOf(k)) {
			stay = append(stay, k)
		}
	}
	for i := range cancels {
		if len(cancels[i].Signed) > 0 {
			if _, err := task.VerifyCancel(cancels[i].Signed, c.cfg.Site, stay...); err != nil {
				n++
			}
		}
	}
	if n > 0 {
		return problem(http.StatusConflict, "The keys are in use",
			"%d operations are open, or were cancelled not long ago, and are signed by a key that would go: agents would refuse them; wait until they are over, cancel them, or force it.", n)
	}
	return nil
}

// listenersKnow is nil if every listener that runs apart was heard since the newest
// ring was made: then it was told of it, or will be in a moment. One that was not
// could not come back once the authority is retired that it knows the site by.
func (c *Console) listenersKnow() error {
	rows, err := c.cfg.Status.Listeners()
	if err != nil {
		return err
	}
	ring, _ := c.cfg.Authority.Ring()
	var away []string
	for _, l := range c.cfg.Authority.Listeners() {
		i := slices.IndexFunc(rows, func(r status.Listener) bool { return r.Name == l.Name })
		if !l.Own && !l.Revoked && (i < 0 || rows[i].Heard.Before(ring.At) && rows[i].Granted.Before(ring.At)) {
			away = append(away, l.Name)
		}
	}
	if len(away) > 0 {
		return problem(http.StatusConflict, "The keys are in use",
			"Nothing was heard of %s since the keys were changed: a listener that does not know the new authority could not come back; wait for it, revoke it, or force it.", some(away))
	}
	return nil
}
