package schema_test

import (
	"fmt"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

func Example() {
	s, err := schema.Standard().Extend([]schema.Class{{
		Name: "SMS_G_System_CONTOSO_BADGE",
		Properties: []schema.Property{
			{Name: "Slot", Type: schema.Number, Key: true},
			{Name: "Color", Type: schema.Text},
			{Name: "Issued", Type: schema.Date},
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, _ := s.Class("sms_g_system_contoso_badge")
	var row schema.Row
	for i, text := range []string{"3", "Red", "11/28/2026"} {
		v, err := schema.ParseValue(&c.Properties[i], text)
		if err != nil {
			fmt.Println(err)
			return
		}
		row = append(row, v)
	}
	fmt.Println(c.Name, schema.Key(c, row), schema.FormatValue(&c.Properties[2], row[2]))
	_, err = schema.ParseValue(&c.Properties[0], "three")
	fmt.Println(err)
	fmt.Println(s.Nearest("COMPUTER_SYSTEM"))
	// Output:
	// SMS_G_System_CONTOSO_BADGE 3 2026-11-28T00:00:00Z
	// "three" is not a whole number of 64 bits
	// SMS_G_System_COMPUTER_SYSTEM
}
