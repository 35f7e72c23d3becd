package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

const soft = "SMS_G_System_ADD_REMOVE_PROGRAMS"

// office has devices with software and disks.
func office(t *testing.T) *bench {
	b := newBench(t)
	b.put(1, "SMS_R_System Name=PC1 Client=1 SystemOUName=HQ+HQ/East", soft+" ProdID=a DisplayName=Reader Version=7.0", soft+" ProdID=b DisplayName=Suite Version=9.1",
		"SMS_G_System_OPERATING_SYSTEM Version=9.1 Caption=pc1")
	b.put(2, "SMS_R_System Name=PC2 Client=0", soft+" ProdID=a DisplayName=Reader Version=9.1", "SMS_G_System_OPERATING_SYSTEM Version=10")
	b.put(3, "SMS_R_System Name=PC3 SystemOUName=HQ", soft+" ProdID=c DisplayName=READER")
	b.put(4, "SMS_R_System Name=PC4 SystemOUName=Lab")
	b.put(70_000, "SMS_R_System Client=1", soft+" ProdID=b DisplayName=Suite Version=7.0")
	return b
}

func TestNullIsNeverSelected(t *testing.T) {
	b := office(t)
	b.selects("select * from SMS_R_System where Client = 1", 1, 70_000)
	b.selects("select * from SMS_R_System where Client != 1", 2)
	b.selects("select * from SMS_R_System where not (Client = 1)", 2)
	b.selects("select * from SMS_R_System where Client is null", 3, 4)
	b.selects("select * from SMS_R_System where not (Client is null)", 1, 2, 70_000)
	b.selects(`select * from SMS_R_System where Name not like "%1"`, 2, 3, 4)
	b.selects(`select * from SMS_R_System where Name not in ("pc1", "pc2")`, 3, 4)
	b.selects(`select * from SMS_R_System where not (Name in ("pc1", "pc2") and Client = 1)`, 2, 3, 4)
	b.selects(`select * from SMS_R_System where Client = 1 or Name = "pc4"`, 1, 4, 70_000)
	b.selects(`select * from SMS_R_System where upper(substring(Name, 3, 1)) >= "3"`, 3, 4)
}

func TestLists(t *testing.T) {
	b := office(t)
	b.selects(`select * from SMS_R_System where SystemOUName = "hq"`, 1, 3)
	b.selects(`select * from SMS_R_System where SystemOUName != "hq"`, 1, 4) // some other value
	b.selects(`select * from SMS_R_System where not (SystemOUName = "hq")`, 4)
	b.selects(`select * from SMS_R_System where SystemOUName not like "hq%"`, 4)
	b.selects(`select * from SMS_R_System where not (SystemOUName not like "hq/%")`)
	b.selects(`select * from SMS_R_System where SystemOUName is null`, 2, 70_000)
}

// Conditions on one alias hold on the same row; two aliases are two rows.
func TestJoins(t *testing.T) {
	b := office(t)
	join := func(alias string) string {
		return fmt.Sprintf(" inner join %s as %s on %s.ResourceID = SMS_R_System.ResourceID", soft, alias, alias)
	}
	from := "select SMS_R_System.ResourceID from SMS_R_System"
	b.selects(from+join("A")+` where A.DisplayName = "reader" and A.Version = "9.1"`, 2)
	b.selects(from+join("A")+join("B")+` where A.DisplayName = "reader" and B.Version = "9.1"`, 1, 2)
	b.selects(from+join("A")+` where A.DisplayName != "reader"`, 1, 70_000) // has something else
	b.selects(from+join("A")+` where not (A.DisplayName = "reader")`, 1, 70_000)
	b.selects(from+join("A"), 1, 2, 3, 70_000)
	b.selects(from+join("A")+` where SMS_R_System.Name = "pc4" or A.DisplayName = "suite"`, 1, 70_000) // pc4 drops out
	b.selects(from+join("A")+` where (SMS_R_System.Client = 0 or A.DisplayName = "suite") and A.Version like "9%"`, 1, 2)
	b.selects(from+join("A")+join("B")+` where (A.DisplayName = "suite" or B.Version = "7.0") and (A.Version = "9.1" or B.DisplayName = "x")`, 1)
	b.selects(from+" left outer join "+soft+" as A on A.ResourceID = SMS_R_System.ResourceID where A.DisplayName is null", 4)
	b.selects(from+" left outer join "+soft+" as A on A.ResourceID = SMS_R_System.ResourceID where A.ResourceID is null or A.Version is null", 3, 4)
	b.selects(from+` left outer join `+soft+` as A on A.ResourceID = SMS_R_System.ResourceID and A.DisplayName = "suite" where A.ResourceID is null`, 2, 3, 4)
	// Rows are compared with the device, and with each other.
	b.selects(from+join("A")+` inner join SMS_G_System_OPERATING_SYSTEM as O on O.ResourceID = A.ResourceID where A.Version = O.Version`, 1)
	b.selects(from + join("A") + join("B") + ` where A.Version = B.Version and A.DisplayName != B.DisplayName`)
	b.selects(from+join("A")+join("B")+` where A.Version < B.Version`, 1)
	b.selects(from+` inner join SMS_G_System_OPERATING_SYSTEM as O on O.ResourceID = SMS_R_System.ResourceID where O.Caption = SMS_R_System.Name`, 1)
	b.selects(from+join("A")+` where A.ProdID = A.DisplayName or A.Version < A.DisplayName`, 1, 2, 70_000)
}

func TestInnerQueries(t *testing.T) {
	b := office(t)
	in := func(not, where string) string {
		return "select * from SMS_R_System where ResourceID " + not + " in (select ResourceID from " + soft + " where " + where + ")"
	}
	b.selects(in("", `DisplayName = "suite"`), 1, 70_000)
	b.selects(in("not", `DisplayName = "suite"`), 2, 3, 4)
	b.selects("select * from SMS_R_System where ResourceID in (1, 4, 9)", 1, 4)
	b.selects("select * from SMS_R_System where ResourceID != 1 and ResourceID < 5", 2, 3, 4)
	versions := "select ResourceID from SMS_G_System_OPERATING_SYSTEM where Version %s in (select Version from " + soft + " where DisplayName = %q)"
	b.selects(fmt.Sprintf(versions, "", "reader"), 1)
	b.selects(fmt.Sprintf(versions, "not", "reader")) // one reader's version is NULL
	b.selects(fmt.Sprintf(versions, "not", "suite"), 2)
	b.define(Collection{ID: "P0100001", Direct: roaring.BitmapOf(1, 4)})
	b.evaluate(Request{})
	b.selects("select * from SMS_R_System where ResourceID not in (select ResourceID from SMS_CM_RES_COLL_P0100001)", 2, 3, 70_000)
	b.selects("select SMS_R_System.ResourceID from SMS_R_System inner join SMS_CM_RES_COLL_p0100001 as C on C.ResourceID = SMS_R_System.ResourceID where SMS_R_System.Client = 1", 1)
	b.selects("select SMS_R_System.ResourceID from SMS_R_System left join SMS_CM_RES_COLL_P0100001 as C on C.ResourceID = SMS_R_System.ResourceID where C.ResourceID is null and SMS_R_System.Client is not null", 2, 70_000)
}

// A rule that asks for the values of all devices follows them, whatever is evaluated.
func TestValuesOfAllDevices(t *testing.T) {
	b := office(t)
	b.define(b.rule("P0100001", "select ResourceID from SMS_G_System_OPERATING_SYSTEM where Version in (select Version from "+soft+")"),
		Collection{ID: "P0100002", Limit: "P0100001", Direct: roaring.BitmapOf(1, 2)},
		b.rule("P0100003", "select * from SMS_R_System where Client = 1"))
	b.evaluate(Request{})
	b.members("P0100001", 1)
	b.put(4, "SMS_R_System Name=PC4", soft+" ProdID=z Version=10")
	changes := b.evaluate(Request{Devices: roaring.BitmapOf(4)})
	b.members("P0100001", 1, 2)
	b.members("P0100002", 1, 2)
	if len(changes) != 4 {
		t.Errorf("%d changes", len(changes))
	}
	b.e.Remove(4)
	b.e.Remove(1)
	b.evaluate(Request{Devices: roaring.BitmapOf(1, 4), Collections: []string{"P0100003", "P0100001"}})
	b.members("P0100001")
	b.members("P0100002", 1, 2) // was not asked for
	b.evaluate(Request{Collections: []string{"P0100002"}})
	b.members("P0100002")
}

// A class becomes one with many rows when the first device has two, and queries that
// were compiled before still hold.
func TestBecomesMany(t *testing.T) {
	b := newBench(t)
	disk := "SMS_G_System_LOGICAL_DISK DeviceID="
	b.put(1, "SMS_R_System Name=PC1", disk+"C: FreeSpace=10")
	b.put(2, "SMS_R_System Name=PC2", disk+"C: FreeSpace=20")
	b.put(3, "SMS_R_System Name=PC3", disk+"C: FreeSpace=10")
	b.define(b.rule("P0100001", `select ResourceID from SMS_G_System_LOGICAL_DISK where DeviceID = "c:" and FreeSpace < 15`))
	b.evaluate(Request{})
	b.members("P0100001", 1, 3)
	b.put(2, "SMS_R_System Name=PC2", disk+"C: FreeSpace=20", disk+"D: FreeSpace=5")
	b.put(3, "SMS_R_System Name=PC3", disk+"D: FreeSpace=5")
	b.evaluate(Request{Devices: roaring.BitmapOf(2, 3)})
	b.members("P0100001", 1)
	b.put(2, "SMS_R_System Name=PC2", disk+"C: FreeSpace=10")
	b.evaluate(Request{Devices: roaring.BitmapOf(2)})
	b.members("P0100001", 1, 2)
	class, _ := b.s.Class("SMS_G_System_LOGICAL_DISK")
	if table := b.e.tables[class.Index]; len(table.refs)-len(table.free) != 3 { // row 0, C: 10, D: 5
		t.Errorf("%d rows, %d free", len(table.refs), len(table.free))
	}
}

// New properties and classes come while there are rows and definitions.
func TestExtend(t *testing.T) {
	b := office(t)
	b.define(b.rule("P0100001", "select ResourceID from "+soft+` where DisplayName = "suite"`))
	b.evaluate(Request{})
	s, err := b.s.Extend([]schema.Class{{Name: soft, Properties: []schema.Property{{Name: "Licence", Type: schema.Text}}},
		{Name: "SMS_G_System_OWN", Properties: []schema.Property{{Name: "N", Type: schema.Number}}}})
	if err != nil {
		t.Fatal(err)
	}
	b.s = s
	b.e.Extend(s)
	b.put(2, "SMS_R_System Name=PC2", soft+" ProdID=b DisplayName=Suite Version=9.1 Licence=x", "SMS_G_System_OWN N=3")
	b.put(3, "SMS_R_System Name=PC3", soft+" ProdID=b DisplayName=Suite Version=9.1")
	b.evaluate(Request{Devices: roaring.BitmapOf(2, 3)})
	b.members("P0100001", 1, 2, 3, 70_000)
	b.selects("select ResourceID from "+soft+" where Licence = \"X\"", 2)
	b.selects("select ResourceID from SMS_G_System_OWN where N > 2", 2)
	class, _ := b.s.Class(soft)
	if table := b.e.tables[class.Index]; table.lists.at(1)[1] != table.lists.at(3)[0] {
		t.Error("the same row is there twice")
	}
}

// What would take too long to read is refused before anything changes.
func TestTooManyCombinations(t *testing.T) {
	b := newBench(t)
	lines := []string{"SMS_R_System Name=PC1"}
	for i := range 1100 {
		lines = append(lines, fmt.Sprintf("%s ProdID=%d DisplayName=p%d Version=%d", soft, i, i, i))
	}
	b.put(1, lines...)
	b.define(b.rule("P0100001", "select * from SMS_R_System"), b.rule("P0100002", fmt.Sprintf(
		"select A.ResourceID from %[1]s as A inner join %[1]s as B on A.ResourceID = B.ResourceID where A.DisplayName = B.Version", soft)))
	if _, err := b.e.Evaluate(Request{Now: noon}); err == nil || !strings.Contains(err.Error(), "device 1: the joins") {
		t.Errorf("evaluate: %v", err)
	}
	b.members("P0100001")
	b.evaluate(Request{Collections: []string{"SMS00001", "P0100001"}})
	b.members("P0100001", 1)
}

// Trees that no text makes are unknown or false, and nothing breaks.
func TestOddTrees(t *testing.T) {
	b := office(t)
	system, _ := b.s.Class(schema.System)
	name, _ := system.Property("Name")
	column := wql.Column{Property: name, Of: schema.Text}
	for _, where := range []wql.Expr{
		&wql.Compare{Op: wql.Equal, Left: wql.Constant{Of: schema.Text, Null: true}, Right: column},
		&wql.Compare{Op: 99, Left: column, Right: wql.Constant{Of: schema.Text, Text: "pc1"}},
		&wql.Like{Operand: &wql.Call{Function: 77, Args: []wql.Operand{column}}, Pattern: "x%"},
		&wql.Compare{Op: wql.Less, Left: &wql.Call{Function: wql.Substring}, Right: wql.Constant{Of: schema.Text, Text: "z"}},
		nil,
	} {
		q := &wql.Query{Sources: []wql.Source{{Class: system, Alias: "S"}}, Where: where}
		got, err := b.e.Query(q, noon)
		if err != nil || where != nil && !got.IsEmpty() || where == nil && got.GetCardinality() != 5 {
			t.Errorf("%+v: %v %v", where, got, err)
		}
	}
}
