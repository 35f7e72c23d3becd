package console

import (
	"errors"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/inventory"
)

// maxShownRows is how many rows of a device's inventory are shown.
const maxShownRows = 2000

// InventoryClass is the rows of a class that a device has.
type InventoryClass struct {
	Class string         `json:"class" doc:"its WQL name"`
	Rows  []InventoryRow `json:"rows"`
}

// InventoryRow is one row.
type InventoryRow struct {
	Key      string           `json:"key,omitempty" doc:"what tells it from the others of its class"`
	Imported bool             `json:"imported,omitempty" doc:"an administrator imported it, and the agent does not report it"`
	Hidden   bool             `json:"hidden,omitempty" doc:"it was imported, and the agent reports one with the same key, which counts"`
	Values   []InventoryValue `json:"values"`
}

// InventoryValue is what a property holds.
type InventoryValue struct {
	Property string    `json:"property"`
	Value    any       `json:"value" doc:"text, a number, true or false, an instant, or a list of texts"`
	Event    uint64    `json:"event" doc:"the event that changed it last"`
	Seen     time.Time `json:"seen" doc:"when it was seen last"`
}

// addInventory adds what is known of a device by class.
func (v *reading) addInventory(reply *DeviceReply) error {
	if v.inventory == nil {
		return nil
	}
	shown, ok, err := v.inventory.Show(reply.Number)
	if err != nil || !ok {
		if errors.Is(err, projectors.ErrNoView) {
			return nil
		}
		return err
	}
	room := maxShownRows
	for i := range shown.Classes {
		c := &shown.Classes[i]
		class := InventoryClass{Class: c.Name}
		for j := range c.Rows {
			if room == 0 {
				reply.InventoryMore += len(c.Rows) - j
				break
			}
			room--
			class.Rows = append(class.Rows, inventoryRow(&c.Rows[j]))
		}
		if len(class.Rows) > 0 {
			reply.Inventory = append(reply.Inventory, class)
		}
	}
	return nil
}

func inventoryRow(r *inventory.ShownRow) InventoryRow {
	row := InventoryRow{Key: r.Key, Imported: r.Imported, Hidden: r.Hidden, Values: make([]InventoryValue, 0, len(r.Values))}
	for i := range r.Values {
		value := &r.Values[i]
		row.Values = append(row.Values, InventoryValue{value.Property, inventoryValue(value), value.Event, value.Seen})
	}
	return row
}

func inventoryValue(v *inventory.ShownValue) any {
	switch v.Value.Type {
	case event.NumberValue:
		if v.Type == schema.Bool {
			return v.Value.Number != 0
		}
		return v.Value.Number
	case event.DateValue:
		return time.UnixMilli(v.Value.Number).UTC()
	case event.ListValue:
		return v.Value.List
	}
	return v.Value.Text
}
