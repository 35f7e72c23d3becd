package console

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
	"github.com/bugle-fleet/bugle/projectors/device"
)

// PathCollectionExplain tells why a device is in a collection, or is not.
const PathCollectionExplain = Base + "/collections/{collection}/explain/{device}" // GET → [ExplainReply]

// ExplainReply is why a device is in a collection, or is not.
type ExplainReply struct {
	Collection string          `json:"collection" doc:"its id"`
	Name       string          `json:"name"`
	Device     uint32          `json:"device"`
	DeviceName string          `json:"deviceName"`
	Member     bool            `json:"member" doc:"as the last evaluation found"`
	ByRules    bool            `json:"byRules" doc:"as the rules say; if it is not the same, the next evaluation changes that"`
	Why        string          `json:"why" doc:"what decides, in a sentence"`
	Limits     []ExplainMember `json:"limits" doc:"the limiting collection, its own one, and so on up to the root"`
	Direct     bool            `json:"direct" doc:"a direct rule names the device"`
	Queries    []ExplainQuery  `json:"queries"`
	Includes   []ExplainMember `json:"includes"`
	Excludes   []ExplainMember `json:"excludes"`
	Since      *MemberSince    `json:"since,omitempty" doc:"since when it is a member, or is none"`
	Broken     string          `json:"broken,omitempty" doc:"why the collection cannot be evaluated; its members stay, and nothing is told of its rules"`
	Alone      bool            `json:"alone,omitempty" doc:"a query asks for values of other devices too, and of the past these are not looked at: what it says of that query may be wrong"`
	Event      uint64          `json:"event"`
}

// ExplainMember says whether the device is in another collection.
type ExplainMember struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Member bool   `json:"member"`
}

// ExplainQuery says what a query rule is for the device.
type ExplainQuery struct {
	Name      string            `json:"name,omitempty"`
	WQL       string            `json:"wql"`
	Truth     string            `json:"truth" enum:"true,false,unknown" doc:"true: it selects the device; unknown: it does not, for a value is NULL"`
	Lacks     string            `json:"lacks,omitempty" doc:"a class that the query joins and that the device has no row of"`
	Condition *ExplainCondition `json:"condition,omitempty" doc:"what stands behind where, for the rows that come closest"`
}

// ExplainCondition is a condition of a query, or a part of one.
type ExplainCondition struct {
	Text    string             `json:"text" doc:"in WQL"`
	Truth   string             `json:"truth" enum:"true,false,unknown"`
	Decides bool               `json:"decides,omitempty" doc:"it is why the whole is what it is"`
	Values  []string           `json:"values,omitempty" doc:"what the device has"`
	Terms   []ExplainCondition `json:"terms,omitempty" doc:"of and, or, not"`
}

type explainInput struct {
	When
	Collection string `path:"collection" maxLength:"256" doc:"id or name"`
	Device     string `path:"device" maxLength:"256" doc:"number, id or name"`
}

func (c *Console) explainMember(ctx context.Context, in *explainInput) (*out[ExplainReply], error) {
	const doing = "tell why the device is in the collection or is not"
	v, err := c.readCollections(ctx, in.When)
	if err != nil {
		return nil, err
	}
	d, err := v.findDevice(in.Device)
	if err != nil {
		return nil, c.failView(ctx, "find the device", err)
	}
	x, err := c.explain(ctx, v, in.Collection, &d)
	if err != nil {
		return nil, c.failEvaluator(ctx, doing, err)
	}
	return answerAt(x.reply, x.reply.Event)
}

// An explaining is one such question.
type explaining struct {
	c      *Console
	v      *reading
	device *device.Device
	info   collection.Info
	deltas collection.Deltas
	names  map[string]string // of collections, by id
	reply  ExplainReply
}

func (c *Console) explain(ctx context.Context, v *reading, word string, d *device.Device) (*explaining, error) {
	x := &explaining{c: c, v: v, device: d, names: map[string]string{}}
	var alone *aloneEngine
	var err error
	x.reply.Event, err = v.collections.At(func(s *collection.Snapshot) error {
		var err error
		if x.info, err = findCollection(s, word); err != nil {
			return err
		}
		x.reply.Member = s.Members(x.info.ID).Contains(d.Number)
		x.deltas = s.Deltas(x.info.ID)
		for _, i := range s.List() {
			x.names[i.ID] = i.Name
		}
		if v.past || c.cfg.Evaluator == nil {
			alone = x.alone(s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := &x.reply
	r.Collection, r.Name, r.Device, r.DeviceName = x.info.ID, x.info.Name, d.Number, d.Name
	r.Limits, r.Queries, r.Includes, r.Excludes = []ExplainMember{}, []ExplainQuery{}, []ExplainMember{}, []ExplainMember{}
	var why *engine.Explanation
	if alone != nil {
		why, err = alone.explain(ctx)
		r.Alone = alone.others
	} else {
		why, err = c.cfg.Evaluator.Explain(ctx, x.info.ID, d.Number)
	}
	if broken, ok := errors.AsType[*evaluator.BrokenError](err); ok {
		r.Broken, r.Why, err = broken.Err.Error(), "the collection cannot be evaluated: its members are those of the last evaluation", nil
	}
	if err != nil {
		return nil, err
	}
	if why != nil {
		x.fill(why)
	}
	r.Since, err = c.since(ctx, &x.info, x.deltas, d.Number)
	return x, err
}

// fill takes over what the engine found.
func (x *explaining) fill(why *engine.Explanation) {
	r := &x.reply
	r.ByRules, r.Direct, r.Why = why.Member, why.Direct, x.named(why.Why, why)
	r.Limits, r.Includes, r.Excludes = x.members(why.Limits), x.members(why.Includes), x.members(why.Excludes)
	for i, rule := range why.Rules {
		q := ExplainQuery{Truth: truthWord(rule.Truth), Lacks: rule.Lacks}
		if i < len(x.info.Queries) {
			q.Name, q.WQL = x.info.Queries[i].Name, x.info.Queries[i].WQL
		}
		if rule.Condition != nil {
			condition := conditionJSON(rule.Condition)
			q.Condition = &condition
		}
		r.Queries = append(r.Queries, q)
	}
}

func (x *explaining) members(all []engine.Membership) []ExplainMember {
	shown := make([]ExplainMember, 0, len(all))
	for _, m := range all {
		shown = append(shown, ExplainMember{m.Collection, x.names[m.Collection], m.Member})
	}
	return shown
}

// named puts names beside the ids in a text.
func (x *explaining) named(text string, why *engine.Explanation) string {
	var pairs []string
	for _, list := range [][]engine.Membership{why.Limits, why.Includes, why.Excludes} {
		for _, m := range list {
			if name := x.names[m.Collection]; name != "" {
				pairs = append(pairs, m.Collection, name+" ("+m.Collection+")")
			}
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func truthWord(t engine.Truth) string {
	switch t {
	case engine.True:
		return "true"
	case engine.Unknown:
		return "unknown"
	}
	return "false"
}

func conditionJSON(c *engine.Condition) ExplainCondition {
	shown := ExplainCondition{Text: c.Text, Truth: truthWord(c.Truth), Decides: c.Decides, Values: c.Values}
	for _, t := range c.Terms {
		shown.Terms = append(shown.Terms, conditionJSON(t))
	}
	return shown
}

// timeOf is the moment that a reading is about.
func (c *Console) timeOf(ctx context.Context, v *reading) (time.Time, error) {
	if !v.past {
		return c.cfg.Now(), nil
	}
	e, err := c.event(ctx, v.event)
	if err != nil {
		return time.Time{}, err
	}
	return e.Accepted, nil
}

// one is a set of one device, or of none.
func one(device uint32, is bool) *roaring.Bitmap {
	set := roaring.New()
	if is {
		set.Add(device)
	}
	return set
}
