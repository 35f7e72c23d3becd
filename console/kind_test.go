package console

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/schema"
)

// detail is what a caller is told.
func detail(err error) string {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Detail
	}
	return ""
}

func TestTableOfKinds(t *testing.T) {
	agents, err := action.Table(action.Config{Scanner: "builtin"})
	if err != nil {
		t.Fatal(err)
	}
	classes := map[action.Class]string{action.Normal: "normal", action.Alone: "normal", action.Intrusive: "intrusive", action.Barrier: "barrier"}
	for name, k := range kinds {
		d, ok := agents[name]
		if !ok {
			t.Errorf("%s: agents do not know it", name)
			continue
		}
		if classes[d.Class] != k.class || d.Timeout != k.timeout {
			t.Errorf("%s: class %s and %s here, %s and %s on agents", name, k.class, k.timeout, classes[d.Class], d.Timeout)
		}
		if k.about == "" || k.priority < 1 || k.priority > 3 || k.params == nil {
			t.Errorf("%s: %+v", name, k)
		}
		if want := map[bool]time.Duration{true: 30 * 24 * time.Hour, false: time.Hour}[k.durable()]; k.deliverBy != want {
			t.Errorf("%s: deliver-by %s", name, k.deliverBy)
		}
		// Scans go over the channel only; everything else of Endpoint Protection, and
		// what a device must reach once, stands in policy too.
		durable := strings.HasPrefix(name, "threat.") || strings.HasPrefix(name, "update.") || name == "definitions.download" || name == "application.evaluate"
		if durable != k.durable() {
			t.Errorf("%s: contract %s", name, k.contract)
		}
	}
	for name := range agents {
		if kinds[name] == nil {
			t.Errorf("%s: the site does not know it", name)
		}
	}
}

func TestParametersOfKinds(t *testing.T) {
	for _, c := range []struct{ kind, params, want string }{
		{"restart", `{"warningMinutes":10,"message":"bye","ignoreWindows":true}`, ""},
		{"restart", `{"warningMinutes":0}`, "params.warningMinutes: 0 is less than 1 (restart)."},
		{"restart", `{"now":true}`, "params.now: there is no such parameter; there are ignoreWindows, message, warningMinutes (restart)."},
		{"policy.machine", `{"x":1}`, "params.x: there is no such parameter; there are none (policy.machine)."},
		{"policy.user", `{"user":"../x"}`, `params.user: "../x" is not a user's name (policy.user).`},
		{"scan.quick", `{"sha256":["ab"]}`, `params.sha256[0]: "ab" is not a SHA-256 of 64 hexadecimal digits (scan.quick).`},
		{"threat.exclude", `{}`, "params.paths: is missing, and must be given (threat.exclude)."},
		{"threat.exclude", `{"paths":["/a","C:\\x y"]}`, ""},
		{"threat.exclude", `{"paths":["/a","b"]}`, `params.paths[1]: "b" is not a full path (threat.exclude).`},
		{"threat.allow", `{"threats":["-rf"]}`, `params.threats[0]: "-rf" is not a SHA-256, or the name or number of a threat (threat.allow).`},
		{"threat.override", `{"threats":["a"],"action":"explode"}`, `params.action: "explode" is not one of report, quarantine, remove, default (threat.override).`},
		{"threat.restore", `{"threats":["Virus:DOS/EICAR_Test_File"],"allow":true}`, ""},
		{"update.install", `{"packages":["g++","libssl3","KB5034441"]}`, ""},
		{"update.install", `{"packages":["bash","--force"]}`, `params.packages[1]: "--force" is not the name of a package, or a KB number (update.install).`},
		{"update.install", `{"packages":["bash-"]}`, `params.packages[0]: "bash-" is not the name of a package, or a KB number (update.install).`},
		{"application.evaluate", `{"applications":[{"name":"bash","version":"5.0~rc1"},{"name":"7-Zip 23.01 (x64)"}]}`, ""},
		{"application.evaluate", `{"applications":[{"version":"1"}]}`, "params.applications[0].name: is missing, and must be given (application.evaluate)."},
		{"logs.collect", `{"files":["/var/log/x.log"],"maxBytes":65536}`, ""},
		{"logs.collect", `{"maxBytes":1e9}`, "params.maxBytes: 1000000000 is more than 67108864 (logs.collect)."},
		{"logs.verbose.on", `{"minutes":1.5}`, "params.minutes: 1.5 is not a whole number (logs.verbose.on)."},
		{"command.anything", `{"a":{"b":[1,"x"]}}`, ""},
	} {
		var params map[string]any
		if err := json.Unmarshal([]byte(c.params), &params); err != nil {
			t.Fatal(err)
		}
		k, err := kindNamed(c.kind)
		if err != nil {
			t.Errorf("%s: %s", c.kind, detail(err))
			continue
		}
		raw, err := k.encode(c.kind, params)
		if detail(err) != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s %s:\n got %s\nwant %s", c.kind, c.params, detail(err), c.want)
		}
		if err == nil && !json.Valid(raw) {
			t.Errorf("%s: %s", c.kind, raw)
		}
	}
	big := map[string]any{"a": strings.Repeat("x", 9000)}
	if _, err := ownKind.encode("command.x", big); !strings.Contains(detail(err), "at most 8192 are taken") {
		t.Errorf("%v", err)
	}
}

// What the site takes, agents must take too: else a push ends in refusals.
func TestExamplesOfParametersReachAgents(t *testing.T) {
	for name, k := range kinds {
		if len(k.params.Required) > 0 {
			continue
		}
		if raw, err := k.encode(name, nil); err != nil || raw != nil {
			t.Errorf("%s: %s %v", name, raw, err)
		}
	}
}

func TestNamesOfOwnKinds(t *testing.T) {
	for _, good := range []string{"command.x", "command.fix-the-printer", "command.a_b", "command." + strings.Repeat("x", 40)} {
		if k, err := kindNamed(good); err != nil || k != &ownKind {
			t.Errorf("%s: %s", good, detail(err))
		}
	}
	for _, bad := range []string{"command.", "command.../x", "command.X", "command.-x", "command.x-", "command.a b", "command." + strings.Repeat("x", 41), "command", "restart.now", ""} {
		if _, err := kindNamed(bad); err == nil {
			t.Errorf("%q is a kind", bad)
		}
	}
}

func TestSchemasAreShown(t *testing.T) {
	list := kindList()
	if len(list.Items) != len(kinds)+1 {
		t.Errorf("%d kinds", len(list.Items))
	}
	for _, k := range list.Items {
		b, err := json.Marshal(k.Schema)
		if err != nil {
			t.Errorf("%s: %v", k.Kind, err)
			continue
		}
		s, err := schema.Parse(b)
		if err != nil || strings.Join(s.Names(), " ") != strings.Join(k.Parameters, " ") {
			t.Errorf("%s: %s %v", k.Kind, b, err)
		}
	}
}
