package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// FetchUserPolicy fetches the policy of a person, or of all who are signed in.
func (h host) FetchUserPolicy(ctx context.Context, user string) (string, error) {
	return h.a.fetchUserPolicies(ctx, user)
}

// LogFiles returns the files that policy names.
func (h host) LogFiles() []string { return slices.Clone(h.a.policy.settings().LogFiles) }

// Verbose makes the log detailed for a while, if whoever runs the agent has a log
// that can be.
func (h host) Verbose(d time.Duration) {
	if tell := h.a.cfg.Verbose; tell != nil {
		h.a.verbose.set(d, tell)
	}
}

// verbosity ends a time of detailed logging.
type verbosity struct {
	mu  sync.Mutex
	end *time.Timer // nil: there is none to end
}

func (v *verbosity) set(d time.Duration, tell func(bool)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.end != nil {
		v.end.Stop()
		v.end = nil
	}
	tell(d > 0)
	if d <= 0 {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.end == t { // else another time has begun
			v.end = nil
			tell(false)
		}
	})
	v.end = t
}

// stop ends the time, if there is one.
func (v *verbosity) stop(tell func(bool)) {
	if tell != nil {
		v.set(0, tell)
	}
}

const (
	uploadTry   = 10 * time.Minute // for one attempt
	uploadPause = time.Second      // before the next one, at first
	maxPause    = 5 * time.Minute
)

// Upload sends what an operation collected to the HTTPS port of the listener that
// serves this agent, else to that of another one. While none takes it, it is sent
// again as long as ctx allows.
func (h host) Upload(ctx context.Context, op task.ID, body io.ReaderAt, size int64, sum action.Digest) error {
	if size < 0 || size > wire.MaxLogs {
		return fmt.Errorf("send logs: %d bytes, at most %d are taken", size, wire.MaxLogs)
	}
	for pause := uploadPause; ; pause = min(2*pause, maxPause) {
		err := errors.New("the HTTPS port of no listener is known here")
		wait := pause
		for _, address := range h.a.httpsAddresses() {
			var later time.Duration
			later, err = h.a.put(ctx, address, op, io.NewSectionReader(body, 0, size), sum)
			if err == nil {
				return nil
			}
			if refused := (*wire.JoinError)(nil); errors.As(err, &refused) && !errors.Is(err, ErrUnreachable) {
				return fmt.Errorf("send logs to %s: %w", address, err)
			}
			wait = max(wait, min(later, maxPause))
			h.a.cfg.Log.Warn("logs are not sent", "operation", op, "address", address, "err", err)
		}
		if !sleep(ctx, jitter(wait)) {
			return fmt.Errorf("send logs: %w", err)
		}
	}
}

// httpsAddresses are those of the HTTPS ports, first that of the listener that
// serves this agent.
func (a *Agent) httpsAddresses() (list []string) {
	var name string
	if s := a.current.Load(); s != nil {
		name = s.welcome.Listener
	}
	known := a.policy.settings().Listeners
	for _, l := range known {
		if l.Name == name {
			list = append(list, l.HTTPS...)
		}
	}
	for _, l := range known {
		if l.Name != name {
			list = append(list, l.HTTPS...)
		}
	}
	for _, address := range a.id.https {
		if !slices.Contains(list, address) {
			list = append(list, address)
		}
	}
	return list
}

// put sends a body once. What is not taken now and may be later is an
// [ErrUnreachable]; later is when to try again, 0 if nobody said.
func (a *Agent) put(ctx context.Context, address string, op task.ID, body *io.SectionReader, sum action.Digest) (later time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, uploadTry)
	defer cancel()
	client, err := a.httpsClient(address, false)
	if err != nil {
		return 0, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "https://"+address+wire.LogsPath+op.String(), body)
	if err != nil {
		return 0, err
	}
	req.ContentLength = body.Size()
	if body.Size() == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set(wire.HeaderSHA256, sum.String())
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return 0, nil
	}
	refusal := &wire.JoinError{}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, wire.MaxJoin))
	if json.Unmarshal(b, refusal) != nil || refusal.Title == "" {
		refusal = &wire.JoinError{Title: http.StatusText(resp.StatusCode), Detail: "no reason was given"}
	}
	refusal.Status = resp.StatusCode
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		n, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return time.Duration(min(max(n, 0), 3600)) * time.Second, fmt.Errorf("%w: %w", ErrUnreachable, refusal)
	}
	return 0, refusal
}
