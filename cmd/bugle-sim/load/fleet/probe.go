package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
	"github.com/bugle-fleet/bugle/console"
)

const (
	probeEvery = 50 * time.Millisecond
	maxProbes  = 1 << 20          // of one process, some 14 hours
	lastProbe  = 90 * time.Second // for an answer that is waited for: a call ends within a minute
)

// probed is a line that the process which asks the API writes. The two are the same
// program, so this is no format.
type probed struct {
	Took  time.Duration `json:"tookNs"`
	Error string        `json:"error,omitempty"` // why it is no good answer
}

// A prober is a process that asks the API.
//
//	Fleet ── where the site is; end ──> prober ── HTTPS, one connection ── API
//	      <── how long each answer took
type prober struct {
	*helper
	fleet *Fleet
	ready chan struct{} // closed when the first answer has come
	ended chan struct{} // closed when no more come

	// What follows is to be read after that.
	first probed
	load.Probes
	err error
}

// Probe is of [load.Prober]. Without [Config].ProbeCommand nothing is asked.
func (f *Fleet) Probe(ctx context.Context) (stop func() (load.Probes, error), err error) {
	if len(f.cfg.ProbeCommand) == 0 {
		return func() (load.Probes, error) { return load.Probes{}, nil }, nil
	}
	c, err := f.startHelper("probe", f.cfg.ProbeCommand, load.StartAhead)
	if err != nil {
		return nil, fmt.Errorf("probe API: %w", err)
	}
	p := &prober{helper: c, fleet: f, ready: make(chan struct{}), ended: make(chan struct{})}
	go p.hear()
	if err = json.NewEncoder(p.in).Encode(f.place); err == nil {
		select {
		case <-p.ready:
			if p.first.Error != "" {
				err = errors.New(p.first.Error)
			}
		case <-p.ended:
			err = errors.New("the process ended before the first answer")
		case <-time.After(lastProbe):
			err = fmt.Errorf("no answer in %v", lastProbe)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		_, ended := p.stop(ctx)
		return nil, errors.Join(fmt.Errorf("probe API: %w", err), ended)
	}
	return func() (load.Probes, error) { return p.stop(ctx) }, nil
}

// hear collects answers until the process ends.
func (p *prober) hear() {
	defer close(p.ended)
	defer p.out.Close() // one that goes on then ends
	d := json.NewDecoder(p.out)
	for n := 0; ; n++ {
		var a probed
		switch err := d.Decode(&a); {
		case err == io.EOF:
			return
		case err != nil:
			p.err = fmt.Errorf("read answers: %w", err)
			return
		case n == 0:
			p.first = a
			close(p.ready)
		case a.Error == "":
			p.Took = append(p.Took, a.Took)
		default:
			if p.Failed++; p.Failed == 1 {
				fmt.Fprintf(p.fleet.cfg.Log, "bugle-sim: probe API: %s\n", a.Error)
			}
		}
	}
}

// stop lets the process end after the answer that it waits for, or at once if ctx is
// over.
func (p *prober) stop(ctx context.Context) (load.Probes, error) {
	_ = p.in.Close()
	select {
	case <-p.process.Ended():
	case <-ctx.Done():
	case <-time.After(lastProbe):
	}
	err := p.process.Stop()
	<-p.ended
	if err = errors.Join(err, p.err); err != nil {
		err = fmt.Errorf("probe API: %w%s", err, tail(p.log))
	}
	return p.Probes, err
}

// ServeProbe is the process that asks the API of a site: in says where that is, as
// [site.Place] in JSON. It asks for one device every 50 ms, over one connection, and
// writes a line of JSON to out for each answer, until in ends: {"tookNs":412345}, with
// "error" if it is no good one. It asks one at a time: whoever waits longer than that
// asks again at once. The first one, which opens the connection, comes before any
// waiting. Whoever opens a fleet with [Config].ProbeCommand starts it.
func ServeProbe(ctx context.Context, in io.Reader, out io.Writer) error {
	var at site.Place
	if err := json.NewDecoder(in).Decode(&at); err != nil {
		return fmt.Errorf("probe API: read where it is: %w", err)
	}
	s, err := site.Find(at)
	if err != nil {
		return fmt.Errorf("probe API: %w", err)
	}
	defer s.Close()
	asking, enough := context.WithCancel(ctx)
	defer enough()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		enough()
	}()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	e := json.NewEncoder(out)
	for n := range maxProbes {
		a := probe(ctx, s)
		if ctx.Err() != nil {
			return nil
		}
		if err := e.Encode(a); err != nil {
			return fmt.Errorf("probe API: %w", err)
		}
		if n == 0 {
			continue // that was for the connection
		}
		select {
		case <-tick.C:
		case <-asking.Done():
		}
		if asking.Err() != nil {
			return nil
		}
	}
	return nil
}

// probe lists one device.
func probe(ctx context.Context, s *site.Client) (a probed) {
	begun := time.Now()
	err := s.Call(ctx, http.MethodGet, console.PathDevices+"?limit=1", nil, new(console.DevicePage))
	a.Took = time.Since(begun)
	if err != nil {
		a.Error = err.Error()
	}
	return a
}
