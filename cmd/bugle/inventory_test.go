package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An inventoried is a device as "devices show" has it.
type inventoried struct {
	Number    uint32
	Reason    string
	Imported  *string
	Facts     map[string]string
	Inventory []struct {
		Class string
		Rows  []struct {
			Values []struct {
				Property string
				Value    any
				Event    uint64
			}
		}
	}
}

// value is that of a property in the first row of a class.
func (d *inventoried) value(class, property string) any {
	for _, c := range d.Inventory {
		for _, v := range c.Rows[0].Values {
			if c.Class == class && v.Property == property {
				return v.Value
			}
		}
	}
	return nil
}

// TestInventory is an inventory from a real agent beside an import, what a repeated one
// costs, and the end of a device.
func TestInventory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent("pc1")
	w.until("the agent is online", func() bool { return w.online() == 1 })
	for _, kind := range []string{"discovery.collect", "inventory.hardware"} {
		w.text("push", kind, "--device", "pc1", "--watch")
	}
	var pc1 inventoried
	w.until("the inventory is there", func() bool {
		w.object(&pc1, "devices", "show", "pc1")
		return pc1.value("SMS_G_System_WORKSTATION_STATUS", "LastHardwareScan") != nil
	})
	if name := pc1.value("SMS_R_System", "Name"); name != "pc1" || pc1.value("SMS_R_System", "Client") != 1.0 || pc1.value("SMS_G_System_COMPUTER_SYSTEM", "TotalPhysicalMemory") == nil {
		t.Errorf("device is %+v", pc1)
	}
	again := w.sent("inventory.hardware")
	if all := len(pc1.Facts); again*2 > all {
		t.Errorf("the second inventory of the same machine sent %d facts, it has %d", again, all)
	}

	file := filepath.Join(w.dir, "pcs.csv")
	if err := os.WriteFile(file, []byte("name,SMS_G_System_COMPUTER_SYSTEM.Model,Build\nserver1,PowerEdge,10.0.20348\nserver2,,\npc1,Imported,\n,,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code, stderr := w.try("devices", "import", file, "-o", "json")
	var counts struct{ New, Changed, Unchanged, Bad int }
	if err := json.Unmarshal([]byte(out), &counts); err != nil || code != 3 || fmt.Sprint(counts) != "{2 1 0 1}" || !strings.Contains(stderr, "pcs.csv:5: ") {
		t.Fatalf("import: exit %d, %v\n%s%s", code, err, out, stderr)
	}
	var server inventoried
	w.until("the import is there", func() bool {
		w.object(&server, "devices", "show", "2")
		return server.value("SMS_G_System_COMPUTER_SYSTEM", "Model") == "PowerEdge"
	})
	if server.Reason != "no-agent" || server.Imported == nil {
		t.Errorf("device is %+v", server)
	}
	var pushed struct{ Targets int }
	w.object(&pushed, "push", "policy.machine", "--all", "--yes")
	if pushed.Targets != 1 {
		t.Errorf("a push to all has %d targets", pushed.Targets)
	}

	w.text("devices", "remove", "pc1", "server2", "--reason", "scrapped")
	w.until("the removed are gone", func() bool { return len(w.devices()) == 1 && w.online() == 0 })
	if all := w.text("devices", "list", "--removed"); !strings.Contains(all, "removed") || !strings.Contains(all, "server1") {
		t.Errorf("devices are\n%s", all)
	}
	rebuildAll(t, w)
	w.site.stop()
}

// TestBecome is an agent that becomes an imported record, for its token names it, and
// one that has the name of another and does not.
func TestBecome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(w.dir, "pcs.csv")
	if err := os.WriteFile(file, []byte("name,SMS_G_System_COMPUTER_SYSTEM.Model\npc1,PowerEdge\npc2,ThinkPad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.text("devices", "import", file)
	w.until("the import is there", func() bool { return len(w.devices()) == 2 })
	before := w.devices()[0]

	w.agent("pc2")
	w.token = strings.TrimSpace(w.text("token", "create", "--device", "pc1", "--quiet"))
	w.agent("pc1")
	w.until("both agents are online", func() bool { return w.online() == 2 })
	var pushed struct{ Targets int }
	if w.object(&pushed, "push", "inventory.hardware", "--device", "pc1", "--watch"); pushed.Targets != 1 {
		t.Errorf("the push has %d targets", pushed.Targets)
	}
	var pc1 inventoried
	w.until("the inventory is there", func() bool {
		w.object(&pc1, "devices", "show", "pc1")
		return pc1.value("SMS_G_System_WORKSTATION_STATUS", "LastHardwareScan") != nil
	})
	if pc1.Number != 1 || pc1.Reason != "signed-in" || pc1.Imported == nil || pc1.value("SMS_R_System", "Client") != 1.0 {
		t.Errorf("device is %+v", pc1)
	}
	all := w.devices()
	if len(all) != 3 || all[0].ID != before.ID || all[1].Reason != "no-agent" || all[2].Name != "pc2" || !all[2].Online {
		t.Errorf("devices are %+v", all)
	}
	w.until("a message tells of the twin", func() bool {
		said := w.text("status", "messages", "-o", "jsonl")
		return strings.Contains(said, "device 3 joined as pc2, a new record; imported under that name, without an agent: 2") && !strings.Contains(said, "joined as pc1")
	})
	if _, code, stderr := w.try("token", "create", "--device", "pc1"); code == 0 || !strings.Contains(stderr, "An agent has joined for device 1") {
		t.Errorf("a second token for it: exit %d, %s", code, stderr)
	}
	rebuildAll(t, w)
	w.site.stop()
}

// sent pushes an inventory and returns how many facts became of it.
func (w *world) sent(kind string) (facts int) {
	w.t.Helper()
	var before, after struct{ Events uint64 }
	w.object(&before, "journal", "head")
	w.text("push", kind, "--device", "pc1", "--watch")
	w.object(&after, "journal", "head")
	for line := range strings.Lines(w.text("journal", "tail", "--from", fmt.Sprint(before.Events+1), "--kind", "device.discovered", "-o", "jsonl")) {
		var e struct {
			Payload struct{ Facts []any }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatal(err)
		}
		facts += len(e.Payload.Facts)
	}
	return facts
}
