package advice

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// orBesideJoin speaks of an or one side of which asks nothing of a class that is
// joined by an inner join: devices without such a row drop out all the same.
func (r *reader) orBesideJoin() {
	var remarks []remark
	e, whole := newEdit(), true
	for q := range subQueries(r.q) {
		bad := map[int]wql.Pos{}
		tree(q).visit(nil, func(n *node, known []*node) {
			if !n.or {
				return
			}
			for s := range q.Sources {
				if _, found := bad[s]; !found && mayBeMissing(&q.Sources[s]) && besides(n, s) && !needed(known, s) {
					bad[s] = n.pos
				}
			}
		})
		if len(bad) == 0 {
			continue
		}
		var names []string
		first := wql.Pos(len(r.q.Text))
		for s := range q.Sources {
			if pos, ok := bad[s]; ok {
				names = append(names, sourceName(&q.Sources[s]))
				first = min(first, pos)
			}
		}
		remarks = append(remarks, remark{first, fmt.Sprintf("one side of or asks nothing of %s, but devices without a row of it drop out", strings.Join(names, " and of "))})
		if !canLeftJoin(q, bad) {
			whole = false
			continue
		}
		e.queries[q] = func(copied *wql.Query) { leftJoin(copied, bad) }
	}
	if !whole {
		e = nil
	}
	r.say(orBesideJoin, remarks, e)
}

// mayBeMissing tells whether a device may have no row of a source.
func mayBeMissing(s *wql.Source) bool {
	return !s.Outer && (s.Class == nil || s.Class.Name != schema.System)
}

// besides tells whether one side of an or asks for something of a source and
// another one does not.
func besides(or *node, source int) bool {
	about := func(k *node) bool { return k.about(source) }
	return slices.ContainsFunc(or.kids, about) && slices.ContainsFunc(or.kids, func(k *node) bool { return !about(k) })
}

// needed tells whether something that must hold as well asks for a row of a source.
func needed(known []*node, source int) bool {
	return slices.ContainsFunc(known, func(n *node) bool { return of(n.leaf, source) })
}

func sourceName(s *wql.Source) string {
	if s.Class == nil {
		return "collection " + s.Collection
	}
	return s.Class.Name
}

// canLeftJoin tells whether the sources can be joined by left join; the first one
// only if the second can stand in its place.
func canLeftJoin(q *wql.Query, bad map[int]wql.Pos) bool {
	if _, first := bad[0]; !first {
		return true
	}
	if len(q.Sources) < 2 || mayBeMissing(&q.Sources[1]) || q.Sources[1].Outer {
		return false
	}
	return q.Sources[0].On == nil && q.Sources[1].On == nil
}

// leftJoin joins sources by left join.
func leftJoin(q *wql.Query, bad map[int]wql.Pos) {
	for s := range bad {
		q.Sources[s].Outer = true
	}
	if _, first := bad[0]; !first {
		return
	}
	q.Sources[0], q.Sources[1] = q.Sources[1], q.Sources[0]
	rearrange(q, func(at int) int {
		if at < 2 {
			return 1 - at
		}
		return at
	})
}
