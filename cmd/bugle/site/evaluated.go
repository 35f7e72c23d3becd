package site

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// An evaluation shows the queues of the evaluator on /metrics, one value for each
// queue.
type evaluation struct{ of *evaluator.Evaluator }

var (
	evaluationCycles  = evaluationFigure("cycles_total", "Cycles of the evaluator of collections.")
	evaluationSeconds = evaluationFigure("seconds_total", "Time that cycles took.")
	evaluationLast    = evaluationFigure("last_seconds", "How long the last cycle took.")
	evaluationLongest = evaluationFigure("longest_seconds", "How long the longest cycle took since the start.")
	evaluationWaiting = evaluationFigure("waiting", "Cycles that wait.")
	evaluationDropped = evaluationFigure("dropped_total", "Collections that were asked for while they waited already.")
)

func evaluationFigure(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("bugle_evaluation_"+name, help, []string{"queue"}, nil)
}

// Describe implements [prometheus.Collector].
func (e evaluation) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(e, out) }

// Collect implements [prometheus.Collector].
func (e evaluation) Collect(out chan<- prometheus.Metric) {
	for _, q := range e.of.Queues() {
		send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64) {
			out <- prometheus.MustNewConstMetric(d, kind, v, q.Queue.String())
		}
		send(evaluationCycles, prometheus.CounterValue, float64(q.Stats.Cycles))
		send(evaluationSeconds, prometheus.CounterValue, q.Stats.Total.Seconds())
		send(evaluationLast, prometheus.GaugeValue, q.Stats.Took.Seconds())
		send(evaluationLongest, prometheus.GaugeValue, q.Stats.Longest.Seconds())
		send(evaluationWaiting, prometheus.GaugeValue, float64(len(q.Waiting)))
		send(evaluationDropped, prometheus.CounterValue, float64(q.Stats.Dropped))
	}
}
