package console

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func (c *Console) live(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok\n") }

// ready answers 503 with the reasons while the site cannot do its work.
func (c *Console) ready(w http.ResponseWriter, _ *http.Request) {
	var reasons []string
	if err := c.cfg.Ready(); err != nil {
		reasons = append(reasons, err.Error())
	}
	for _, v := range c.cfg.Views.Status() {
		if v.Err != nil {
			reasons = append(reasons, fmt.Sprintf("view %s has stopped: %v", v.Name, v.Err))
		} else if v.Building {
			reasons = append(reasons, fmt.Sprintf("view %s is being built, %d events to go", v.Name, v.Lag))
		}
	}
	if len(reasons) > 0 {
		say(w, http.StatusServiceUnavailable, strings.Join(reasons, "\n")+"\n")
		return
	}
	say(w, http.StatusOK, "ok\n")
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(text))
}

// metrics serves what the collectors of the configuration collect, and the calls
// that were answered.
func (c *Console) metrics() (http.Handler, *prometheus.CounterVec, error) {
	r := prometheus.NewRegistry()
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bugle_console_calls_total", Help: "Calls of the console that were answered, by class of status.",
	}, []string{"status"})
	for _, col := range append([]prometheus.Collector{calls}, c.cfg.Collectors...) {
		if err := r.Register(col); err != nil {
			return nil, nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{}), calls, nil
}
