package powerloss

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/jetstream"
)

// An engine keeps numbered messages in a folder and says how many it has. Two of
// them have a mistake in them that the disk must bring to light.
type engine interface {
	append(n int) error
	count() (int, error)
}

var engines = map[string]func(dir string) (engine, error){
	"journal": openJournal,
	"unsynced": func(dir string) (engine, error) {
		return openStream(dir, false)
	},
	"folders unsynced": func(dir string) (engine, error) {
		return openStream(dir, true)
	},
}

// TestEngines cuts the power under each engine. What it had acknowledged is
// counted afterwards.
func TestEngines(t *testing.T) {
	if testing.Short() {
		t.Skip("runs without -short: the engines are other processes, many of them, and slow with the race detector")
	}
	if !Alone(t) {
		return
	}
	for _, c := range []struct {
		engine string
		mode   Mode
		loses  bool
	}{
		{"journal", Ordered, false},
		{"journal", Strict, false},
		{"unsynced", Ordered, true},
		{"unsynced", Strict, true},
		{"folders unsynced", Strict, true},
		{"folders unsynced", Ordered, false},
	} {
		lost, all, cuts := 0, 0, 0
		for ; cuts < 6 || c.loses && lost == 0 && cuts < 40; cuts++ {
			had, has := cutEngine(t, c.engine, c.mode, uint64(cuts))
			all += had
			if has < had {
				lost++
			}
		}
		t.Logf("%s, names %s: %d acknowledged, something lost in %d of %d cuts", c.engine, c.mode, all, lost, cuts)
		if all == 0 {
			t.Errorf("%s: nothing was ever acknowledged", c.engine)
		}
		if (lost > 0) != c.loses {
			t.Errorf("%s, names %s: lost is %t, want %t", c.engine, c.mode, lost > 0, c.loses)
		}
	}
}

// cutEngine returns how many messages were acknowledged before a cut and how many
// are there after it.
func cutEngine(t *testing.T, name string, mode Mode, seed uint64) (had, has int) {
	t.Helper()
	d := New(Options{Mode: mode, Seed: seed})
	m, dir := mounted(t, d)
	child := engineChild(name, "append", dir)
	out := run(t, child)
	for limit := 20 + int(seed%6)*7; had < limit && out.Scan(); {
		n, err := strconv.Atoi(out.Text())
		if err != nil {
			t.Fatalf("%s says %q", name, out.Text())
		}
		had = n
	}
	d.Stop()
	child.Process.Kill()
	d.Release()
	had = lastOf(out, had)
	child.Wait()
	unmount(t, m)
	d.Cut()
	m, err := d.Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unmount(t, m)
	b, err := engineChild(name, "count", dir).Output()
	if err != nil {
		t.Logf("%s, names %s, seed %d: %v: %s", name, mode, seed, err, b)
		return had, 0
	}
	if has, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
		t.Fatalf("%s says %q", name, b)
	}
	return had, has
}

// lastOf reads what else was acknowledged.
func lastOf(out *bufio.Scanner, had int) int {
	for out.Scan() {
		if n, err := strconv.Atoi(out.Text()); err == nil {
			had = n
		}
	}
	return had
}

func engineChild(name, what, dir string) *exec.Cmd {
	child := exec.Command("/proc/self/exe", "-test.run=^$")
	child.Env = append(os.Environ(), "POWERLOSS_ENGINE="+name, "POWERLOSS_WHAT="+what, "POWERLOSS_DIR="+dir)
	return child
}

// beEngine is the child's program: it appends and says what is acknowledged, or
// says what is there.
func beEngine(name string) error {
	dir := filepath.Join(os.Getenv("POWERLOSS_DIR"), "store")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	above, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	if err := errors.Join(above.Sync(), above.Close()); err != nil {
		return err
	}
	e, err := engines[name](dir)
	if err != nil {
		return err
	}
	if os.Getenv("POWERLOSS_WHAT") == "count" {
		n, err := e.count()
		fmt.Println(n)
		return err
	}
	for n := 1; ; n++ {
		if err := e.append(n); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

type realJournal struct{ j *jetstream.Journal }

func openJournal(dir string) (engine, error) {
	j, err := jetstream.Open(context.Background(), dir, jetstream.Options{})
	return realJournal{j}, err
}

func (e realJournal) append(n int) error {
	return e.j.Append(context.Background(), &event.Event{Payload: &event.FileRequeued{Name: fmt.Sprint(n)}})
}

func (e realJournal) count() (int, error) { return int(e.j.Head().Event), nil }

// A bareStream is JetStream without what the journal does around it.
type bareStream struct{ s js.JetStream }

func openStream(dir string, sync bool) (engine, error) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, JetStream: true, StoreDir: dir,
		SyncAlways: sync, SyncInterval: time.Hour, JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 1 << 20})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		return nil, errors.New("the server is not ready")
	}
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.Timeout(30*time.Second))
	if err != nil {
		return nil, err
	}
	api, err := js.New(conn, js.WithDefaultTimeout(30*time.Second))
	if err != nil {
		return nil, err
	}
	_, err = api.CreateOrUpdateStream(context.Background(), js.StreamConfig{Name: "S", Subjects: []string{"s"}})
	return bareStream{api}, err
}

func (e bareStream) append(n int) error {
	_, err := e.s.Publish(context.Background(), "s", []byte(fmt.Sprint(n)))
	return err
}

func (e bareStream) count() (int, error) {
	s, err := e.s.Stream(context.Background(), "S")
	if err != nil {
		return 0, err
	}
	return int(s.CachedInfo().State.Msgs), nil
}
