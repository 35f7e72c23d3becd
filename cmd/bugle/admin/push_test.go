package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
)

// pushes is how often a push, not a dry run, reached the site.
func pushes(s *fakeSite) (n int) {
	for _, c := range s.called() {
		if strings.HasPrefix(c, "POST "+console.PathOperations+" ") && !strings.Contains(c, `"dryRun":true`) {
			n++
		}
	}
	return n
}

func TestQuestionBeforeAPush(t *testing.T) {
	many := strings.Repeat("d,", large) + "d" // 51
	for _, c := range []struct {
		name     string
		terminal bool
		targets  uint32
		stdin    string
		args     string
		code     int
		asks     bool
	}{
		{"all, answered yes", true, 3, "y\n", "--all", 0, true},
		{"all, answered YES", true, 3, " YES \n", "--all", 0, true},
		{"all, answered no", true, 3, "n\n", "--all", 1, true},
		{"all, answered nothing", true, 3, "\n", "--all", 1, true},
		{"all, end of input", true, 3, "", "--all", 1, true},
		{"all, yes beforehand", true, 3000, "", "--all --yes", 0, false},
		{"few devices", true, 3, "", "--device 1,2,3", 0, false},
		{"many devices", true, 51, "y\n", "--device " + many, 0, true},
		{"many devices, no", true, 51, "no\n", "--device " + many, 1, true},
		{"script, all of few", false, 50, "", "--all", 0, false},
		{"script, all of many", false, 51, "y\n", "--all", 2, false},
		{"script, all of many, yes beforehand", false, 51, "", "--all --yes", 0, false},
		{"script, many devices", false, 51, "", "--device " + many, 2, false},
		{"script, many names of few devices", false, 1, "", "--device " + many, 0, false},
	} {
		s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathOperations: pushOf(c.targets, answer(pushAnswer))})
		r := run{terminal: c.terminal, stdin: c.stdin}.on(s, strings.Fields("push scan.quick "+c.args)...)
		if r.code != c.code {
			t.Errorf("%s: code %d, %v", c.name, r.code, r.err)
		}
		if asked := strings.Contains(r.stderr, "of them online? [y/N] "); asked != c.asks {
			t.Errorf("%s: stderr %q", c.name, r.stderr)
		}
		if want := map[bool]int{true: 1, false: 0}[c.code == 0]; pushes(s) != want {
			t.Errorf("%s: %d pushes, want %d", c.name, pushes(s), want)
		}
	}
}

func TestQuestionSaysHowManyAreOnline(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathOperations: pushOf(120, answer(pushAnswer))})
	if r := (run{terminal: true}).on(s, "push", "scan.quick", "--all"); r.stderr != "Push scan.quick to 120 devices, 60 of them online? [y/N] " {
		t.Errorf("stderr %q", r.stderr)
	}
	r := run{}.on(s, "push", "scan.quick", "--all")
	if r.code != codeUsage || !strings.Contains(r.err.Error(), "this is for 120 devices") || !strings.Contains(r.err.Error(), "--yes") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

func TestQuestionBeforeABlock(t *testing.T) {
	blocked := func(s *fakeSite) (n int) {
		for _, c := range s.called() {
			if strings.HasPrefix(c, "POST ") {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		name     string
		terminal bool
		stdin    string
		args     []string
		code     int
		question string
		blocked  int
	}{
		{"yes", true, "y\n", []string{"pc-0001"}, 0, "Block pc-0001, which is online? [y/N] ", 1},
		{"no", true, "\n", []string{"pc-0001"}, 1, "Block pc-0001, which is online? [y/N] ", 0},
		{"two", true, "y\n", []string{"pc-0001", "7"}, 0, "Block 2 devices, 2 of them online? [y/N] ", 2},
		{"yes beforehand", true, "", []string{"pc-0001", "--yes"}, 0, "", 1},
		{"script", false, "", []string{"pc-0001"}, 0, "", 1},
		{"script, many", false, "", strings.Fields(strings.Repeat("d ", large+1)), 2, "", 0},
	} {
		s := site(t)
		r := run{terminal: c.terminal, stdin: c.stdin}.on(s, append([]string{"devices", "block"}, c.args...)...)
		if r.code != c.code || r.stderr != c.question || blocked(s) != c.blocked {
			t.Errorf("%s: code %d (%v), stderr %q, %d blocked", c.name, r.code, r.err, r.stderr, blocked(s))
		}
	}
}

func TestBlockOfSomeIsPartlyDone(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"POST " + console.PathDeviceBlock: inOrder(answer(console.Written{Event: 1}), refuse(404, "There is no such thing", "There is no device \"b\".")),
	})
	r := run{}.on(s, "devices", "block", "a", "b", "c", "--yes")
	if r.code != codePartly || !strings.Contains(r.err.Error(), `b: There is no such thing`) || !strings.Contains(r.err.Error(), "of 3 devices 1 are blocked") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

// keys collects the idempotency keys of the calls that h answers.
func keys(h http.HandlerFunc) (http.HandlerFunc, func() []string) {
	got := make(chan string, 100)
	return func(w http.ResponseWriter, r *http.Request) {
			got <- r.Header.Get(console.HeaderIdempotencyKey)
			h(w, r)
		}, func() (all []string) {
			for len(got) > 0 {
				all = append(all, <-got)
			}
			return all
		}
}

func TestPushIsSentAgainWithTheSameKey(t *testing.T) {
	for name, first := range map[string]http.HandlerFunc{
		"connection broken": hangUp,
		"not available":     refuse(503, "The journal is not available", "Try again."),
	} {
		h, got := keys(pushOf(25, first, first, answer(pushAnswer)))
		s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathOperations: h})
		r := run{}.on(s, "push", "scan.quick", "--all", "--yes")
		all := got()
		if r.code != 0 || len(all) < 3 {
			t.Errorf("%s: code %d after %d calls, %v", name, r.code, len(all), r.err)
		}
		for _, k := range all {
			if k != all[0] || len(k) != 36 {
				t.Errorf("%s: keys %q", name, all)
			}
		}
	}
}

func TestEveryPushHasItsOwnKey(t *testing.T) {
	h, got := keys(pushOf(25, answer(pushAnswer)))
	s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathOperations: h})
	run{}.on(s, "push", "scan.quick", "--all", "--yes")
	run{}.on(s, "push", "scan.quick", "--all", "--yes")
	run{}.on(s, "push", "scan.quick", "--all", "--yes", "--idempotency-key", "mine")
	run{}.on(s, "push", "scan.quick", "--all", "--dry-run")
	all := got()
	if len(all) != 4 || all[0] == all[1] || all[2] != "mine" || all[3] != "" {
		t.Errorf("keys %q", all)
	}
}

func TestPushWithoutAnAnswerSaysHowToFindOut(t *testing.T) {
	h, got := keys(pushOf(25, hangUp))
	s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathOperations: h})
	r := run{}.on(s, "push", "scan.quick", "--all", "--yes")
	all := got()
	if r.code != codeFailed || len(all) < pushAttempts || !strings.Contains(r.err.Error(), "--idempotency-key "+all[0]) {
		t.Errorf("code %d after %d calls: %v", r.code, len(all), r.err)
	}
}

func TestPushThatIsRefusedIsNotSentAgain(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathOperations: refuse(422, "The kind is unknown", "No.")})
	r := run{}.on(s, "push", "x", "--all", "--yes")
	if r.code != codeUsage || pushes(s) != 1 || strings.Contains(r.err.Error(), "idempotency") {
		t.Errorf("code %d after %d calls: %v", r.code, pushes(s), r.err)
	}
}

// watched is a site whose operation goes through the given answers.
func watched(t *testing.T, answers ...http.HandlerFunc) *fakeSite {
	return newFakeSite(t, map[string]http.HandlerFunc{
		"POST " + console.PathOperations: pushOf(25, answer(pushAnswer)),
		"GET " + console.PathOperation:   inOrder(answers...),
	})
}

func TestWatchEndsWithTheOutcome(t *testing.T) {
	cancelled := operationWith(map[string]uint32{"succeeded": 20, "cancelled": 5})
	for _, c := range []struct {
		name string
		last console.OperationReply
		code int
	}{
		{"all good", allGood, 0}, {"some bad", someBad, codePartly}, {"cancelled", cancelled, 0},
		{"refused", operationWith(map[string]uint32{"refused": 25}), codePartly},
		{"timed out", operationWith(map[string]uint32{"timed-out": 1, "succeeded": 24}), codePartly},
		{"lost", operationWith(map[string]uint32{"lost": 1, "succeeded": 24}), codePartly},
	} {
		r := run{}.on(watched(t, answer(halfDone), answer(halfDone), answer(c.last)), "push", "scan.quick", "--all", "--watch")
		if r.code != c.code {
			t.Errorf("%s: push ends with code %d, %v", c.name, r.code, r.err)
		}
		if n := strings.Count(r.stderr, "12 of 25"); n != 1 {
			t.Errorf("%s: %d lines for one change: %q", c.name, n, r.stderr)
		}
		if r := (run{}).on(watched(t, answer(c.last)), "ops", "watch", opID); r.code != c.code {
			t.Errorf("%s: watch ends with code %d, %v", c.name, r.code, r.err)
		}
	}
	r := run{}.on(watched(t, answer(someBad)), "ops", "watch", opID)
	if want := "3 of 25 devices did not do it: failed 2, expired 1; see 'bugle ops devices " + opID + "'"; r.err == nil || r.err.Error() != want {
		t.Errorf("error %v, want %s", r.err, want)
	}
}

func TestWatchGoesOnWhenTheSiteComesBack(t *testing.T) {
	away := refuse(503, "The console stops", "Try again.")
	r := run{}.on(watched(t, answer(halfDone), hangUp, away, away, answer(allGood)), "ops", "watch", opID)
	if r.code != 0 {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	r = run{}.on(watched(t, answer(halfDone), away), "ops", "watch", opID)
	if r.code != codeFailed || !strings.Contains(r.err.Error(), "stopped watching") || !strings.Contains(r.err.Error(), "The console stops") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

func TestWatchThatFailsAfterThePushIsNoWrongCall(t *testing.T) {
	r := run{}.on(watched(t, refuse(422, "The request cannot be taken as it is", "x")), "push", "scan.quick", "--all", "--watch")
	if r.code != codeFailed || !strings.Contains(r.stdout, opID) || !strings.Contains(r.err.Error(), "the operation goes on") {
		t.Errorf("code %d, %v, output %s", r.code, r.err, r.stdout)
	}
	r = run{}.on(watched(t, refuse(404, "There is no such thing", "x")), "ops", "watch", opID)
	if r.code != codeFailed || strings.Contains(r.err.Error(), "goes on") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

func TestWatchStopsAtItsTimeout(t *testing.T) {
	r := run{}.on(watched(t, answer(halfDone)), "push", "scan.quick", "--all", "--watch", "--timeout", "1ns", "-o", "json")
	if r.code != codeFailed {
		t.Errorf("code %d", r.code)
	}
	for _, w := range []string{"stopped watching: --timeout is over", "bugle ops watch " + opID, "bugle ops cancel " + opID} {
		if r.err == nil || !strings.Contains(r.err.Error(), w) {
			t.Errorf("error %v does not say %q", r.err, w)
		}
	}
	var p pushed
	if err := json.Unmarshal([]byte(r.stdout), &p); err != nil || p.Operation != opID || *p.Done || p.States["running"] != 8 {
		t.Errorf("output %s, %v", r.stdout, err)
	}
}

func TestWatchStopsWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	interrupt := func(w http.ResponseWriter, r *http.Request) { cancel(); answer(halfDone)(w, r) }
	r := run{ctx: ctx}.on(watched(t, answer(halfDone), interrupt), "ops", "watch", opID)
	if r.code != codeFailed || !strings.Contains(r.err.Error(), "stopped watching: interrupted; the operation goes on: watch it with 'bugle ops watch "+opID) {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

func TestBarOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	r := run{terminal: true}.on(watched(t, answer(halfDone), answer(allGood)), "ops", "watch", opID, "-o", "json")
	want := "\r[###########-------------] 12/25  waiting 5, running 8, succeeded 12\x1b[K" +
		"\r[########################] 25/25  succeeded 24, not-applicable 1\x1b[K\n"
	if r.stderr != want {
		t.Errorf("stderr %q\nwant   %q", r.stderr, want)
	}
}
