package console

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// defaultDeliverBy is how long a task may wait for its device unless the request
// says otherwise.
const defaultDeliverBy = time.Hour

// A kind describes one kind of task.
type kind struct {
	class    string // normal, intrusive or barrier
	contract string // channel: only there; policy: in the device's policy too
	timeout  time.Duration
	params   map[string]param // by name
	about    string
}

// A param says why a value cannot be taken, or nothing.
type param func(v any) string

// kinds is the table of what can be pushed.
var kinds = map[string]kind{
	"policy.machine":    {"normal", "channel", 5 * time.Minute, nil, "fetch the machine's policy now"},
	"discovery.collect": {"normal", "channel", 5 * time.Minute, nil, "report facts about the machine"},
	"scan.quick":        {"normal", "channel", time.Hour, map[string]param{"sha256": digests}, "look for malware in the usual places"},
	"scan.full":         {"normal", "channel", 24 * time.Hour, map[string]param{"sha256": digests}, "look for malware everywhere"},
}

const maxDigests = 100

func digests(v any) string {
	list, ok := v.([]any)
	if !ok || len(list) > maxDigests {
		return fmt.Sprintf("it is a list of at most %d SHA-256", maxDigests)
	}
	for _, d := range list {
		s, ok := d.(string)
		if b, err := hex.DecodeString(s); !ok || err != nil || len(b) != 32 {
			return "each is a SHA-256 of 64 hexadecimal digits"
		}
	}
	return ""
}

func kindNamed(name string) (kind, error) {
	k, ok := kinds[name]
	if !ok {
		return k, badRequest("The kind is unknown", "kind: there is no %q; there are %s.", clip(name), strings.Join(kindNames(), ", "))
	}
	return k, nil
}

func kindNames() []string { return slices.Sorted(maps.Keys(kinds)) }

// encode checks the parameters and returns them as the task carries them.
func (k kind) encode(name string, params map[string]any) ([]byte, error) {
	const title = "The parameters cannot be taken"
	if len(params) == 0 {
		return nil, nil
	}
	for _, p := range slices.Sorted(maps.Keys(params)) {
		check, ok := k.params[p]
		if !ok {
			return nil, badRequest(title, "params.%s: %s has no such parameter; it has %s.", clip(p), name, k.paramList())
		}
		if reason := check(params[p]); reason != "" {
			return nil, badRequest(title, "params.%s: %s.", p, reason)
		}
	}
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("encode parameters: %w", err)
	}
	if len(raw) > task.MaxParams {
		return nil, badRequest(title, "params: %d bytes, at most %d are taken.", len(raw), task.MaxParams)
	}
	return raw, nil
}

func (k kind) paramList() string {
	if len(k.params) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(k.params)), ", ")
}

func kindList() KindList {
	var list KindList
	for _, name := range kindNames() {
		k := kinds[name]
		list.Items = append(list.Items, KindInfo{
			Kind: name, Class: k.class, Contract: k.contract, About: k.about,
			Parameters:        slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(k.params)))),
			RunTimeoutSeconds: int64(k.timeout / time.Second),
		})
	}
	return list
}
