package event_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
)

// FORMAT.md names every kind, and who appends it, as the table does.
func TestFormatNamesTheKinds(t *testing.T) {
	text, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[event.Kind]event.Appender)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z.-]+)` \\| ([a-z]+) \\|").FindAllSubmatch(text, -1) {
		said[event.Kind(m[1])] = event.Appender(m[2])
	}
	for _, k := range event.Kinds() {
		a, _ := event.AppenderOf(k)
		if said[k] != a {
			t.Errorf("FORMAT.md says that %s is appended by %q, the table %q", k, said[k], a)
		}
		delete(said, k)
	}
	for k := range said {
		t.Errorf("FORMAT.md describes %s, which there is not", k)
	}
}
