package projectors

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var kills = flag.Int("kills", 5, "how often TestKilled kills the process that writes a view")

const (
	killedEvents = 6000
	killedDir    = "BUGLE_TEST_KILLED_VIEW" // names the folder that the child writes
)

// TestKilled kills, with SIGKILL and at no chosen moment, a process that writes a
// view in batches of many events and moves its window. What it leaves opens, is
// exact as of each event of the window, and goes on.
func TestKilled(t *testing.T) {
	pages := history(t, killedEvents)
	if dir := os.Getenv(killedDir); dir != "" {
		killedChild(t, dir)
		return
	}
	want := truth(t, pages)
	dir := filepath.Join(t.TempDir(), "view")
	var reached uint64
	amid := 0
	for range *kills {
		amid += killChild(t, dir)
		g, err := open(t, dir, false)
		must(t, err)
		if g.meta.position < reached {
			t.Errorf("the view is back at event %d and was at event %d", g.meta.position, reached)
		}
		reached = g.meta.position
		exact(t, g, want)
		must(t, g.end())
		<-g.closed
	}
	if reached == 0 || reached >= killedEvents || amid == 0 {
		t.Errorf("%d kills left the view at event %d of %d, %d of them amid writes", *kills, reached, killedEvents, amid)
	}
}

// killChild runs the child for some milliseconds of its work; amid is 1 if it was
// at work then.
func killChild(t *testing.T, dir string) (amid int) {
	child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	child.Env = append(os.Environ(), killedDir+"="+dir)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	lines := bufio.NewScanner(out)
	for range 1 + rand.IntN(20) { // it says a line for every batch
		if lines.Scan() {
			amid = 1
		}
	}
	time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
	must(t, child.Process.Kill())
	_ = child.Wait()
	return amid
}

func killedChild(t *testing.T, dir string) {
	_, err := os.Stat(dir)
	g, err := open(t, dir, err != nil)
	must(t, err)
	pages := history(t, killedEvents)
	for i, p := range pages {
		if p.Last() <= g.position() {
			continue
		}
		must(t, g.apply(p, 1<<40))
		if i%8 == 0 {
			must(t, g.flush())
			fmt.Println("at", g.position())
		}
		if i%80 == 0 && g.position() > 300 {
			must(t, g.flush())
			must(t, g.slide(g.position()-300))
		}
	}
}
