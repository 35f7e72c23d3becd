package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/bugle-fleet/bugle"

// watched are the modules outside bugle whose use is settled here too: whoever
// imports one of them has its name in the table.
var watched = map[string]string{
	"github.com/nats-io/":        "nats",
	"github.com/dgraph-io/":      "badger",
	"github.com/RoaringBitmap/":  "roaring",
	"github.com/vmihailenco/":    "msgpack",
	"github.com/fsnotify/":       "fsnotify",
	"github.com/shirou/gopsutil": "gopsutil",
	"github.com/danielgtaylor/":  "huma",
	"github.com/prometheus/":     "prometheus",
	"github.com/spf13/":          "cobra",
}

// allowed is the table of imports: a package, and what it may import of bugle
// and of the watched modules. It is the architecture; a shortcut fails here.
var allowed = map[string]string{
	"listener/poll":                    "",
	"listener/tlsrecord":               "",
	"listener/wire/bounded":            "msgpack",
	"listener/wire/task":               "",
	"listener/wire/schema":             "",
	"listener/wire":                    "listener/wire/bounded listener/wire/task",
	"journal/event":                    "listener/wire/bounded listener/wire/task roaring",
	"journal":                          "journal/event",
	"journal/block":                    "journal journal/durable",
	"journal/commit":                   "journal journal/event",
	"journal/durable":                  "",
	"journal/generation":               "journal journal/durable",
	"journal/lock":                     "journal",
	"journal/tree":                     "journal journal/durable journal/event",
	"journal/archive":                  "journal journal/durable journal/tree",
	"journal/upkeep":                   "journal journal/archive journal/event journal/generation journal/tree",
	"journal/offline":                  "journal journal/archive journal/block journal/event journal/generation journal/lock journal/tree",
	"journal/salvage":                  "journal journal/event journal/offline journal/tree",
	"journal/offlinetest":              "journal journal/archive journal/block journal/event journal/generation journal/tree",
	"journal/jetstream":                "journal journal/archive journal/block journal/commit journal/durable journal/generation journal/lock nats",
	"journal/journaltest/powerloss":    "",
	"journal/journaltest":              "journal journal/commit journal/event nats listener/wire/task",
	"inbox/box":                        "listener/wire/bounded listener/wire/task",
	"inbox":                            "inbox/box journal journal/event listener/wire/bounded fsnotify",
	"projectors":                       "journal journal/durable journal/event listener/wire/bounded badger",
	"projectors/projectorstest":        "projectors journal journal/event journal/journaltest",
	"projectors/device":                "projectors journal/event listener/wire/bounded listener/wire/task roaring",
	"projectors/presence":              "projectors journal/event listener/wire/bounded listener/wire/task roaring",
	"projectors/operation":             "projectors journal/event listener/wire/bounded listener/wire/task roaring",
	"projectors/status":                "projectors journal/event listener/wire/bounded",
	"projectors/inventory":             "projectors projectors/collection/schema journal/event listener/wire/bounded listener/wire/task roaring",
	"projectors/window":                "projectors journal/event listener/wire/bounded",
	"projectors/collection":            "projectors journal/event listener/wire/bounded roaring",
	"projectors/collection/schema":     "",
	"projectors/collection/wql":        "projectors/collection/schema",
	"projectors/collection/engine":     "projectors/collection/schema projectors/collection/wql roaring",
	"projectors/collection/enginetest": "projectors/collection/engine projectors/collection/schema projectors/collection/wql roaring",
	"projectors/collection/advice":     "agent/window journal/event projectors/collection/schedule projectors/collection/schema projectors/collection/wql roaring",
	"projectors/collection/schedule":   "",
	"projectors/collection/evaluator": "journal journal/event projectors/collection projectors/collection/engine projectors/collection/schedule projectors/collection/schema " +
		"projectors/collection/wql projectors/inventory roaring",
	"listener/wire/carrier": "",
	"listener":              "listener/poll listener/tlsrecord listener/wire listener/wire/carrier listener/wire/task inbox/box listener/wire/bounded",
	"listener/feed":         "journal/durable listener listener/wire listener/wire/bounded listener/wire/task nats",
	"listener/relay":        "inbox/box journal/durable listener listener/wire listener/wire/task",
	"agent/action":          "listener/wire/schema listener/wire/task gopsutil",
	"agent":                 "listener/wire listener/wire/carrier listener/wire/task agent/action agent/window gopsutil",
	"agent/window":          "",
	"console/authority":     "journal journal/durable journal/event listener/wire listener/wire/bounded listener/wire/task roaring",
	"console/clock":         "journal journal/event listener/wire/task projectors projectors/presence projectors/status",
	"console/pacing":        "journal journal/event listener/wire/bounded listener/wire/task projectors projectors/operation roaring",
	"console/collected":     "journal/durable listener/wire/task",
	"console/definitions":   "agent/window journal journal/event listener/wire/bounded projectors/collection/schedule projectors/collection/schema projectors/collection/wql roaring",
	"console/filter":        "journal journal/event listener/wire/task roaring",
	"console": "agent/window console/authority console/collected console/definitions console/filter console/pacing journal journal/archive journal/durable journal/event journal/tree listener/wire/bounded listener/wire/schema listener/wire/task " +
		"projectors projectors/collection projectors/collection/advice projectors/collection/engine projectors/collection/evaluator projectors/collection/schedule projectors/collection/schema projectors/collection/wql projectors/device projectors/inventory projectors/presence projectors/operation projectors/status projectors/window roaring huma prometheus",
	"agent/watchdog":  "",
	"cmd/bugle-agent": "agent agent/watchdog",
}

// anything are the packages that wire the others and may import all of them.
var anything = []string{"cmd/bugle", "cmd/bugle-sim"}

func TestImportsFollowTheTable(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if slices.ContainsFunc(anything, func(a string) bool { return name == a || strings.HasPrefix(name, a+"/") }) {
			continue
		}
		line, ok := allowed[name]
		if !ok {
			t.Errorf("package %s is not in the table of imports: add it with what it may import", name)
			continue
		}
		may, used := strings.Fields(line), map[string]bool{}
		for _, i := range p.Imports {
			if short := shorten(i); short != "" && !slices.Contains(may, short) {
				t.Errorf("package %s imports %s, which the table does not allow", name, short)
			} else if short != "" {
				used[short] = true
			}
		}
		for _, m := range may {
			if !used[m] {
				t.Errorf("the table allows package %s to import %s, which it does not: take that out", name, m)
			}
		}
	}
}

// shorten is an import as the table names it, or empty if the table does not
// care.
func shorten(path string) string {
	if rest, ok := strings.CutPrefix(path, module+"/"); ok {
		return rest
	}
	for prefix, short := range watched {
		if strings.HasPrefix(path, prefix) {
			return short
		}
	}
	return ""
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) (all []goPackage) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("read list of packages: %v", err)
		}
		all = append(all, p)
	}
}
