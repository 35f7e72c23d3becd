package engine

import (
	"maps"

	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A valueSet is what an inner query selects of all devices: the values of its only
// column. It is the one thing that makes a rule depend on other devices than the one
// in question.
type valueSet struct {
	id      uint64
	query   *wql.Query
	node    int32 // the devices that the query selects
	version uint64
	values  map[scalar]struct{}
	null    bool // it selects a NULL
}

// has tells whether the set has a value; without a match it is unknown if NULL is
// among the values.
func (s *valueSet) has(v scalar, text bool) Truth {
	if text {
		v = scalar{text: v.text}
	} else {
		if v.half {
			return s.missing()
		}
		v = scalar{number: v.number}
	}
	if _, ok := s.values[v]; ok {
		return True
	}
	return s.missing()
}

func (s *valueSet) missing() Truth {
	if s.null {
		return Unknown
	}
	return False
}

// become takes what the query selects now.
func (s *valueSet) become(values map[scalar]struct{}, null bool) {
	if s.version > 0 && s.null == null && maps.Equal(s.values, values) {
		return
	}
	s.values, s.null = values, null
	s.version++
}
