package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/schema"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Delivery contracts: how a task comes to its devices.
const (
	onChannel = "channel"        // over a connection, while the task is valid
	inPolicy  = "channel+policy" // and in the device's policy, for those who are away for long
)

// How long a task may wait for its device unless the request says otherwise, by
// contract. The hour is what administrators know of the original.
const (
	defaultDeliverBy = time.Hour
	durableDeliverBy = 30 * 24 * time.Hour
)

// A kind describes one kind of task.
type kind struct {
	class    string // normal, intrusive or barrier
	contract string // onChannel or inPolicy
	timeout  time.Duration
	priority uint8 // order in the send queue unless the request says otherwise
	product  int   // the original product's number of it, 0 if it has none
	about    string
	params   *schema.Schema // nil: any object, which the agent checks

	// deliverBy is how long a task may wait for its device unless the request says
	// otherwise.
	deliverBy time.Duration
}

// durable tells whether the task stands in the policy of its targets too.
func (k *kind) durable() bool { return k.contract == inPolicy }

// CommandPrefix begins the names of the kinds that administrators add on their
// devices.
const CommandPrefix = "command."

// ownKind is every kind that administrators add. The site does not keep what they
// are: executables and what they take lie on the devices, may differ from one to
// the next, and change with the devices' own management. A list here would be a
// second truth that lags; the agent that has the manifest refuses what it does not
// take, and that refusal is a result like any other.
var ownKind = kind{
	class: "normal", contract: onChannel, timeout: time.Hour, priority: 2, product: 135, deliverBy: defaultDeliverBy,
	about: "run an executable that an administrator put into a folder of the device; its manifest there says what it takes",
}

var ownName = regexp.MustCompile(`^command\.[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?$`)

func kindNamed(name string) (*kind, error) {
	if k := kinds[name]; k != nil {
		return k, nil
	}
	if strings.HasPrefix(name, CommandPrefix) {
		if !ownName.MatchString(name) {
			return nil, badRequest("The kind is unknown", "kind: %q is not command. and 1 to 40 small letters, digits, - or _ that begin and end with a letter or digit.", clip(name))
		}
		return &ownKind, nil
	}
	return nil, badRequest("The kind is unknown", "kind: there is no %q; there are %s, and command.NAME for those that a device has.",
		clip(name), strings.Join(kindNames(), ", "))
}

func kindNames() []string { return slices.Sorted(maps.Keys(kinds)) }

const titleParams = "The parameters cannot be taken"

// encode checks the parameters and returns them as the task carries them.
func (k *kind) encode(name string, params map[string]any) ([]byte, error) {
	if err := k.check(name, params); err != nil {
		return nil, err
	}
	if len(params) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("encode parameters: %w", err)
	}
	if len(raw) > task.MaxParams {
		return nil, badRequest(titleParams, "params: %d bytes, at most %d are taken.", len(raw), task.MaxParams)
	}
	return raw, nil
}

// check holds the parameters against the kind's schema.
func (k *kind) check(name string, params map[string]any) error {
	if k.params == nil {
		return nil
	}
	if params == nil {
		params = map[string]any{}
	}
	err := k.params.Check(params)
	if wrong, ok := errors.AsType[*schema.Error](err); ok {
		return badRequest(titleParams, "params.%s: %s (%s).", wrong.At, wrong.Reason, name)
	}
	return err
}

// kindList is what can be pushed, and how.
func kindList() KindList {
	var list KindList
	for _, name := range kindNames() {
		list.Items = append(list.Items, kinds[name].info(name))
	}
	list.Items = append(list.Items, ownKind.info(CommandPrefix+"NAME"))
	return list
}

func (k *kind) info(name string) KindInfo {
	info := KindInfo{
		Kind: name, Class: k.class, Contract: k.contract, About: k.about, Priority: k.priority, Product: k.product,
		RunTimeoutSeconds: int64(k.timeout / time.Second), DeliverBySeconds: int64(k.deliverBy / time.Second),
		Parameters: []string{},
	}
	if k.params == nil {
		info.Schema = map[string]any{"type": "object"}
		return info
	}
	info.Schema = k.params
	info.Parameters = append(info.Parameters, k.params.Names()...)
	return info
}
