package definitions

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schedule"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// define makes definitions of what the request says, and checks each by itself.
func (p *planner) define() {
	for i, id := range p.ids {
		d, path := &p.r.Collections[i], at("collections", i)
		was := p.was.byID[id]
		if d.IfEvent != nil && (was == nil && *d.IfEvent != 0 || was != nil && *d.IfEvent != was.Event) {
			p.refusal.Stale = true
			p.refuse(path, "collection %s was changed meanwhile, or made, or deleted; read it again", quoted(d.Name))
			continue
		}
		c := p.collection(i, id)
		if was != nil && same(&was.Collection, &c) {
			p.is.byID[id] = was
			continue
		}
		is := newDefinition(c, 0)
		p.is.byID[id] = is
		p.checkQueries(is, path)
		if c.Schedule != "" {
			if _, err := schedule.Parse(c.Schedule); err != nil {
				p.refuse(path+".schedule", "schedule %s: %s", quoted(cut(c.Schedule)), err)
			}
		}
	}
}

// collection is the definition that the request has for an id.
func (p *planner) collection(i int, id string) event.Collection {
	d, path := &p.r.Collections[i], at("collections", i)
	c := event.Collection{ID: id, Name: d.Name, Comment: d.Comment, Limit: root.ID, Schedule: strings.TrimSpace(d.Schedule), Incremental: d.Incremental}
	if d.Limit != "" {
		c.Limit = p.refer(d.Limit, path+".limit")
	}
	c.Include = p.referAll(d.Include, path+".include")
	c.Exclude = p.referAll(d.Exclude, path+".exclude")
	if len(c.Comment) > event.MaxText {
		p.refuse(path+".comment", "the comment has %d bytes, at most %d are taken", len(c.Comment), event.MaxText)
	}
	if len(c.Schedule) > event.MaxName {
		p.refuse(path+".schedule", "the schedule has %d bytes, at most %d are taken", len(c.Schedule), event.MaxName)
		c.Schedule = ""
	}
	if i < len(p.r.Direct) {
		var err error
		if c.Direct, err = encodeDirect(p.r.Direct[i]); err != nil {
			p.refuse(path+".direct", "%s", err)
		}
	}
	for _, q := range d.Queries {
		c.Queries = append(c.Queries, event.CollectionQuery{Name: q.Name, WQL: strings.TrimRight(q.WQL, " \t\r\n")})
	}
	return c
}

// refer is the id of the collection that word names, as names will be.
func (p *planner) refer(word, path string) string {
	if c, ok := p.is.Find(word); ok {
		return c.ID
	}
	if c, ok := p.was.Find(word); ok && slices.Contains(p.gone, c.ID) {
		p.refuse(path, "collection %s is to be deleted", quoted(cut(word)))
	} else {
		p.refuse(path, "there is no collection %s", quoted(cut(word)))
	}
	return ""
}

// referAll is refer for a list: ids in order, each once.
func (p *planner) referAll(words []string, path string) (ids []string) {
	if len(words) > event.MaxRules {
		p.refuse(path, "%d collections, at most %d are taken", len(words), event.MaxRules)
		return nil
	}
	for i, word := range words {
		if id := p.refer(word, at(path, i)); id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// checkQueries parses the queries of a new definition.
func (p *planner) checkQueries(c *Definition, path string) {
	if n := len(c.Queries); n > event.MaxQueries {
		p.refuse(path+".queries", "%d queries, at most %d are taken", n, event.MaxQueries)
		return
	}
	c.queries.with = p.is.schema
	names := map[string]bool{}
	for i, q := range c.Queries {
		path := at(path+".queries", i)
		name := wql.Fold(q.Name)
		switch {
		case len(q.Name) > event.MaxName:
			p.refuse(path+".name", "the name of a query has %d bytes, at most %d are taken", len(q.Name), event.MaxName)
		case name != "" && names[name]:
			p.refuse(path+".name", "two queries have the name %s", quoted(q.Name))
		}
		names[name] = true
		if len(q.WQL) > event.MaxQuery {
			p.refuse(path+".wql", "the query has %d bytes, at most %d are taken", len(q.WQL), event.MaxQuery)
			continue
		}
		parsed, err := wql.Parse(q.WQL, p.is.schema)
		if err != nil {
			p.refuseQuery(path+".wql", err)
			continue
		}
		for _, id := range parsed.Uses {
			if _, ok := p.is.Get(id); !ok {
				p.refuseName(path+".wql", q.WQL, id)
			}
		}
		c.queries.uses = append(c.queries.uses, parsed.Uses...)
	}
	slices.Sort(c.queries.uses)
	c.queries.uses = slices.Compact(c.queries.uses)
}

func (p *planner) refuseQuery(path string, err error) {
	refused := Error{Path: path, Message: err.Error()}
	if e, ok := errors.AsType[*wql.Error](err); ok {
		refused.Line, refused.Column, refused.Message = e.Line, e.Column, e.Message
	}
	p.refusal.Add(refused)
}

// refuseName refuses a query that names a collection that is not there.
func (p *planner) refuseName(path, text, id string) {
	refused := Error{Path: path, Message: fmt.Sprintf("the query names collection %s, which is not there", id)}
	if i := strings.Index(strings.ToUpper(text), id); i >= 0 && i <= len(text) {
		before := text[:i]
		line := strings.LastIndexByte(before, '\n') + 1
		refused.Line, refused.Column = 1+strings.Count(before, "\n"), 1+len([]rune(before[line:]))
	}
	p.refusal.Add(refused)
}

// same tells whether two definitions of a collection say the same.
func same(a, b *event.Collection) bool {
	return a.Name == b.Name && a.Comment == b.Comment && a.Schedule == b.Schedule && a.Incremental == b.Incremental &&
		slices.Equal(a.Queries, b.Queries) && SameRules(a, b)
}

// SameRules tells whether two definitions of a collection mean the same members,
// whatever their names and schedules are.
func SameRules(a, b *event.Collection) bool {
	texts := func(q, o event.CollectionQuery) bool { return q.WQL == o.WQL }
	return a.Limit == b.Limit && slices.EqualFunc(a.Queries, b.Queries, texts) && sameSet(a.Include, b.Include) && sameSet(a.Exclude, b.Exclude) &&
		Direct(a).Equals(Direct(b))
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
