package console_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
)

// card lets a device have a network card.
func (r *rig) card(number uint32, n int, name, mac, addresses string) {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	d := r.fleet.devices[number]
	for k, v := range map[string]string{"name": name, "mac": mac, "addresses": addresses} {
		d.Facts = append(d.Facts, event.Fact{Name: fmt.Sprintf("net.%d.%s", n, k), Value: v})
	}
	r.fleet.devices[number] = d
}

func TestWakeGoesToNeighbours(t *testing.T) {
	r := newRig(t)
	r.join("sleeps", "sleeps-too", "awake", "far", "alone", "docker")
	for n, online := range map[uint32]bool{1: false, 2: false, 3: true, 4: true, 5: false, 6: true} {
		r.add(n, map[uint32]string{1: "sleeps", 2: "sleeps-too", 3: "awake", 4: "far", 5: "alone", 6: "docker"}[n], online)
	}
	r.card(1, 0, "eth0", "02:00:00:00:00:01", "10.1.2.10/24 fe80::1/64")
	r.card(1, 1, "docker0", "02:42:00:00:00:01", "172.17.0.1/16")
	r.card(2, 0, "eth0", "02:00:00:00:00:02", "10.1.2.11/24")
	r.card(3, 0, "eth0", "02:00:00:00:00:03", "10.1.2.12/24")
	r.card(4, 0, "eth0", "02:00:00:00:00:04", "10.9.9.1/24")
	r.card(5, 0, "eth0", "02:00:00:00:00:05", "192.168.7.7/24")
	r.card(6, 0, "docker0", "02:42:00:00:00:06", "172.17.0.1/16")
	var p console.PushReply
	r.do("POST", console.PathOperations, `{"kind":"wake","devices":["sleeps","sleeps-too","alone"]}`).ok(&p)
	e, ok := r.last().Payload.(*event.OperationRequested)
	if !ok || p.Targets != 1 || fmt.Sprint(set(t, e.Targets)) != "[3]" || e.Target != "neighbours of 2 of 3 devices" {
		t.Fatalf("%+v, %+v", p, e)
	}
	tk, err := e.Task.Task()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(tk.Params); got != `{"subnets":[{"subnet":"10.1.2.0/24","macs":["02:00:00:00:00:01","02:00:00:00:00:02"]}]}` {
		t.Errorf("parameters %s", got)
	}
	r.do("POST", console.PathOperations, `{"kind":"wake","devices":["alone"]}`).problem(422, "subnet")
	r.do("POST", console.PathOperations, `{"kind":"wake","devices":["awake"]}`).problem(422, "online")
	r.do("POST", console.PathOperations, `{"kind":"wake","devices":["sleeps"],"params":{"subnets":[]}}`).problem(422, "wake takes none")
}

// A few neighbours of each subnet are enough.
func TestFewNeighboursWake(t *testing.T) {
	r := newRig(t)
	for n := uint32(1); n <= 10; n++ {
		r.join(fmt.Sprintf("pc-%d", n))
		r.add(n, fmt.Sprintf("pc-%d", n), n > 1)
		r.card(n, 0, "eth0", fmt.Sprintf("02:00:00:00:00:%02x", n), fmt.Sprintf("10.1.2.%d/24", n))
	}
	var p console.PushReply
	r.do("POST", console.PathOperations, `{"kind":"wake","devices":["pc-1"]}`).ok(&p)
	if e := r.last().Payload.(*event.OperationRequested); fmt.Sprint(set(t, e.Targets)) != "[2 3 4]" {
		t.Errorf("targets %v", set(t, e.Targets))
	}
	var kinds console.KindList
	r.do("GET", console.PathKinds, nil).ok(&kinds)
	for _, k := range kinds.Items {
		if b, _ := json.Marshal(k.Schema); !strings.Contains(string(b), `"type":"object"`) || k.DeliverBySeconds == 0 {
			t.Errorf("%s: %s", k.Kind, b)
		}
	}
}
