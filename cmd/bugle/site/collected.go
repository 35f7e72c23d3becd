package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"github.com/bugle-fleet/bugle/console/collected"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// collectedFolder is where the logs of devices are kept, in the site's folder.
const collectedFolder = "logs-collected"

// kindCollect is the kind of task for which devices send logs.
const kindCollect = "logs.collect"

// logsRemoved is the status message of the component "logs" that the logs of a
// device made room for newer ones.
const logsRemoved = 1401

func (s *Site) openCollected() (err error) {
	s.collected, err = collected.Open(filepath.Join(s.cfg.Data, collectedFolder), s.cfg.MaxLogs, func(f collected.File) {
		s.notices.take(&event.SiteMessage{Component: "logs", Message: logsRemoved, Severity: event.Warning, Device: f.Device,
			Text: fmt.Sprintf("the logs of device %d for operation %s (%d bytes) made room for newer ones; --max-logs says how many bytes are kept", f.Device, f.Operation, f.Size)})
	})
	return err
}

// storeLog keeps the logs of a device if an operation asks it for them and it has not
// answered yet.
func (s *Site) storeLog(ctx context.Context, device uint32, op task.ID, sum [32]byte, size int64, body io.Reader) error {
	if err := s.space.check(); err != nil {
		return err
	}
	if err := s.asked(device, op); err != nil {
		return err
	}
	err := s.collected.Put(ctx, op, device, sum, size, body)
	switch {
	case errors.Is(err, collected.ErrBody):
		return &listener.JoinRefused{Status: http.StatusBadRequest, Title: "Malformed request", Detail: "the body is not what the request announced"}
	case errors.Is(err, collected.ErrQuota):
		return &listener.JoinRefused{Status: http.StatusInsufficientStorage, Title: "No room", Detail: "the site keeps no logs of this size"}
	}
	return err
}

// asked checks that the operation wants logs of the device. The view may not know an
// operation that a listener just sent: then the device is asked to come again.
func (s *Site) asked(device uint32, op task.ID) error {
	no := &listener.JoinRefused{Status: http.StatusForbidden, Title: "Forbidden", Detail: "the operation does not ask this device for logs"}
	o, ok, err := s.readers.operation.Get(op)
	switch {
	case err != nil:
		return err
	case !ok:
		return &listener.JoinRefused{Status: http.StatusServiceUnavailable, Title: "Try again later", Detail: "the operation is not known yet"}
	case o.Kind != kindCollect:
		return no
	}
	d, ok, err := s.readers.operation.Device(op, device)
	switch {
	case err != nil:
		return err
	case !ok || d.State.Final() && d.State != task.Lost:
		return no
	}
	return nil
}
