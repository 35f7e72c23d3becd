package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// facts are name and value in turn.
func factsOf(words ...string) (facts []action.Fact) {
	for i := 0; i < len(words); i += 2 {
		facts = append(facts, action.Fact{Name: words[i], Value: words[i+1]})
	}
	return facts
}

// changes reports a topic, and compares what is sent of it.
func changes(t *testing.T, a *running, topic string, facts []action.Fact, want ...string) (done func()) {
	t.Helper()
	changed, done, err := host{a.Agent}.Changes(t.Context(), topic, facts)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(changed, factsOf(want...)) {
		t.Errorf("of %s is sent %v, want %q", topic, changed, want)
	}
	return done
}

// What the site has is not reported again, what is gone is said once, and what was
// not acknowledged counts as not sent.
func TestChangesOfFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		a := s.start(dir, s.config())
		s.accept().welcome()
		first := factsOf("os", "12", "cpu", "4", "disk", "1")
		changes(t, a, "x", first, "os", "12", "cpu", "4", "disk", "1")
		changes(t, a, "x", first, "os", "12", "cpu", "4", "disk", "1")()
		changes(t, a, "x", first)()
		changes(t, a, "x", factsOf("os", "13", "cpu", "4"), "os", "13", "disk", "")
		changes(t, a, "x", factsOf("os", "13", "cpu", "4"), "os", "13", "disk", "")()
		changes(t, a, "x", factsOf("os", "13", "cpu", "4"))()
		changes(t, a, "y", factsOf("cpu", "4", "ram", "8"), "cpu", "4", "ram", "8")() // the first time of this topic
		changes(t, a, "y", factsOf("ram", "8"), "cpu", "")()
		changes(t, a, "x", factsOf("os", "13", "cpu", "4"), "cpu", "4")() // which is there after all
		a.halt()

		a = s.start(dir, s.config())
		s.accept().welcome()
		changes(t, a, "x", factsOf("os", "13", "cpu", "8"), "cpu", "8")()
		time.Sleep(fullReport + time.Hour)
		settle()
		changes(t, a, "x", factsOf("os", "13", "cpu", "8"), "os", "13", "cpu", "8")()
		changes(t, a, "x", factsOf("os", "13", "cpu", "8"))
	})
}

// A site with another history has nothing, and a memory that cannot be read is none.
func TestChangesAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		a := s.start(dir, s.config())
		p := s.accept().welcome()
		all := factsOf("os", "12", "cpu", "4")
		changes(t, a, "x", all, "os", "12", "cpu", "4")()
		changes(t, a, "x", all)
		for _, damage := range []string{"", "{", `{"version":9}`, `{"version":1}`, strings.Repeat("x", maxShared+1)} {
			if err := os.WriteFile(filepath.Join(dir, sharedFile), []byte(damage), 0o600); err != nil {
				t.Fatal(err)
			}
			changes(t, a, "x", all, "os", "12", "cpu", "4")
		}
		if err := os.Remove(filepath.Join(dir, sharedFile)); err != nil {
			t.Fatal(err)
		}
		changes(t, a, "x", all, "os", "12", "cpu", "4")()
		p.conn.Close()
		p = s.accept()
		w := welcomeOf(s.beacon(p.SignIn.Nonce))
		w.History[3] = 7
		p.welcomeWith(w)
		settle()
		changes(t, a, "x", all, "os", "12", "cpu", "4")
	})
}

// An inventory of a machine on which nothing changed is one fact: that somebody looked.
func TestInventoryOfAnUnchangedMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		cfg := s.config()
		cfg.Actions = append(cfg.Actions, action.Description{Kind: "x.report", Action: action.Func(func(ctx context.Context, r action.Request) action.Outcome {
			var list []action.Fact
			for i := range 700 {
				list = append(list, action.Fact{Name: fmt.Sprintf("fact %03d", i), Value: strings.Repeat("v", 50)})
			}
			changed, done, err := r.Host.Changes(ctx, "many", list)
			if err != nil {
				return action.Outcome{State: task.Failed, Detail: err.Error()}
			}
			for len(changed) > 0 {
				n := min(len(changed), 400)
				if err := r.Host.SendFacts(ctx, changed[:n]); err != nil {
					return action.Outcome{State: task.Failed, Detail: err.Error()}
				}
				changed = changed[n:]
			}
			done()
			return action.Outcome{State: task.Succeeded}
		})})
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		for round, want := range []int{2, 0} {
			m := s.order("x.report", nil)
			p.send(m)
			p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
			if got := len(p.facts); got != want {
				t.Errorf("round %d: %d messages, want %d", round, got, want)
			}
			for len(p.facts) > 0 {
				<-p.facts
			}
		}
	})
}
