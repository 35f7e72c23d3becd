package advice

import (
	"fmt"
	"slices"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A Text is a value of a property.
type Text struct {
	Class, Property string // as the schema writes them
	Text            string // folded, see [wql.Fold]
}

// Query is a query that selects the devices which have the text.
func (t Text) Query() string {
	is := wql.Constant{Of: schema.Text, Text: t.Text}
	q := wql.Query{Sources: []wql.Source{{Class: &schema.Class{Properties: []schema.Property{{Name: t.Property}}, Name: t.Class}, Alias: t.Class}}, Columns: []wql.Column{device(0)},
		Where: &wql.Compare{Op: wql.Equal, Left: wql.Column{Of: schema.Text}, Right: is}}
	return q.String()
}

// Texts returns what a query, and those in it, look for with = or in, for
// [Input.Absent]; each once, in no order that matters.
func Texts(q *wql.Query) (all []Text) {
	seen := map[Text]bool{}
	for sub := range subQueries(q) {
		tree(sub).visit(nil, func(n *node, _ []*node) {
			for _, f := range n.facts() {
				for _, t := range textsOf(sub, f) {
					if !seen[t] {
						seen[t] = true
						all = append(all, t)
					}
				}
			}
		})
	}
	return all
}

// textsOf returns the texts of which a leaf wants one.
func textsOf(q *wql.Query, n *node) (all []Text) {
	values, ok := wants(n)
	if !ok {
		return nil
	}
	o := operands(n.leaf)[0]
	if e, is := n.leaf.(*wql.Compare); is {
		o, _, _, _ = constantOf(e)
	}
	c, ok := o.(wql.Column)
	if !ok || c.Of != schema.Text || property(q, c) == nil {
		return nil
	}
	for _, v := range values {
		all = append(all, Text{q.Sources[c.Source].Class.Name, property(q, c).Name, wql.Fold(v.Text)})
	}
	return all
}

// absent speaks of texts that a rule compares with = or in and that no device has.
func (r *reader) absent() {
	if len(r.Absent) == 0 {
		return
	}
	var remarks []remark
	for q := range subQueries(r.q) {
		tree(q).visit(nil, func(n *node, _ []*node) {
			for _, f := range n.facts() {
				texts := textsOf(q, f)
				if len(texts) > 0 && !slices.ContainsFunc(texts, func(t Text) bool { return !r.Absent[t] }) {
					remarks = append(remarks, remark{f.pos, fmt.Sprintf("no device has what %s asks for", shownNode(q, f))})
				}
			}
		})
	}
	r.say(absent, remarks, nil)
}
