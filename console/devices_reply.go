package console

import (
	"context"
	"encoding/hex"

	"github.com/bugle-fleet/bugle/projectors/device"
)

// maxPending is how many open operations of one device are shown, the oldest.
const maxPending = 100

// The facts by which a device says how it connects.
const (
	factCarrier = "connection.carrier"
	factWhy     = "connection.why"
	factSince   = "connection.since"
)

func (v *reading) deviceReply(d *device.Device) (DeviceReply, error) {
	row, known, err := v.presence.Get(d.Number)
	if err != nil {
		return DeviceReply{}, err
	}
	reply := DeviceReply{Device: deviceJSON(d, row, known), BlockReason: d.BlockReason, Facts: map[string]string{}, Event: v.event}
	for _, f := range d.Facts {
		reply.Facts[f.Name] = f.Value
	}
	if carrier := reply.Facts[factCarrier]; carrier != "" {
		reply.Connection = &Connection{carrier, reply.Facts[factWhy], reply.Facts[factSince]}
	}
	reply.Removal = d.RemoveReason
	if err := v.addInventory(&reply); err != nil {
		return reply, err
	}
	reply.Certificate = Certificate{hex.EncodeToString(d.Serial), d.Issued, d.Expires, d.Certified}
	if reply.Changes, err = v.changesOf(d.Number); err != nil {
		return reply, err
	}
	reply.Pending, err = v.pendingOf(d.Number)
	return reply, err
}

func (v *reading) changesOf(number uint32) ([]PresenceChange, error) {
	all, err := v.presence.History(number)
	shown := make([]PresenceChange, 0, len(all))
	for _, c := range all {
		shown = append(shown, PresenceChange{c.At, c.Online, c.Reason.String(), c.Listener, c.Carrier.String(), c.Event})
	}
	return shown, err
}

func (v *reading) pendingOf(number uint32) ([]PendingOperation, error) {
	ids, err := v.operations.Pending(number)
	shown := []PendingOperation{}
	for _, id := range ids[:min(len(ids), maxPending)] {
		o, ok, err := v.operations.Get(id)
		if err != nil {
			return nil, err
		}
		d, target, err := v.operations.Device(id, number)
		if err != nil {
			return nil, err
		}
		if ok && target {
			shown = append(shown, PendingOperation{id.String(), o.Kind, d.State.String(), o.DeliverBy})
		}
	}
	return shown, err
}

func (c *Console) getDeviceHistory(ctx context.Context, in *deviceInput) (*out[DeviceHistory], error) {
	const doing = "read the history of the device"
	v, err := c.read(ctx, in.When)
	if err != nil {
		return nil, err
	}
	d, err := v.findDevice(in.Device)
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	items, err := v.changesOf(d.Number)
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	return answerAt(DeviceHistory{d.Number, d.Name, items, v.event}, v.event)
}
