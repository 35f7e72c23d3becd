package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
)

// site is a whole console with one answer for every call.
func site(t *testing.T) *fakeSite {
	events := history(25)
	return newFakeSite(t, map[string]http.HandlerFunc{
		"POST " + console.PathTokens:          answer(console.TokenReply{Token: "bugle1.4f1d.5ec3e7.aa", ID: "4f1d", Uses: 25, Expires: at("12:00:00"), Event: 7}),
		"DELETE " + console.PathToken:         answer(console.Written{Event: 8}),
		"GET " + console.PathDevices:          deviceList,
		"GET " + console.PathDevice:           answer(deviceShown),
		"POST " + console.PathDeviceBlock:     answer(console.Written{Event: 21}),
		"POST " + console.PathDeviceUnblock:   answer(console.Written{Event: 22}),
		"GET " + console.PathKinds:            answer(console.KindList{Items: []console.KindInfo{{Kind: "scan.quick", Class: "normal", Contract: "channel", Parameters: []string{"sha256"}, Schema: map[string]any{"type": "object"}, RunTimeoutSeconds: 3600, DeliverBySeconds: 3600, Priority: 1, Product: 2, About: "look quickly"}, {Kind: "scan.full", Class: "normal", Contract: "channel", Parameters: []string{}, Schema: map[string]any{"type": "object"}, RunTimeoutSeconds: 86400, DeliverBySeconds: 3600, Priority: 2, Product: 1, About: "look everywhere"}}}),
		"POST " + console.PathOperations:      pushOf(25, answer(pushAnswer)),
		"GET " + console.PathOperations:       answer(console.OperationPage{Items: []console.Operation{halfDone.Operation, someBad.Operation}, Event: 50}),
		"GET " + console.PathOperation:        inOrder(answer(halfDone), answer(allGood)),
		"GET " + console.PathOperationDevices: answer(console.TargetPage{Items: targets, Event: 50}),
		"POST " + console.PathOperationCancel: answer(console.CancelReply{Event: 51, Targets: 25, Running: ptr(uint32(8)), Ended: ptr(uint32(12)), Spared: ptr(uint32(5))}),
		"POST " + console.PathOperationRetry:  retryOf(2),
		"GET " + console.PathOperationTrace:   answer(traced),
		"GET " + console.PathJournal:          answer(console.JournalReply{Events: 25, Pages: 9, Head: "c0ffee"}),
		"GET " + console.PathCheckpoint:       answer(console.CheckpointReply{Checkpoint: "bugle.P01/00\n9\n", Key: "bugle.P01/00+1+k", Origin: "bugle.P01/00", Events: 25, Pages: 9, Root: "r00t", Signed: at("10:00:00")}),
		"GET " + console.PathProof:            answer(console.ProofReply{Number: 7, Proof: "bugle proof\n"}),
		"GET " + console.PathEvents:           eventList(events),
		"GET " + console.PathEvent:            answer(events[0]),
		"GET " + console.PathInbox:            answer(console.InboxReply{Stats: map[string]any{"claimed": 17, "byKind": map[string]any{"BTS": 3}}, Quarantined: []console.QuarantinedFile{{Name: "BGB-00000001-00000000000000000017.BTS", Reason: "checksum does not match", Size: 4711, At: at("10:00:00"), Event: 33}}, Event: 50}),
		"POST " + console.PathInboxRequeue:    answer(console.Written{Event: 52}),
		"POST " + console.PathExports:         exportOf(25),
		"POST " + console.PathViewRollback:    serverSent(`event: result` + "\n" + `data: {"view":"presence","generation":2,"position":25,"digest":"d1ce","same":false,"event":27}`),
		"GET " + console.PathViews:            answer(console.ViewList{Items: []console.View{{View: "device", State: "serving", Position: 25, Generation: 2, Former: 1, Window: 3, Rows: 4, Since: ptr(at("09:00:00"))}, {View: "presence", State: "stopped", Position: 20, Lag: 5, LagSeconds: 1.25, Generation: 2, Since: ptr(at("10:00:00")), StoppedAt: 21, StoppedBy: "presence.delta", Error: "gap: event 21 is missing"}}, Event: 25}),
		"POST " + console.PathViewRebuild:     serverSent("event: progress\ndata: {\"view\":\"presence\",\"done\":10,\"total\":25,\"rate\":400000,\"leftSeconds\":2.1}", ": alive", "event: progress\ndata: {\"view\":\"presence\",\"done\":25,\"total\":25}", `event: result`+"\n"+`data: {"view":"presence","generation":3,"position":25,"digest":"d1ce","same":false,"event":26}`),
		"GET " + console.PathViewDigest: func(w http.ResponseWriter, r *http.Request) {
			answer(console.DigestReply{View: r.PathValue("name"), Position: 25, Digest: "d1ce"})(w, r)
		},
		"GET " + console.PathComponents: answer(console.ComponentList{Items: []console.Component{{Component: "listener", Name: "BGB", State: "started", Epoch: 1, Version: "1.0.0", Address: "127.0.0.1:10123", Since: ptr(at("09:00:00")), Heard: ptr(at("10:00:00"))}}, Event: 50}),
		"GET " + console.PathMessages:   answer(console.MessagePage{Items: []console.Message{{Event: 45, At: at("10:00:00"), Component: "agent", Message: 2001, Severity: "warning", Device: 2, Text: "clock was set back"}, {Event: 1, At: at("09:00:00"), Component: "listener", Message: 1001, Severity: "info", Text: "started"}}, Event: 50}),
		"GET " + console.PathPolicy:     answer(console.PolicyReply{Policy: policyBefore, ETag: "e7a9", Event: 30, Version: 6}),
		"GET " + console.PathTokens: answer(console.TokenList{Items: []console.TokenEntry{{ID: "4f1d", Uses: 25, Used: 3, Created: at("09:00:00"), Expires: at("12:00:00"), Usable: true},
			{ID: "5a2e", Device: 7, Uses: 1, Created: at("08:30:00"), Expires: at("12:00:00"), Usable: true},
			{ID: "77aa", Listener: "BGL01", Uses: 1, Created: at("08:00:00"), Expires: at("08:30:00"), Revoked: true}}}),
		"GET " + console.PathDeviceHistory: answer(console.DeviceHistory{Device: 1, Name: "pc-0001", Items: deviceShown.Changes, Event: 20}),
		"GET " + console.PathKeys: answer(console.KeyList{Ring: 2, Since: ptr(at("09:00:00")), OldCA: 3, Devices: []console.RingCount{{Ring: 1, Devices: 2}, {Ring: 2, Devices: 23}},
			Keys: []console.Key{{What: "task", ID: "0a0b", Since: 2, InUse: true}, {What: "task", ID: "0c0d", Since: 1}}}),
		"POST " + console.PathKeyRotate: answer(console.Written{Event: 54}),
		"POST " + console.PathKeyRetire: answer(console.Written{Event: 55}),
		"GET " + console.PathListeners: answer(console.ListenerList{Items: []console.ListenerReply{{Name: "BGB", Epoch: 2, Own: true, TCP: []string{"bugle.example:10123"}, HTTPS: []string{"bugle.example:10443"}},
			{Name: "BGL01", Epoch: 5, TCP: []string{"east.example:10123", "192.0.2.7:10123"}, HTTPS: []string{}, Scope: ptr(uint64(12)), Expires: ptr(at("12:00:00")), Revoked: true}}}),
		"POST " + console.PathListenerRevoke: answer(console.Written{Event: 56}),
		"GET " + console.PathUserPolicies:    answer(console.UserPolicyList{Items: []console.UserPolicyReply{annsPolicy}, Event: 57}),
		"GET " + console.PathUserPolicy:      answer(annsPolicy),
		"PUT " + console.PathUserPolicy:      answer(annsPolicy),
		"DELETE " + console.PathUserPolicy:   answer(console.UserPolicyReply{User: "ann", Settings: json.RawMessage(`{}`), Version: 4, Event: 58}),

		"PUT " + console.PathPolicy: answer(console.PolicyReply{Policy: console.PolicyBody{KeepAliveSeconds: 30, ScanFolders: []string{"/home"}}, ETag: "f00d", Event: 53, Version: 7}),
	})
}

var deviceShown = console.DeviceReply{Device: fleet[0], Facts: map[string]string{"os.name": "Debian", "cpu.count": "2", "evil": "a\x1b[2Jb", "connection.carrier": "tcp"},
	Connection:  &console.Connection{Carrier: "tcp", Why: "the first that answered", Since: "2026-03-01T10:00:00Z"},
	Certificate: console.Certificate{Serial: "7f01ab", Issued: at("09:00:00"), Expires: at("23:00:00"), Event: 12},
	Changes: []console.PresenceChange{{At: at("10:00:00"), Online: true, Reason: "signed-in", Listener: "BGB", Carrier: "tcp", Event: 19},
		{At: at("09:30:00"), Reason: "timed-out", Listener: "BGB", Carrier: "tcp", Event: 15}},
	Pending: []console.PendingOperation{{Operation: opID, Kind: "scan.quick", State: "running", DeliverBy: at("11:00:00")}}, Event: 20}

var annsPolicy = console.UserPolicyReply{User: "ann", Settings: json.RawMessage(`{"proxy":"none"}`), From: "ann", Version: 3, Event: 57}

var policyBefore = console.PolicyBody{KeepAliveSeconds: 900, PolicyPollSeconds: 3600, Indicators: []string{"aa", "bb"}, ScanFolders: []string{"/home"}}

var targets = []console.Target{
	{Device: 1, Name: "pc-0001", State: "succeeded", Online: true, Attempt: 1, Detail: "nothing found", Sent: ptr(at("10:00:00.001")),
		Received: ptr(at("10:00:00.003")), Running: ptr(at("10:00:00.004")), Ended: ptr(at("10:00:01")), Event: 44},
	{Device: 2, Name: "pc-0002", State: "failed", Online: true, Attempt: 1, Code: -5, Detail: strings.Repeat("long ", 20), Sent: ptr(at("10:00:00.001")), Event: 45},
	{Device: 3, Name: "pc-0003", State: "waiting", Event: 40},
}

var traced = console.TraceReply{Operation: opID, Kind: "scan.quick", Event: 50, Steps: []console.TraceStep{
	{At: at("10:00:00"), What: "requested", Event: 40, Detail: "by local/admin"},
	{At: at("10:00:00.0015"), What: "sent", Device: 1, Name: "pc-0001", Event: 41, HopMS: 1.5},
	{At: at("10:00:01"), What: "succeeded", Device: 1, Name: "pc-0001", Event: 44, HopMS: 998.5, Detail: "nothing found"},
}}

// everyCommand is one good call of each command.
var everyCommand = []struct{ name, args string }{
	{"token-create", "token create --uses 25 --ttl 2h"},
	{"token-revoke", "token revoke 4f1d"},
	{"token-list", "token list"},
	{"keys-list", "keys list"},
	{"keys-rotate", "keys rotate task --reason yearly --yes"},
	{"keys-retire", "keys retire task --yes"},
	{"listeners-list", "listeners list"},
	{"listeners-revoke", "listeners revoke BGL01 --reason stolen --yes"},
	{"devices-list", "devices list"},
	{"devices-show", "devices show pc-0001"},
	{"devices-history", "devices history pc-0001"},
	{"devices-block", "devices block pc-0001 7 --reason stolen --yes"},
	{"devices-unblock", "devices unblock pc-0001"},
	{"push", "push scan.quick --all"},
	{"push-dry-run", "push scan.quick --all --dry-run"},
	{"push-watch", "push scan.quick --device pc-0001 --watch"},
	{"ops-list", "ops list"},
	{"ops-show", "ops show " + opID},
	{"ops-watch", "ops watch " + opID},
	{"ops-devices", "ops devices " + opID},
	{"ops-cancel", "ops cancel " + opID + " --reason wrong"},
	{"ops-retry", "ops retry " + opID + " --only failed,expired"},
	{"ops-retry-dry-run", "ops retry " + opID + " --only lost --dry-run"},
	{"trace", "trace " + opID},
	{"journal-tail", "journal tail -n 4"},
	{"journal-show", "journal show 1"},
	{"journal-head", "journal head"},
	{"journal-checkpoint", "journal checkpoint"},
	{"journal-prove", "journal prove 7"},
	{"inbox-status", "inbox status"},
	{"inbox-requeue", "inbox requeue BGB-00000001-00000000000000000017.BTS"},
	{"views-list", "views list"},
	{"views-rebuild", "views rebuild presence"},
	{"views-rebuild-all", "views rebuild all"},
	{"views-rollback", "views rollback presence --reason wrong"},
	{"views-digest", "views digest"},
	{"views-digest-one", "views digest presence"},
	{"status-components", "status components"},
	{"status-messages", "status messages"},
	{"status-messages-explain", "status messages --explain 1201"},
	{"policy-user-list", "policy user list"},
	{"policy-user-show", "policy user show ann"},
	{"policy-user-set", `policy user set ann {"proxy":"none"} --if-version 2`},
	{"policy-user-remove", "policy user remove ann --reason left"},
	{"kinds", "kinds"},
	{"policy-show", "policy show"},
	{"policy-set", "policy set keepAliveSeconds=30s policyPollSeconds= indicators="},
}

func TestEveryCommandInEveryFormat(t *testing.T) {
	for _, c := range everyCommand {
		t.Run(c.name, func(t *testing.T) {
			var all strings.Builder
			for _, format := range append(formats, "quiet") {
				s := site(t)
				args := append(strings.Fields(c.args), "-o", format)
				if format == "quiet" {
					args = append(strings.Fields(c.args), "--quiet")
				}
				r := run{}.on(s, args...)
				fmt.Fprintf(&all, "$ bugle %s\n%s\n", strings.Join(args, " "), r.text(s))
			}
			golden(t, c.name, all.String())
		})
	}
}

func TestCallsThatCommandsMake(t *testing.T) {
	var all strings.Builder
	for _, args := range []string{
		"token create --uses 25 --ttl 2h",
		"token create --device pc-0042",
		"token revoke ../x",
		"devices list --online --name pc --limit 2",
		"devices list --offline",
		"devices show a/b",
		"devices block pc-0001 --reason stolen --yes",
		"push scan.quick --device 1,2 --device pc-3 --param sha256=aa,bb --param n=5 --param s=text --param on=true --param on=false --deliver-by 7d --run-timeout 90s --reason why",
		"push scan.quick --device 1 --deliver-by 2026-12-24T18:00:00+01:00 --param sha256=cc",
		"push scan.quick --all --yes --not-before 2026-12-24T22:00:00Z --priority 3 --wave 5%,25% --wave 500 --spread 2m --rate 500/s --stop-on-failure 10% --retry-of " + opID,
		"push scan.quick --all --yes --rate 7 --stop-on-failure 5 --spread 1d",
		"ops retry " + opID + " --only failed,expired --only lost --states-at 44 --deliver-by 7d --run-timeout 90s --wave 10% --reason again",
		"push scan.quick --all --yes",
		"push scan.quick --all",
		"push scan.quick --device 1 --watch",
		"ops list --limit 7",
		"ops devices " + opID + " --state failed --limit 1000",
		"ops cancel " + opID + " --reason wrong",
		"trace " + opID + " --device pc-0001",
		"journal tail --from 24 --kind device.blocked,presence.delta",
		"journal tail -n 2 --kind device.blocked",
		"journal tail --from 2h --to 2026-12-24T18:00:00+01:00 --kind operation. --actor local:admin --device pc-0001 --operation " + opID,
		"journal tail -n 1 --to 7d --actor BGB",
		"journal export --from 20 --to 22 --kind device. --actor admin --reason audit --changes",
		"devices list --at 2h --limit 3",
		"devices show pc-0001 --at 17",
		"ops list --at 17 --limit 1",
		"ops show " + opID + " --at 2026-12-24T18:00:00Z",
		"ops devices " + opID + " --at 1d",
		"trace " + opID + " --at 17",
		"status components --at 17",
		"status messages --at 17",
		"inbox status --at 17",
		"policy show --at 17",
		"views digest presence --at 17",
		"views rebuild all",
		"views rollback presence --reason wrong",
		"journal show 007",
		"inbox requeue BGB-00000001-00000000000000000017.BTS",
		"views rebuild presence",
		"status messages --limit 5",
		"policy set keepAliveSeconds=2m indicators+=CC indicators-=aa scanFolders=/a,/b --reason why",
	} {
		s := site(t)
		r := run{}.on(s, strings.Fields(args)...)
		if r.code != 0 {
			t.Errorf("bugle %s: %v", args, r.err)
		}
		fmt.Fprintf(&all, "$ bugle %s\n%s\n\n", args, strings.Join(s.called(), "\n"))
	}
	golden(t, "calls", all.String())
}

func TestListsGoThroughAllPagesUpToTheLimit(t *testing.T) {
	for limit, want := range map[string]int{"0": 3, "1": 1, "2": 2, "3": 3, "9": 3} {
		r := run{}.on(site(t), "devices", "list", "-o", "jsonl", "--limit", limit)
		if got := strings.Count(r.stdout, "\n"); got != want || r.code != 0 {
			t.Errorf("--limit %s shows %d devices, want %d (%v)", limit, got, want, r.err)
		}
	}
}

func TestListThatBreaksStaysOpen(t *testing.T) {
	page := console.DevicePage{Items: fleet[:2], Next: 2, Total: 3}
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathDevices: inOrder(answer(page), refuse(500, "The server failed", "See its log.")),
	})
	r := run{}.on(s, "devices", "list", "-o", "json")
	if r.code != codeFailed || strings.Contains(r.stdout, "]") || !strings.Contains(r.stdout, "pc-0001") {
		t.Errorf("code %d, output %s", r.code, r.stdout)
	}
	s = newFakeSite(t, map[string]http.HandlerFunc{"GET " + console.PathDevices: answer(page)})
	r = run{}.on(s, "devices", "list")
	if r.err == nil || !strings.Contains(r.err.Error(), "same page again") {
		t.Errorf("a list that never ends gives %v", r.err)
	}
}

func TestColours(t *testing.T) {
	coloured := func() bool {
		return strings.Contains(run{terminal: true}.on(site(t), "ops", "devices", opID).stdout, red+"failed"+uncoloured)
	}
	if !coloured() {
		t.Error("a terminal gets no colours")
	}
	t.Setenv("TERM", "dumb")
	if coloured() {
		t.Error("a dumb terminal gets colours")
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	if r := (run{terminal: true}).on(site(t), "ops", "watch", opID); strings.Contains(r.stdout+r.stderr, "\x1b[3") {
		t.Errorf("NO_COLOR is not honoured: %q", r.stdout+r.stderr)
	}
}

func TestCompletion(t *testing.T) {
	for args, want := range map[string]string{
		"push |":                        "scan.quick\tlook quickly\nscan.full\tlook everywhere\n:4\n",
		"push scan.quick --device pc-|": "pc-0001\n:4\n",
		"devices show pc|":              "pc-0001\n:4\n",
		"devices block pc-0001 pc|":     "pc-0001\n:4\n",
		"ops show |":                    opID + "\tscan.quick\n" + opID + "\tscan.quick\n:4\n",
		"ops show x |":                  ":4\n",
		"views rebuild |":               "device\npresence\n:4\n",
		"views rollback |":              "device\npresence\n:4\n",
		"journal tail --operation |":    opID + "\tscan.quick\n" + opID + "\tscan.quick\n:4\n",
		"journal export --device pc-|":  "pc-0001\n:4\n",
		"journal export --format |":     "jsonl\ncsv\narchive\n:4\n",
	} {
		fields := strings.Split(strings.TrimSuffix(args, "|"), " ")
		r := run{}.on(site(t), append([]string{"__complete"}, fields...)...)
		if r.stdout != want {
			t.Errorf("%s completes to %q, want %q", args, r.stdout, want)
		}
	}
	if r := (run{}).bugle("--data", t.TempDir(), "__complete", "devices", "show", ""); r.stdout != ":4\n" {
		t.Errorf("without a site it completes to %q", r.stdout)
	}
}

func TestHelpIsWhole(t *testing.T) {
	for _, c := range Commands(new(Options)) {
		for _, child := range append(c.Commands(), c) {
			if child.Short == "" || child.Long == "" || child.Example == "" {
				t.Errorf("%s lacks help", child.CommandPath())
			}
			if child.RunE == nil || child.Args == nil {
				t.Errorf("%s cannot be called or takes any argument", child.CommandPath())
			}
		}
	}
}
