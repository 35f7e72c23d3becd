package inventory_test

import (
	"fmt"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// full is a device with 45 properties and 50 products.
func full(n uint32) event.ImportedDevice {
	d := fresh(n, fmt.Sprintf("PC-%05d", n))
	for i, c := range []string{schema.System, "SMS_G_System_OPERATING_SYSTEM", computer, "SMS_G_System_PC_BIOS", "SMS_G_System_X86_PC_MEMORY"} {
		known, _ := schema.Standard().Class(c)
		change := event.ClassChange{Class: c, Rows: []event.RowChange{{}}}
		for _, p := range known.Properties[max(0, len(known.Properties)-[]int{13, 12, 10, 8, 2}[i]):] {
			v := event.Value{Type: event.NumberValue, Number: int64(n) * 1000}
			switch {
			case p.List:
				v = event.Value{Type: event.ListValue, List: []string{"OU=a", "OU=b"}}
			case p.Type == schema.Text:
				v = event.Value{Type: event.TextValue, Text: fmt.Sprintf("%s of %d", p.Name, n%100)}
			case p.Type == schema.Date:
				v.Type = event.DateValue
			}
			change.Rows[0].Properties = append(change.Rows[0].Properties, event.PropertyValue{Name: p.Name, Value: v})
		}
		d.Classes = append(d.Classes, change)
	}
	products := event.ClassChange{Class: programs, Whole: true}
	for i := range 50 {
		name := fmt.Sprintf("Product %d of many", (int(n)*7+i*13)%5000)
		products.Rows = append(products.Rows, row(schema.Fold(name), text("ProdID", name), text("DisplayName", name), text("Version", fmt.Sprintf("1.%d.0", i)), text("Publisher", "Contoso")))
	}
	d.Classes = append(d.Classes, products)
	return d
}

func BenchmarkRecord(b *testing.B) {
	const devices = 2000
	view, r := inventory.New(schema.Standard())
	s := projectorstest.Start(b, view)
	for n := uint32(1); n <= devices; n += 20 {
		var batch []event.ImportedDevice
		for i := range uint32(20) {
			batch = append(batch, full(n+i))
		}
		s.Append(imported(batch...))
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		b.ResetTimer()
		if _, err := r.At(func(s *inventory.Snapshot) error {
			for i := 0; b.Loop(); i++ {
				if rec, ok, err := s.Record(uint32(i%devices) + 1); err != nil || !ok || len(rec.Classes) != 6 {
					return fmt.Errorf("%v, %v, %d classes", ok, err, len(rec.Classes))
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.At(func(s *inventory.Snapshot) error {
				return s.Records(func(*schema.Record) (bool, error) { return true, nil })
			}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/devices, "ns/device")
	})
}
