package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func (c *Console) live(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok\n") }

// ready answers 503 with the reasons while the site cannot do its work. A view
// that lags is named and does not keep the site from it.
func (c *Console) ready(w http.ResponseWriter, _ *http.Request) {
	r := Readiness{Ready: true, Reasons: []string{}, Views: []View{}}
	if err := c.cfg.Ready(); err != nil {
		r.Ready, r.Reasons = false, append(r.Reasons, err.Error())
	}
	for _, v := range c.cfg.Views.Status() {
		state := stateOf(&v)
		switch state {
		case viewServes:
			continue
		case viewStopped:
			r.Reasons = append(r.Reasons, fmt.Sprintf("view %s %s", v.Name, stopReason(&v)))
		case viewBuilding:
			r.Reasons = append(r.Reasons, fmt.Sprintf("view %s is being built, %d events to go", v.Name, v.Lag))
		case viewLags:
			r.Reasons = append(r.Reasons, fmt.Sprintf("view %s is at event %d, %d events and %s behind", v.Name, v.Position, v.Lag, v.Behind.Round(time.Second)))
		}
		r.Ready = r.Ready && state == viewLags
		r.Views = append(r.Views, viewJSON(&v))
	}
	code := http.StatusOK
	if !r.Ready {
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(r)
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(text))
}

// viewMetrics shows how the views do, one series for each of them.
type viewMetrics struct {
	views Views

	mu     sync.Mutex
	before map[string]uint32 // generation that served when the console was made
	newest map[string]uint32 // that was seen to serve
}

var (
	viewLabel  = []string{"view"}
	lagEvents  = prometheus.NewDesc("bugle_view_lag_events", "Durable events that a view does not hold yet.", viewLabel, nil)
	lagSeconds = prometheus.NewDesc("bugle_view_lag_seconds", "How much later the last event was accepted than the last one that a view holds.", viewLabel, nil)
	stopped    = prometheus.NewDesc("bugle_view_stopped", "1 if a view has stopped, else 0.", viewLabel, nil)
	rebuilds   = prometheus.NewDesc("bugle_view_rebuilds_total", "How often a view was built anew since the start, by itself or by a command.", viewLabel, nil)
	viewSeries = []*prometheus.Desc{lagEvents, lagSeconds, stopped, rebuilds}
)

func newViewMetrics(views Views) *viewMetrics {
	m := &viewMetrics{views: views, before: map[string]uint32{}, newest: map[string]uint32{}}
	for _, v := range views.Status() {
		m.before[v.Name], m.newest[v.Name] = v.Generation, v.Generation
	}
	return m
}

// Describe implements [prometheus.Collector].
func (m *viewMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range viewSeries {
		to <- d
	}
}

// Collect implements [prometheus.Collector]. Generations are numbered upwards, and
// each rebuild makes one.
func (m *viewMetrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.views.Status() {
		m.newest[v.Name] = max(m.newest[v.Name], v.Generation, v.Former)
		halted := 0.0
		if v.Err != nil {
			halted = 1
		}
		gauge := func(d *prometheus.Desc, value float64) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, v.Name)
		}
		gauge(lagEvents, float64(v.Lag))
		gauge(lagSeconds, v.Behind.Seconds())
		gauge(stopped, halted)
		to <- prometheus.MustNewConstMetric(rebuilds, prometheus.CounterValue, float64(m.newest[v.Name]-m.before[v.Name]), v.Name)
	}
}

// metrics serves what the collectors of the configuration collect, and the calls
// that were answered.
func (c *Console) metrics() (http.Handler, *prometheus.CounterVec, error) {
	r := prometheus.NewRegistry()
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bugle_console_calls_total", Help: "Calls of the console that were answered, by class of status.",
	}, []string{"status"})
	for _, col := range append([]prometheus.Collector{calls, newViewMetrics(c.cfg.Views)}, c.cfg.Collectors...) {
		if err := r.Register(col); err != nil {
			return nil, nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{}), calls, nil
}
