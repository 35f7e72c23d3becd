package agent

import (
	"fmt"
	"slices"
)

// maxListeners is how many listeners a policy may name, maxAddresses how many
// addresses each may have of a sort.
const (
	maxListeners = 64
	maxAddresses = 8
)

// A listener is where one is reached, as policy says.
type listener struct {
	Name  string   `json:"name"`
	TCP   []string `json:"tcp"`   // host:port, best first
	HTTPS []string `json:"https"` // the same
}

func (l *listener) check() error {
	if len(l.TCP) > maxAddresses || len(l.HTTPS) > maxAddresses || len(l.TCP)+len(l.HTTPS) == 0 {
		return fmt.Errorf("listener %q: %d and %d addresses, 1 to %d of each sort are taken",
			cut(l.Name, 64), len(l.TCP), len(l.HTTPS), maxAddresses)
	}
	for _, address := range slices.Concat(l.TCP, l.HTTPS) {
		if _, err := hostOf(address); err != nil {
			return fmt.Errorf("listener %q: %w", cut(l.Name, 64), err)
		}
	}
	return nil
}

// addresses are those of the TCP carriers to try, in order: what policy says, and
// behind it, as the last resort, what joining brought.
func (a *Agent) addresses() (list []string) {
	for _, l := range a.policy.settings().Listeners {
		list = append(list, l.TCP...)
	}
	for _, address := range a.id.listeners {
		if !slices.Contains(list, address) {
			list = append(list, address)
		}
	}
	return list
}

// follow returns how many of the ways are TCP, which come first. If that is
// another list than before, the best of it is next.
func (a *Agent) follow(all []way, first *int) (n int) {
	var list []string
	for _, w := range all {
		if !w.fallback() {
			list = append(list, w.address)
		}
	}
	if !slices.Equal(list, a.known) {
		a.known, *first = list, 0
	}
	return len(list)
}
