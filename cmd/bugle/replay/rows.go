package replay

import (
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"
	"unicode"

	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
	"github.com/bugle-fleet/bugle/projectors/window"
)

// rowsAtOnce is how many rows are asked for at a time.
const rowsAtOnce = 1000

// A folded is a view that is folded here, and how its rows are read.
type folded struct {
	view *projectors.View
	rows func(show func(row string, v any) error) error
}

// views are all there are, each made anew.
var views = map[string]func() folded{
	"device": func() folded {
		v, r := device.New()
		return folded{v, func(show func(string, any) error) error { return deviceRows(r, show) }}
	},
	"presence": func() folded {
		v, r := presence.New()
		return folded{v, func(show func(string, any) error) error { return presenceRows(r, show) }}
	},
	"operation": func() folded {
		v, r := operation.New()
		return folded{v, func(show func(string, any) error) error { return operationRows(r, show) }}
	},
	"status": func() folded {
		v, r := status.New()
		return folded{v, func(show func(string, any) error) error { return statusRows(r, show) }}
	},
	"inventory": func() folded {
		v, r := inventory.New(schema.Standard())
		return folded{v, func(show func(string, any) error) error { return inventoryRows(r, show) }}
	},
	"window": func() folded {
		v, r := window.New()
		return folded{v, func(show func(string, any) error) error { return windowRows(r, show) }}
	},
}

// Views are the names of the views that can be folded.
func Views() []string { return slices.Sorted(maps.Keys(views)) }

func deviceRows(r *device.Reader, show func(string, any) error) error {
	_, err := r.At(func(s *device.Snapshot) error {
		for after := uint32(0); ; {
			all, err := s.List(after, rowsAtOnce)
			if err != nil || len(all) == 0 {
				return err
			}
			for _, d := range all {
				after = d.Number
				d, _, err := s.Get(after) // with its facts
				if err == nil {
					err = show("device", d)
				}
				if err != nil {
					return err
				}
			}
		}
	})
	return err
}

func inventoryRows(r *inventory.Reader, show func(string, any) error) error {
	_, err := r.At(func(s *inventory.Snapshot) error {
		for i := s.Live().Iterator(); i.HasNext(); {
			shown, ok, err := s.Show(i.Next())
			if err == nil && ok {
				err = show("inventory", shown)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func windowRows(r *window.Reader, show func(string, any) error) error {
	all, err := r.All()
	if err != nil {
		return err
	}
	for _, w := range all {
		err := show("window", struct {
			Collection, Name, Window string
			Event                    uint64
			Changed                  time.Time
		}{w.Collection, w.Name, string(w.JSON), w.Event, w.Changed})
		if err != nil {
			return err
		}
	}
	return nil
}

func presenceRows(r *presence.Reader, show func(string, any) error) error {
	_, err := r.At(func(s *presence.Snapshot) error {
		for after := uint32(0); ; {
			all, err := s.List(after, rowsAtOnce)
			if err != nil || len(all) == 0 {
				return err
			}
			for _, p := range all {
				if err := show("presence", p); err != nil {
					return err
				}
				after = p.Device
			}
		}
	})
	return err
}

func operationRows(r *operation.Reader, show func(string, any) error) error {
	_, err := r.At(func(s *operation.Snapshot) error {
		for before := (task.ID{}); ; {
			all, err := s.List(before, rowsAtOnce)
			if err != nil || len(all) == 0 {
				return err
			}
			for _, o := range all {
				if err := show("operation", o); err != nil {
					return err
				}
				if err := targetRows(s, o.ID, show); err != nil {
					return err
				}
				before = o.ID
			}
		}
	})
	return err
}

// targetRows shows every device of an operation, whatever its state.
func targetRows(s *operation.Snapshot, id task.ID, show func(string, any) error) error {
	for _, state := range task.States {
		for after := uint32(0); ; {
			all, err := s.Devices(id, state, after, rowsAtOnce)
			if err != nil {
				return err
			}
			for _, d := range all {
				row := struct {
					Operation task.ID
					operation.DeviceState
				}{id, d}
				if err := show("target", row); err != nil {
					return err
				}
				after = d.Device
			}
			if len(all) < rowsAtOnce {
				break
			}
		}
	}
	return nil
}

func statusRows(r *status.Reader, show func(string, any) error) error {
	for before := uint64(0); ; {
		all, err := r.Messages(before, rowsAtOnce)
		if err != nil {
			return err
		}
		for _, m := range all {
			if err := show("message", m); err != nil {
				return err
			}
			before = m.Event
		}
		if len(all) < rowsAtOnce {
			break
		}
	}
	listeners, err := r.Listeners()
	if err != nil {
		return err
	}
	quarantined, err := r.Quarantined()
	if err != nil {
		return err
	}
	for _, l := range listeners {
		if err := show("listener", l); err != nil {
			return err
		}
	}
	for _, q := range quarantined {
		if err := show("quarantined", q); err != nil {
			return err
		}
	}
	return nil
}

// readable is a row as JSON has it: names begin with a small letter, states and
// kinds are words, bytes are hexadecimal, and what is zero or empty is left out.
func readable(row string, v any) map[string]any {
	m := map[string]any{"row": row}
	addFields(m, reflect.ValueOf(v))
	if o, ok := v.(operation.Operation); ok {
		states := map[string]uint32{}
		for _, s := range task.States {
			if n := o.States[s]; n > 0 {
				states[s.String()] = n
			}
		}
		m["states"] = states
	}
	return m
}

func addFields(m map[string]any, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case !f.IsExported():
		case f.Anonymous:
			addFields(m, v.Field(i))
		case !v.Field(i).IsZero() || v.Field(i).Kind() == reflect.Bool:
			m[small(f.Name)] = plainValue(v.Field(i))
		}
	}
}

func plainValue(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case time.Time:
		return x.UTC().Format(time.RFC3339Nano)
	case fmt.Stringer: // ids, states, durations
		return x.String()
	case []byte:
		return hex.EncodeToString(x)
	}
	switch v.Kind() {
	case reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return fmt.Sprintf("%x", v.Interface())
		}
		return v.Interface()
	case reflect.Slice:
		all := make([]any, v.Len())
		for i := range all {
			all[i] = plainValue(v.Index(i))
		}
		return all
	case reflect.Struct:
		m := map[string]any{}
		addFields(m, v)
		return m
	}
	return v.Interface()
}

// small begins a name with a small letter: ID is id, OS is os, RunTimeout is
// runTimeout.
func small(name string) string {
	runes := []rune(name)
	for i := range runes {
		if i > 0 && i+1 < len(runes) && unicode.IsLower(runes[i+1]) || unicode.IsLower(runes[i]) {
			break
		}
		runes[i] = unicode.ToLower(runes[i])
	}
	return string(runes)
}
