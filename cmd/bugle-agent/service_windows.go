package main

import (
	"context"

	"golang.org/x/sys/windows/svc"
)

// asService runs the program for the service manager of Windows, if that has
// started it.
func asService(p program, args []string) (code int, ok bool) {
	if is, err := svc.IsWindowsService(); err != nil || !is {
		return 0, false
	}
	h := &handler{p: p, args: args}
	if err := svc.Run(serviceName, h); err != nil {
		return exitFailed, true
	}
	return h.code, true
}

// A handler is the program as the service manager sees it.
type handler struct {
	p    program
	args []string
	code int
}

// Execute implements svc.Handler.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (specific bool, code uint32) {
	ctx, cancel := context.WithCancel(h.p.ctx)
	defer cancel()
	h.p.ctx = ctx
	done := make(chan int, 1)
	go func() { done <- h.p.main(h.args) }()
	const accepts = svc.AcceptStop | svc.AcceptShutdown
	status <- svc.Status{State: svc.Running, Accepts: accepts}
	for {
		select {
		case h.code = <-done:
			status <- svc.Status{State: svc.Stopped}
			return false, uint32(h.code)
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending, WaitHint: 30_000}
				cancel()
			}
		}
	}
}
