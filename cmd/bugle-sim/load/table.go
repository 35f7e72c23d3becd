package load

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// A row is one figure of one phase.
type row struct {
	phase, figure string
	better        Better
}

// Table writes the medians of each figure over all rounds in Markdown, a column for
// each target, and for each target that ours names a column with its ratio to the
// best of the others. Of faults it writes the most of any round; rows of zeros are
// left out.
func Table(w io.Writer, lines []Line, ours func(target string) bool) error {
	rows, targets, values := collect(lines)
	var own []string
	for _, t := range targets {
		if ours(t) && len(targets) > 1 {
			own = append(own, t)
		}
	}
	head := slices.Concat([]string{"phase", "figure"}, targets)
	for _, t := range own {
		head = append(head, t+" ÷ best")
	}
	b := new(strings.Builder)
	fmt.Fprintf(b, "| %s |\n|---|---|%s\n", strings.Join(head, " | "), strings.Repeat("---:|", len(head)-2))
	for _, r := range rows {
		if zeros(values[r]) {
			continue
		}
		cells := []string{r.phase, r.figure}
		for _, t := range targets {
			cells = append(cells, show(r.better.over(values[r][t])))
		}
		for _, t := range own {
			cells = append(cells, show(ratio(r, t, targets, values[r], ours)))
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func zeros(of map[string][]float64) bool {
	for _, values := range of {
		if slices.ContainsFunc(values, func(v float64) bool { return v != 0 }) {
			return false
		}
	}
	return true
}

func collect(lines []Line) (rows []row, targets []string, values map[row]map[string][]float64) {
	values = map[row]map[string][]float64{}
	for _, l := range lines {
		if !slices.Contains(targets, l.Target) {
			targets = append(targets, l.Target)
		}
		for _, f := range l.Figures {
			r := row{l.Phase, f.Name, f.Better}
			if values[r] == nil {
				values[r] = map[string][]float64{}
				rows = append(rows, r)
			}
			values[r][l.Target] = append(values[r][l.Target], f.Value)
		}
	}
	// The rows of one phase stand together, also those that only one target has.
	var phases []string
	for _, r := range rows {
		if !slices.Contains(phases, r.phase) {
			phases = append(phases, r.phase)
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return slices.Index(phases, a.phase) - slices.Index(phases, b.phase)
	})
	return rows, targets, values
}

// ratio is a target's median by that of the best of those that are not ours; NaN if
// there is none.
func ratio(r row, target string, targets []string, values map[string][]float64, ours func(string) bool) float64 {
	best := math.NaN()
	for _, t := range targets {
		if ours(t) || len(values[t]) == 0 {
			continue
		}
		v := median(values[t])
		switch {
		case math.IsNaN(best), r.better == Less && v < best, r.better == More && v > best:
			best = v
		}
	}
	if r.better != Less && r.better != More || best == 0 {
		return math.NaN()
	}
	return median(values[target]) / best
}

// show is a value as people read it: not more digits than it is worth.
func show(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case v == math.Trunc(v) && a < 1e15, a >= 1000:
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
