package admin

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
)

func TestTailLooksBackFarEnough(t *testing.T) {
	events := history(6000) // device.blocked is every fourth
	for i := range events {
		if i%4 == 0 && i > 20 {
			events[i].Kind = "presence.delta"
		}
	}
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathJournal: answer(console.JournalReply{Events: 6000}),
		"GET " + console.PathEvents:  eventList(events),
	})
	for args, want := range map[string]string{
		"-n 3":                       "5998 5999 6000",
		"-n 0":                       "",
		"-n 2 --kind device.blocked": "17 21",
		"-n 9 --kind device.blocked": "1 5 9 13 17 21",
		"--from 5999":                "5999 6000",
		"--from 5990 -n 2":           "5990 5991",
		"--from 5990 -n 0":           "",
		"--from 6001":                "",
		"--kind token.created":       "",
	} {
		r := run{}.on(s, append(strings.Fields("journal tail -o csv"), strings.Fields(args)...)...)
		var got []string
		for i, line := range strings.Split(strings.TrimSpace(r.stdout), "\n") {
			if i > 0 {
				number, _, _ := strings.Cut(line, ",")
				got = append(got, number)
			}
		}
		if r.code != 0 || strings.Join(got, " ") != want {
			t.Errorf("tail %s shows %q, %v; want %q", args, got, r.err, want)
		}
	}
	if r := (run{}).on(s, "journal", "tail", "--from", "6002"); r.code != codeUsage || !strings.Contains(r.err.Error(), "no event 6002 yet, the last one is 6000") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	if r := (run{}).on(s, "journal", "tail", "--kind", "token.created", "-o", "json"); r.stdout != "[]\n" {
		t.Errorf("an empty list is %q", r.stdout)
	}
}

func TestFollowGoesOnWhereItWas(t *testing.T) {
	all := history(9)
	ctx, cancel := context.WithCancel(t.Context())
	last := func(w http.ResponseWriter, r *http.Request) {
		serverSent(serverEvent(all[7]), serverEvent(all[8]))(w, r)
		cancel()
	}
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathJournal: answer(console.JournalReply{Events: 5}),
		"GET " + console.PathEvents:  eventList(all[:5]),
		"GET " + console.PathEventStream: inOrder(serverSent(": following", serverEvent(all[5])), hangUp,
			refuse(503, "The console stops", "Try again."), serverSent(serverEvent(all[6])), last),
	})
	r := run{ctx: ctx}.on(s, "journal", "tail", "--follow", "-n", "2", "-o", "jsonl", "--kind", "results.reported,device.blocked")
	if r.code != 0 {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	for n := 4; n <= 7; n++ {
		if strings.Count(r.stdout, fmt.Sprintf(`{"number":%d,`, n)) != 1 {
			t.Errorf("event %d is not there once: %s", n, r.stdout)
		}
	}
	calls := strings.Join(s.called(), "\n")
	for _, from := range []int{6, 7, 8} {
		if !strings.Contains(calls, fmt.Sprintf("%s?from=%d&kind=results.reported%%2Cdevice.blocked", console.PathEventStream, from)) {
			t.Errorf("the stream was not taken up at event %d:\n%s", from, calls)
		}
	}
	if n := strings.Count(r.stderr, "trying to go on with event 7"); n != 1 {
		t.Errorf("stderr %q", r.stderr)
	}
}

func TestFollowGivesUp(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"GET " + console.PathJournal:     answer(console.JournalReply{}),
		"GET " + console.PathEventStream: refuse(503, "Too many streams", "Close one."),
	}
	s := newFakeSite(t, answers)
	if r := (run{}).on(s, "journal", "tail", "-f"); r.code != codeFailed || !strings.Contains(r.err.Error(), "Too many streams") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	for name, h := range map[string]http.HandlerFunc{
		"not a stream":    answer(1),
		"not an event":    serverSent("data: {"),
		"an event before": serverSent("data: {\"number\":0}"),
		"refused":         refuse(422, "The kind is unknown", "No."),
		"a long line":     serverSent("data: " + strings.Repeat("x", maxLine)),
	} {
		answers["GET "+console.PathEventStream] = h
		if r := (run{}).on(newFakeSite(t, answers), "journal", "tail", "-f"); r.code == 0 || r.err == nil {
			t.Errorf("%s: code %d, %v", name, r.code, r.err)
		}
	}
}

func TestRebuildNeedsItsResult(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathViewRebuild: serverSent("event: progress\ndata: {\"done\":1,\"total\":2}")})
	if r := (run{}).on(s, "views", "rebuild", "x"); r.code != codeFailed || !strings.Contains(r.err.Error(), "ended the stream before the result") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

// The site may leave out steps, and the last is often one of them.
func TestRebuildEndsItsProgress(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathViewRebuild: serverSent(
		"event: progress\ndata: {\"done\":1,\"total\":45}", "event: result\ndata: {\"view\":\"x\",\"same\":true}")})
	if r := (run{}).on(s, "views", "rebuild", "x"); r.code != 0 || !strings.HasSuffix(r.stderr, "45 of 45 events done\n") {
		t.Errorf("code %d, progress %q", r.code, r.stderr)
	}
}

func TestReadMessages(t *testing.T) {
	in := ": hello\n\nid: 7\nevent: event\ndata: one\ndata:two\n\nretry: 5\n\ndata: three\n\ndata: cut"
	var got []string
	err := readMessages(strings.NewReader(in), func(m message) error {
		got = append(got, fmt.Sprintf("%s/%s/%s", m.id, m.name, m.data))
		return nil
	})
	if want := []string{"7/event/one\ntwo", "//three"}; err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("messages %q, %v; want %q", got, err, want)
	}
}

func FuzzReadMessages(f *testing.F) {
	f.Add([]byte("id: 7\nevent: event\ndata: {}\n\n"))
	f.Add([]byte(": alive\n\ndata\n\r\n\n"))
	f.Add([]byte("data: a\ndata: b\n\ndata: cut"))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		err := readMessages(bytes.NewReader(b), func(m message) error {
			if m.data == nil || strings.ContainsAny(m.id+m.name, "\n") {
				t.Errorf("message %+v", m)
			}
			total += len(m.data)
			return nil
		})
		if err != nil || total > len(b) {
			t.Errorf("%d bytes of data in %d, %v", total, len(b), err)
		}
	})
}

func FuzzParseParams(f *testing.F) {
	f.Add("a=1")
	f.Add("sha256=aa,bb")
	f.Add(`x={"y":[1,2]}`)
	f.Add("=")
	f.Fuzz(func(t *testing.T, pair string) {
		params, err := parseParams([]string{pair})
		if (err == nil) != (len(params) == 1) {
			t.Errorf("%q gives %v, %v", pair, params, err)
		}
	})
}
