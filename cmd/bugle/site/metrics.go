package site

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/listener"
)

// collectors are the site's own figures, and those of its process; the console adds
// its own. No label is per device.
func (s *Site) collectors() []prometheus.Collector {
	all := []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), evaluation{s.evaluator}}
	gauge := func(name, help string, read func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "bugle", Name: name, Help: help}, read))
	}
	counter := func(name, help string, read func() float64) {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "bugle", Name: name, Help: help}, read))
	}
	listenerFigure := func(read func(listener.Stats) float64) func() float64 {
		return func() float64 { return read(s.listener.Stats()) }
	}
	inboxFigure := func(read func(inbox.Stats) float64) func() float64 {
		return func() float64 { return read(s.inbox.Stats()) }
	}
	gauge("listener_connections", "Connections, signed in or not.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Connections) }))
	gauge("listener_waiting", "Connections that wait for a place to shake hands.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Waiting) }))
	gauge("listener_handshakes", "TLS handshakes under way.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Handshakes) }))
	gauge("listener_handshake_cost_seconds", "Moving mean of the time that a TLS handshake is computed.", listenerFigure(func(t listener.Stats) float64 { return t.HandshakeCost.Seconds() }))
	gauge("listener_sign_in_rate", "Sign-ins a second that this machine can do, by the cost of a handshake.", listenerFigure(func(t listener.Stats) float64 { return t.SignInRate }))
	gauge("listener_spread_seconds", "Time over which agents are told to spread a reconnect.", listenerFigure(func(t listener.Stats) float64 { return t.Spread.Seconds() }))
	gauge("listener_sessions", "Devices that are signed in.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Sessions) }))
	gauge("listener_operations", "Open operations.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Operations) }))
	gauge("listener_pending_results", "Results that are not on disk yet.", listenerFigure(func(t listener.Stats) float64 { return float64(t.PendingResults) }))
	gauge("listener_last_push_seconds", "From the release of the last operation to its last session.", listenerFigure(func(t listener.Stats) float64 { return t.LastPush.Seconds() }))
	counter("listener_sign_ins_total", "Sign-ins that were taken.", listenerFigure(func(t listener.Stats) float64 { return float64(t.SignIns) }))
	counter("listener_refused_total", "Connections and join requests that were refused.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Refused) }))
	counter("listener_slowed_total", "Of the refused: connections of addresses that connect again and again without signing in.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Slowed) }))
	counter("listener_cut_slow_total", "Of the refused: connections that kept the listener waiting while others wanted in.", listenerFigure(func(t listener.Stats) float64 { return float64(t.CutSlow) }))
	counter("listener_sign_ins_too_often_total", "Of the refused: sign-ins of devices that sign in again and again.", listenerFigure(func(t listener.Stats) float64 { return float64(t.TooOften) }))
	counter("listener_overflowed_total", "Of the refused: connections beyond what can be served before agents give up.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Overflowed) }))
	counter("listener_no_files_total", "Times that newcomers were turned away because the process was short of file descriptors.", listenerFigure(func(t listener.Stats) float64 { return float64(t.NoFiles) }))
	counter("listener_known_certificates_total", "Certificates that were remembered, so that neither chain nor record was looked at.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Known) }))
	counter("listener_resumed_total", "TLS handshakes over TCP with a session ticket.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Resumed) }))
	gauge("listener_addresses_slowed", "Addresses that connect again and again without signing in.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Owing) }))
	counter("listener_pushes_total", "Tasks that were sent, replays included.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Pushes) }))
	counter("listener_results_total", "Results that agents reported.", listenerFigure(func(t listener.Stats) float64 { return float64(t.Results) }))
	counter("listener_failed_drops_total", "Files that could not be written.", listenerFigure(func(t listener.Stats) float64 { return float64(t.FailedDrops) }))
	gauge("inbox_waiting_files", "Files in the inbox at the last look.", inboxFigure(func(t inbox.Stats) float64 { return float64(t.Waiting) }))
	gauge("inbox_oldest_seconds", "Age of the oldest file in the inbox.", inboxFigure(func(t inbox.Stats) float64 {
		if t.Oldest.IsZero() {
			return 0
		}
		return time.Since(t.Oldest).Seconds()
	}))
	counter("journal_checks_total", "Checks of the whole history.", func() float64 { return float64(s.upkeep.Stats().Checks) })
	gauge("journal_last_check_seconds", "Age of the last check of the whole history, 0 before the first.", func() float64 {
		last := s.upkeep.Stats().LastCheck
		if last.IsZero() {
			return 0
		}
		return time.Since(last).Seconds()
	})
	gauge("journal_damaged", "1 if the journal is damaged on the disk.", func() float64 {
		if s.upkeep.Stats().Damaged || s.store.Damage() != nil {
			return 1
		}
		return 0
	})
	gauge("journal_generations", "Generations, the open one included.", func() float64 { return float64(s.upkeep.Stats().Generations) })
	gauge("journal_generations_waiting", "Closed generations that could not be archived or removed.", func() float64 { return float64(s.upkeep.Stats().Waiting) })
	counter("inbox_files_total", "Files that the journal has.", inboxFigure(func(t inbox.Stats) float64 { return float64(t.Files) }))
	counter("inbox_quarantined_total", "Files that were put aside.", inboxFigure(func(t inbox.Stats) float64 { return float64(t.BadFiles) }))
	return all
}
