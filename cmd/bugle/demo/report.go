package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// hops are the parts of a push's way, in order.
var hops = []string{"requested-sent", "sent-delivered", "delivered-running", "running-ended", "ended-visible"}

// report prints how the operation ended and checks that nothing is missing.
func (d *demo) report(ctx context.Context, op *console.OperationReply) error {
	if err := d.command(ctx, op, "ops", "show", op.Operation.Operation); err != nil {
		return err
	}
	var devices []console.Target
	if err := d.command(ctx, &devices, "ops", "devices", op.Operation.Operation, "--limit", "100000"); err != nil {
		return err
	}
	var trace console.TraceReply
	if err := d.command(ctx, &trace, "trace", op.Operation.Operation); err != nil {
		return err
	}
	d.states(op)
	d.latencies(op)
	found := d.found(devices)
	events := eventsOf(trace)
	d.say("\nhistory: the operation is events %s of the journal", ranges(events))
	return d.verdict(op, devices, found, events)
}

func (d *demo) states(op *console.OperationReply) {
	d.say("\n%-16s %s", "STATE", "DEVICES")
	for _, s := range task.States {
		if n := op.States[s.String()]; n > 0 {
			d.say("%-16s %d", s, n)
		}
	}
}

func (d *demo) latencies(op *console.OperationReply) {
	d.say("\nmilliseconds; the devices that were off are in the first hop with the time they were off")
	t := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "hop\tdevices\tp50\tp99\tmax\t")
	for _, hop := range hops {
		if h, ok := op.Latency[hop]; ok {
			fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%.1f\t\n", strings.Replace(hop, "-", " → ", 1), h.Count, h.P50, h.P99, h.Max)
		}
	}
	t.Flush()
}

// found prints the devices on which the scan found the file.
func (d *demo) found(devices []console.Target) (n int) {
	d.say("")
	for _, device := range devices {
		if strings.Contains(device.Detail, "found") {
			n++
			d.say("%s: %s", device.Name, device.Detail)
		}
	}
	d.say("the other %d are clean", len(devices)-n)
	return n
}

func eventsOf(trace console.TraceReply) (events []uint64) {
	for _, s := range trace.Steps {
		if s.Event != 0 {
			events = append(events, s.Event)
		}
	}
	slices.Sort(events)
	return slices.Compact(events)
}

// ranges writes 3, 5, 6, 7 as "3, 5-7".
func ranges(numbers []uint64) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(numbers[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", numbers[i], numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

func (d *demo) verdict(op *console.OperationReply, devices []console.Target, found int, events []uint64) error {
	switch {
	case int(op.States["succeeded"]) != d.Agents:
		return fmt.Errorf("%d of %d devices succeeded", op.States["succeeded"], d.Agents)
	case len(devices) != d.Agents:
		return fmt.Errorf("the operation lists %d devices, and there are %d", len(devices), d.Agents)
	case found != infected:
		return fmt.Errorf("the file was found on %d devices, and was planted on %d", found, infected)
	case len(events) < 2:
		return fmt.Errorf("the journal has %d events of the operation", len(events))
	}
	return nil
}
