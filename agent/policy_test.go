package agent

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// publish lets the listener answer with a policy of this body.
func (p *peer) publish(body string) *peer {
	doc := &task.Policy{Site: p.s.id.Site, Body: []byte(body)}
	return p.publishSigned(doc.ETag(), must(doc.Sign(p.s.policy)))
}

func (p *peer) publishSigned(etag string, signed []byte) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.etag = etag
	p.policyF = func(req *wire.PolicyRequest) [][]byte {
		if req.ETag == etag {
			return nil
		}
		return slices.Collect(slices.Chunk(signed, wire.MaxChunk))
	}
	return p
}

func TestPolicyChangesTheKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		a := s.start(dir, s.config())
		p := s.accept().welcome()
		time.Sleep(10 * time.Second)
		p.publish(`{"version":1,"keepAliveSeconds":30,"tomorrow":{"a":[1]},"tasks":[],"windows":[]}`)
		m := s.order("policy.machine", nil)
		p.send(m)
		r := p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
		if !strings.Contains(r.Detail, "keep-alive now every 30s (was 15m0s)") {
			t.Errorf("detail %q", r.Detail)
		}
		last := time.Now().Add(-10 * time.Second)
		for i := range 3 {
			<-p.alive
			if d := time.Since(last); d != 30*time.Second {
				t.Errorf("keep-alive %d after %s", i, d)
			}
			last = time.Now()
		}
		if st := must(ReadStatus(dir)); st.KeepAliveSeconds != 30 || st.Policy == "" {
			t.Errorf("status %+v", st)
		}
		m = s.order("policy.machine", nil)
		p.send(m)
		if r := p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded); !strings.HasSuffix(r.Detail, "unchanged") {
			t.Errorf("detail %q", r.Detail)
		}
		settle()
		a.halt()

		s.start(dir, s.config()) // it is in force from the start, without being sent
		p = s.accept().welcome()
		begun := time.Now()
		<-p.alive
		if d := time.Since(begun); d != 30*time.Second {
			t.Errorf("keep-alive after %s", d)
		}
	})
}

func TestPolicyIsPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.start(s.device(), s.config())
		p := s.accept()
		var asked []time.Time
		p.policyF = func(*wire.PolicyRequest) [][]byte { asked = append(asked, time.Now()); return nil }
		p.welcome()
		time.Sleep(24 * time.Hour)
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(asked) < 20 || len(asked) > 31 {
			t.Errorf("asked %d times in a day", len(asked))
		}
		for i := 1; i < len(asked); i++ {
			if d := asked[i].Sub(asked[i-1]); d < 48*time.Minute || d > 72*time.Minute+time.Second {
				t.Errorf("asked after %s", d)
			}
		}
	})
}

func TestPolicyOfManyChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		var applied atomic.Int32
		cfg := s.config()
		cfg.OnEvent = func(e Event) {
			if e.What == PolicyApplied {
				applied.Add(1)
			}
		}
		a := s.start(s.device(), cfg)
		digest := strings.Repeat("ab", 32)
		p := s.accept().publish(`{"version":1,"scanFolders":["/srv"],"indicators":["` + digest + `"],"x":"` + strings.Repeat("y", 900<<10) + `"}`)
		p.welcome()
		settle()
		if applied.Load() != 1 {
			t.Fatal("not applied")
		}
		if got := (host{a.Agent}).Scan(); !slices.Equal(got.Folders, []string{"/srv"}) || fmt.Sprint(got.Indicators) != "["+digest+"]" {
			t.Errorf("scan policy is %v", got)
		}
	})
}

func TestPoliciesThatAreNotTaken(t *testing.T) {
	sign := func(s *site, body string, key ed25519.PrivateKey, site string) (string, []byte) {
		doc := &task.Policy{Site: site, Body: []byte(body)}
		return doc.ETag(), must(doc.Sign(key))
	}
	const good = `{"version":1,"keepAliveSeconds":30}`
	for name, c := range map[string]struct {
		policy func(s *site) (string, []byte)
		want   string
	}{
		"another key":  {func(s *site) (string, []byte) { return sign(s, good, newSite(s.t, 0).policy, "P01") }, "does not trust"},
		"the task key": {func(s *site) (string, []byte) { return sign(s, good, s.tasks, "P01") }, "does not trust"},
		"another site": {func(s *site) (string, []byte) { return sign(s, good, s.policy, "P02") }, "policy of site"},
		"another name": {func(s *site) (string, []byte) { _, b := sign(s, good, s.policy, "P01"); return "x", b }, "named"},
		"a byte changed": {func(s *site) (string, []byte) {
			tag, b := sign(s, good, s.policy, "P01")
			return tag, bytes.Replace(b, []byte("30}"), []byte("31}"), 1)
		}, "signature does not match"},
		"not JSON":      {func(s *site) (string, []byte) { return sign(s, `{"version":1`, s.policy, "P01") }, "unexpected end"},
		"later version": {func(s *site) (string, []byte) { return sign(s, `{"version":2}`, s.policy, "P01") }, "version 2"},
		"too seldom": {func(s *site) (string, []byte) {
			return sign(s, `{"version":1,"keepAliveSeconds":99999999}`, s.policy, "P01")
		}, "keepAliveSeconds is"},
		"below zero": {func(s *site) (string, []byte) {
			return sign(s, `{"version":1,"policyPollSeconds":-1}`, s.policy, "P01")
		}, "policyPollSeconds is"},
		"bad indicators": {func(s *site) (string, []byte) { return sign(s, `{"version":1,"indicators":["abc"]}`, s.policy, "P01") }, "not a SHA-256"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, 0)
				dir := s.device()
				a := s.start(dir, s.config())
				p := s.accept().publishSigned(c.policy(s)).welcome()
				m := s.order("policy.machine", nil)
				p.send(m)
				if r := p.expect(operationOf(m), task.Delivered, task.Running, task.Failed); !strings.Contains(r.Detail, c.want) {
					t.Errorf("detail %q, want %q", r.Detail, c.want)
				}
				if tag := a.policy.etag(); tag != "" {
					t.Errorf("policy %q is in force", tag)
				}
				if _, err := os.Stat(filepath.Join(dir, policyFile)); err == nil {
					t.Error("it was stored")
				}
			})
		})
	}
}

// The connection may end while policy comes; the agent asks again.
func TestPolicyOverAReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		a := s.start(s.device(), s.config())
		body := `{"version":1,"x":"` + strings.Repeat("y", 200<<10) + `"}`
		doc := &task.Policy{Site: "P01", Body: []byte(body)}
		signed := must(doc.Sign(s.policy))
		p := s.accept()
		p.policyF = func(*wire.PolicyRequest) [][]byte {
			p.send(&wire.Policy{ETag: doc.ETag(), Part: 1, Of: 4, Chunk: signed[:wire.MaxChunk]})
			p.send(&wire.Policy{ETag: doc.ETag(), Part: 3, Of: 4, Chunk: signed[:wire.MaxChunk]})
			return nil
		}
		p.welcome()
		<-p.done // a part is missing
		s.accept().publish(body).welcome()
		settle()
		if a.policy.etag() != doc.ETag() {
			t.Error("not applied")
		}
	})
}

// A stored policy that cannot be used is as none.
func TestStoredPolicyThatIsDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		if err := os.WriteFile(filepath.Join(dir, policyFile), []byte("not signed by anybody"), 0o600); err != nil {
			t.Fatal(err)
		}
		a := s.start(dir, s.config())
		s.accept().publish(`{"version":1}`).welcome()
		settle()
		if a.policy.etag() == "" {
			t.Error("not fetched again")
		}
	})
}

func TestDiscoveryIsAcknowledgedBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.start(s.device(), s.config())
		p := s.accept().welcome()
		m := s.order("discovery.collect", nil)
		p.send(m)
		p.expect(operationOf(m), task.Delivered, task.Running)
		facts := <-p.facts
		names := map[string]string{}
		for _, f := range facts.Facts {
			names[f.Name] = f.Value
		}
		for _, want := range []string{"agent.version", "os.name", "os.arch", "host.name", "cpu.threads", "memory.bytes"} {
			if names[want] == "" {
				t.Errorf("no fact %s in %v", want, names)
			}
		}
		if r := p.expect(operationOf(m), task.Succeeded); r.Detail != fmt.Sprintf("%d facts", len(facts.Facts)) {
			t.Errorf("detail %q", r.Detail)
		}
	})
}

// An answer that comes when nobody waits for it any more is not taken for that to
// the next request; and if none comes, the next request is made all the same.
func TestLateAnswerIsNotTheNextOnes(t *testing.T) {
	for name, answered := range map[string]bool{"answered late": true, "not answered": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, 0)
				a := s.start(s.device(), s.config())
				p := s.accept().welcome()
				settle() // the first poll is answered
				hasPolicy(t, p)
				asked := 0
				p.publish(`{"version":1,"keepAliveSeconds":60}`)
				p.mu.Lock()
				answer := p.policyF
				p.policyF = func(m *wire.PolicyRequest) [][]byte {
					if asked++; asked > 1 {
						return answer(m)
					}
					time.Sleep(5 * time.Second) // as a listener that asks the site does, or one that is busy
					if !answered {
						return noAnswer
					}
					return nil
				}
				p.mu.Unlock()
				first := s.order("policy.machine", func(t *task.Task) { t.RunTimeout = time.Second })
				p.send(first)
				time.Sleep(2 * time.Second)
				second := s.order("policy.machine", nil)
				p.send(second)
				p.expect(operationOf(first), task.Delivered, task.Running, task.TimedOut)
				if r := p.expect(operationOf(second), task.Delivered, task.Running, task.Succeeded); !strings.Contains(r.Detail, "applied") {
					t.Errorf("%q", r.Detail)
				}
				if asked != 2 || a.policy.settings().keepAlive() != time.Minute {
					t.Errorf("asked %d times, keep-alive %s", asked, a.policy.settings().keepAlive())
				}
			})
		})
	}
}

// A person's policy is signed by the same key and says nothing of windows: it must
// not take the place of the machine's, whoever hands it out.
func TestPolicyOfAPersonIsNotTheMachines(t *testing.T) {
	for _, body := range []string{`{"version":1,"user":"ann","settings":{}}`, `{"version":1,"user":"*"}`} {
		if _, err := parseSettings([]byte(body)); err == nil || !strings.Contains(err.Error(), "of the machine") {
			t.Errorf("%s: %v", body, err)
		}
	}
}
