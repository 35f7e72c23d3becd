package projectors

import "time"

// A Progress says how far a fold is.
type Progress struct {
	Done, Total uint64        // events
	Rate        float64       // events per second, since it began
	Left        time.Duration // as it looks now; 0 if that is not known
}

// A meter tells progress.
type meter struct {
	from, to uint64
	began    time.Time
	report   func(Progress)
}

// newMeter measures a fold of the events behind from, up to to. A nil report
// tells nobody.
func newMeter(from, to uint64, report func(Progress)) *meter {
	return &meter{from, max(from, to), time.Now(), report}
}

func (m *meter) tell(position uint64) {
	if m.report == nil {
		return
	}
	p := Progress{Done: max(min(position, m.to), m.from) - m.from, Total: m.to - m.from}
	if spent := time.Since(m.began); spent > 0 && p.Done > 0 {
		p.Rate = float64(p.Done) / spent.Seconds()
		p.Left = time.Duration(float64(p.Total-p.Done) / p.Rate * float64(time.Second)).Round(time.Millisecond)
	}
	m.report(p)
}
