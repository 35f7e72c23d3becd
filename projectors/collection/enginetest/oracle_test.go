package enginetest

import (
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A sheet is an inventory that one can read: "CLASS PROPERTY=VALUE PROPERTY=VALUE", a
// line for each row; the values of a list are parted by "+", "~" is a space.
func sheet(t *testing.T, s *schema.Schema, device uint32, lines string) *schema.Record {
	t.Helper()
	byClass := make([][]schema.Row, len(s.Classes()))
	for line := range strings.SplitSeq(lines, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		class, ok := s.Class(words[0])
		if !ok {
			t.Fatalf("no class %s", words[0])
		}
		row := make(schema.Row, len(class.Properties))
		for _, w := range words[1:] {
			name, text, _ := strings.Cut(w, "=")
			i, ok := class.Property(name)
			if !ok {
				t.Fatalf("%s has no property %s", class.Name, name)
			}
			row[i] = cellOf(t, &class.Properties[i], strings.ReplaceAll(text, "~", " "))
		}
		byClass[class.Index] = append(byClass[class.Index], row)
	}
	r := &schema.Record{Device: device}
	for i, rows := range byClass {
		if len(rows) > 0 {
			r.Classes = append(r.Classes, schema.ClassRows{Class: i, Rows: rows})
		}
	}
	return r
}

func cellOf(t *testing.T, p *schema.Property, text string) schema.Value {
	t.Helper()
	if p.List {
		return schema.Value{Set: true, List: strings.Split(text, "+")}
	}
	v, err := schema.ParseValue(p, text)
	if err != nil {
		t.Fatalf("%s: %v", p.Name, err)
	}
	return v
}

const (
	arp = "SMS_G_System_ADD_REMOVE_PROGRAMS"
	ldk = "SMS_G_System_LOGICAL_DISK"
)

// Three devices: a full one, one with NULLs, one that has a name and nothing else.
func threeDevices(t *testing.T, s *schema.Schema) *Fleet {
	f := NewFleet(s)
	f.Records[1] = sheet(t, s, 1, `
		SMS_R_System Name=PC1 Client=1 Build=10.0.22631 ClientVersion=5.00.9132.1000 IsVirtualMachine=False SystemOUName=CORP/A+CORP/B IPSubnets=10.1.2.0 CreationDate=2026-02-28T23:00:00Z
		SMS_G_System_OPERATING_SYSTEM BuildNumber=22631
		SMS_G_System_WORKSTATION_STATUS LastHardwareScan=2026-02-10T00:00:00Z
		`+arp+` ProdID=1 DisplayName=Chrome Version=120.0
		`+arp+` ProdID=2 DisplayName=7-Zip Version=7.5
		`+ldk+` DeviceID=C: FreeSpace=5000
		`+ldk+` DeviceID=D: FreeSpace=10
		SMS_UpdateComplianceStatus CI_ID=7 Status=3`)
	f.Records[2] = sheet(t, s, 2, `
		SMS_R_System Name=pc2 Client=0 Build=10.0.9600 SystemOUName=corp/c
		SMS_G_System_OPERATING_SYSTEM BuildNumber=9600
		SMS_G_System_WORKSTATION_STATUS LastHardwareScan=2026-02-28T23:59:00Z
		`+arp+` ProdID=2 DisplayName=7-zip Version=9.20
		`+ldk+` DeviceID=C: FreeSpace=100`)
	f.Records[3] = sheet(t, s, 3, `SMS_R_System Name=SRV3`)
	f.Members["P0100001"] = map[uint32]bool{2: true}
	return f
}

func TestOracle(t *testing.T) {
	s := schema.Standard()
	f := threeDevices(t, s)
	join := func(class, where string) string {
		return "select SMS_R_System.ResourceID from SMS_R_System inner join " + class + " as X on X.ResourceID = SMS_R_System.ResourceID where " + where
	}
	from := func(where string) string { return "select ResourceID from SMS_R_System where " + where }
	for _, c := range []struct {
		query string
		want  []uint32
	}{
		{"select * from SMS_R_System", []uint32{1, 2, 3}},
		{from(`Client = 1`), []uint32{1}},
		{from(`Client is null or Client = 0`), []uint32{2, 3}},
		{from(`Client != 1`), []uint32{2}},      // NULL is no other value
		{from(`not (Client = 1)`), []uint32{2}}, // nor is it then
		{from(`not Client is null`), []uint32{1, 2}},
		{from(`Client = 1 or Client != 1`), []uint32{1, 2}},
		{from(`Name = "PC2"`), []uint32{2}},
		{from(`Name like "pc[0-1]"`), []uint32{1}},
		{from(`Name not like "pc%"`), []uint32{3}},
		{from(`ClientVersion != "5.00.9132.1000"`), nil},
		{from(`SystemOUName = "corp/b"`), []uint32{1}},
		{from(`SystemOUName != "corp/b"`), []uint32{1, 2}}, // some other value
		{from(`not SystemOUName = "corp/b"`), []uint32{2}},
		{from(`SystemOUName is null`), []uint32{3}},
		{from(`IsVirtualMachine = "False"`), []uint32{1}},
		{from(`Client < 0.5`), []uint32{2}},
		{from(`Client in (0, 0.5)`), []uint32{2}},
		{from(`DateDiff(dd, CreationDate, GetDate()) = 1`), []uint32{1}}, // an hour over midnight
		{from(`CreationDate >= DateAdd(dd, -2, GetDate())`), []uint32{1}},
		{join("SMS_G_System_OPERATING_SYSTEM", `X.BuildNumber > "19045"`), []uint32{1, 2}}, // texts
		{join(arp, `X.DisplayName = "7-ZIP" and X.Version < "7.6"`), []uint32{1}},          // of one row
		{join(arp, `X.DisplayName != "Chrome"`), []uint32{1, 2}},
		{join(ldk, `X.DeviceID = "C:" and X.FreeSpace < 1024`), []uint32{2}},
		{`select A.ResourceID from SMS_R_System as S inner join ` + arp + ` as A on A.ResourceID = S.ResourceID inner join ` + arp + ` as B on B.ResourceID = S.ResourceID where A.DisplayName = "Chrome" and B.DisplayName = "7-zip"`, []uint32{1}},
		{`select S.ResourceID from SMS_R_System as S left outer join ` + arp + ` as A on A.ResourceID = S.ResourceID where A.ResourceID is null`, []uint32{3}},
		{`select S.ResourceID from SMS_R_System as S left join SMS_UpdateComplianceStatus as U on U.ResourceID = S.ResourceID and U.Status = 3 where U.CI_ID is null`, []uint32{2, 3}},
		{from(`ResourceID not in (select ResourceID from ` + arp + ` where DisplayName = "chrome")`), []uint32{2, 3}},
		{from(`ResourceID in (select ResourceID from SMS_CM_RES_COLL_P0100001)`), []uint32{2}},
		{from(`ResourceID not in (select ResourceID from SMS_CM_RES_COLL_P0100001)`), []uint32{1, 3}},
		{join("SMS_G_System_WORKSTATION_STATUS", `DateDiff(day, X.LastHardwareScan, GetDate()) > 14`), []uint32{1}},
		{from(`Name in (select Name from SMS_R_System where Client = 1)`), []uint32{1}},
		{from(`Client not in (select Client from SMS_R_System where Client = 1)`), []uint32{2}},
		{from(`Client not in (select Client from SMS_R_System where Name = "SRV3")`), nil}, // a NULL is among them
	} {
		q, err := wql.Parse(c.query, s)
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		var got []uint32
		for device := uint32(1); device <= 3; device++ {
			if f.Selects(q, device, Epoch) {
				got = append(got, device)
			}
		}
		if !roaring.BitmapOf(got...).Equals(roaring.BitmapOf(c.want...)) {
			t.Errorf("%s selects %v, want %v", c.query, got, c.want)
		}
	}
}

// TestOracleOfCollections is the formula, and the golden cases of it.
func TestOracleOfCollections(t *testing.T) {
	s := schema.Standard()
	f := threeDevices(t, s)
	clients, err := wql.Parse("select * from SMS_R_System where Client is not null", s)
	if err != nil {
		t.Fatal(err)
	}
	f.Evaluate([]engine.Collection{
		{ID: "P0100001", Direct: roaring.BitmapOf(1, 2, 3, 4)},                         // 4 is not there
		{ID: "P0100002", Queries: []*wql.Query{clients}, Limit: "P0100001"},            // 1, 2
		{ID: "P0100003", Include: []string{"P0100001"}, Exclude: []string{"P0100002"}}, // 3: exclude wins
		{ID: "P0100004", Limit: "P0100002", Direct: roaring.BitmapOf(2, 3)},            // 2: 3 is outside the limit
		{ID: "P0100005", Direct: roaring.BitmapOf(1), Exclude: []string{"P0100002"}},   // none: excluded though direct
		{ID: "P0100006"}, // none: no rule
	}, engine.Request{Now: Epoch})
	for id, want := range map[string][]uint32{engine.Root: {1, 2, 3}, "P0100001": {1, 2, 3}, "P0100002": {1, 2}, "P0100003": {3}, "P0100004": {2}, "P0100005": {}, "P0100006": {}} {
		if got := list(f.Members[id]); !roaring.BitmapOf(got...).Equals(roaring.BitmapOf(want...)) {
			t.Errorf("collection %s has %v, want %v", id, got, want)
		}
	}
}
