package schema

import "strings"

// Nearest returns the name of the class that a name which is not known may have
// meant, or "" if none is near.
func (s *Schema) Nearest(name string) string {
	n := newNearest(name)
	for _, c := range s.classes {
		n.try(c.Name)
	}
	// A name whose front was left out: COMPUTER_SYSTEM, SMS_TPM.
	tail := "_" + strings.TrimPrefix(n.name, "sms_")
	for _, c := range s.classes {
		if n.best == "" && len(tail) > 3 && strings.HasSuffix(Fold(c.Name), tail) {
			n.best = c.Name
		}
	}
	return n.best
}

// Nearest returns the name of the property that a name which is not known may have
// meant, or "" if none is near.
func (c *Class) Nearest(name string) string {
	n := newNearest(name)
	n.try(ResourceID)
	for i := range c.Properties {
		n.try(c.Properties[i].Name)
	}
	// A name whose end was left out: SystemOU.
	for i := range c.Properties {
		if p := c.Properties[i].Name; n.best == "" && len(n.name) > 3 && strings.HasPrefix(Fold(p), n.name) {
			n.best = p
		}
	}
	return n.best
}

// nearest looks for the name with the fewest slips, the first of several.
type nearest struct {
	name  string
	limit int // slips, at most
	best  string
}

func newNearest(name string) *nearest {
	name = Fold(name)
	if len(name) > maxName {
		return &nearest{limit: -1}
	}
	return &nearest{name: name, limit: 1 + len(name)/6}
}

func (n *nearest) try(name string) {
	if n.limit < 0 {
		return
	}
	if d := slips(n.name, Fold(name)); d <= n.limit {
		n.best, n.limit = name, d-1
	}
}

// slips counts the letters to put in, take out, change or swap with the next to get
// from one name to the other.
func slips(a, b string) int {
	if d := len(a) - len(b); d > maxSlips || -d > maxSlips {
		return maxSlips + 1
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range len(a) {
		before, last, this := rows[0], rows[1], rows[2]
		this[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			this[j+1] = min(change, last[j+1]+1, this[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				this[j+1] = min(this[j+1], before[j-1]+1)
			}
		}
		rows = [3][]int{last, this, before}
	}
	return rows[1][len(b)]
}

// maxSlips is more than any name may have.
const maxSlips = 1 + maxName/6
