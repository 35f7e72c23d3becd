package load

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestLineAsJSON(t *testing.T) {
	l := Line{Target: "bugle", Agents: 2, Round: 1, Phase: "push"}
	l.Figures.less("zMs", 1.23456)
	l.Figures.quantiles("a", []time.Duration{2 * time.Millisecond, time.Millisecond})
	b, err := json.Marshal(l)
	if want := `{"target":"bugle","agents":2,"round":1,"phase":"push","figures":{"zMs":1.235,"aP50Ms":1,"aP99Ms":2}}`; err != nil || string(b) != want {
		t.Errorf("%s (%v), want %s", b, err, want)
	}
}

func TestTable(t *testing.T) {
	line := func(target string, round int, cpu, rate float64) Line {
		var f Figures
		f.less("cpuUs", cpu)
		f.more("perSecond", rate)
		f.says("resumed", 3)
		return Line{Target: target, Round: round, Phase: "connect", Figures: f}
	}
	lines := []Line{line("bugle", 1, 80, 1000), line("mosquitto", 1, 200, 400), line("nats", 1, 100, 900),
		line("bugle", 2, 60, 1200), line("mosquitto", 2, 220, 500), line("nats", 2, 300, 910), line("bugle", 3, 50, 900)}
	var late Figures
	late.less("onlyOursMs", 1234.5)
	lines = append(lines, Line{Target: "bugle", Phase: "idle", Figures: late})
	lines[4].Figures.fault("none", 0)
	lines[1].Figures.fault("missing", 2)
	lines[4].Figures.fault("missing", 0)
	var b strings.Builder
	if err := Table(&b, lines, func(t string) bool { return t == "bugle" }); err != nil {
		t.Fatal(err)
	}
	const want = `| phase | figure | bugle | mosquitto | nats | bugle ÷ best |
|---|---|---:|---:|---:|---:|
| connect | cpuUs | 60 | 210 | 200 | 0.30 |
| connect | perSecond | 1000 | 450 | 905 | 1.10 |
| connect | resumed | 3 | 3 | 3 | – |
| connect | missing | – | 2 | – | – |
| idle | onlyOursMs | 1234 | – | – | – |
`
	if b.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", b.String(), want)
	}
	b.Reset()
	if err := Table(&b, lines[:1], func(string) bool { return true }); err != nil || strings.Contains(b.String(), "÷") {
		t.Errorf("one alone has a ratio:\n%s", b.String())
	}
}
