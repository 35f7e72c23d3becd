package wql_test

import (
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// where is the printed condition of a query on devices.
func where(t testing.TB, condition string) string {
	t.Helper()
	q := parse(t, "select * from SMS_R_System where "+condition)
	again(t, q)
	return strings.ReplaceAll(q.Print(q.Where), "SMS_R_System.", "")
}

func TestConditions(t *testing.T) {
	for _, c := range []struct{ written, printed string }{
		// Precedence, and what is flat.
		{`Client=1 or Client=2 and Client=3`, `Client = 1 or Client = 2 and Client = 3`},
		{`(Client=1 or Client=2) and Client=3`, `(Client = 1 or Client = 2) and Client = 3`},
		{`Client=1 and (Client=2 and ((Client=3)))`, `Client = 1 and Client = 2 and Client = 3`},
		{`(Client=1 or Client=2) or (Client=3 or Client=4)`, `Client = 1 or Client = 2 or Client = 3 or Client = 4`},
		{`not Client=1 and Client=2`, `not Client = 1 and Client = 2`},
		{`not (Client=1 and Client=2)`, `not (Client = 1 and Client = 2)`},
		{`NOT NOT (NOT Client=1)`, `not not not Client = 1`},
		{`not(Client=1)or(Client=2)`, `not Client = 1 or Client = 2`},

		// Comparisons, with the constant on either side.
		{`Client<>1 and Client!=1 and Client<=1 and Client>=1`, `Client != 1 and Client != 1 and Client <= 1 and Client >= 1`},
		{`1=Client and 1<Client and 1<=Client and 1>Client and 1>=Client and 1!=Client`,
			`Client = 1 and Client > 1 and Client >= 1 and Client < 1 and Client <= 1 and Client != 1`},
		{`"PC1" < Name`, `Name > "PC1"`},
		{`Name = NetbiosName`, `Name = NetbiosName`},

		// Numbers.
		{`Client = "1" and Client = ' -1 ' and Client = +1 and Client = - 1`, `Client = 1 and Client = -1 and Client = 1 and Client = -1`},
		{`Client < 2.5 and Client < 2.0 and Client < "2.50"`, `Client < 2.5 and Client < 2 and Client < 2.5`},
		{`Client > -2.25 and Client > -0.1 and Client > -1.9`, `Client > -2.5 and Client > -0.5 and Client > -1.5`},
		{`Client = 9223372036854775807 or Client = -9223372036854775808`, `Client = 9223372036854775807 or Client = -9223372036854775808`},
		{`Client = 9223372036854775807.1 or Client = -9223372036854775807.1`, `Client = 9223372036854775807.5 or Client = -9223372036854775807.5`},
		{`Client = true or Client = False`, `Client = 1 or Client = 0`},
		{`ResourceID = "16777220" and ResourceId in (1, "2")`, `ResourceID = 16777220 and ResourceID in (1, 2)`},

		// Texts.
		{`Build = 19045 and Build = 7.60 and Build = -007 and Build = True`, `Build = "19045" and Build = "7.60" and Build = "-007" and Build = "True"`},
		{`Name = “PC1” and Name = ‘PC2’ and Name = „PC3“ and Name = “PC4"`, `Name = "PC1" and Name = "PC2" and Name = "PC3" and Name = "PC4"`},
		{`Name = "a ‘b’ “c”" and Name = 'it''s' and Name = "say ""so"""`, `Name = "a ‘b’ “c”" and Name = "it's" and Name = "say \"so\""`},
		{`Name = "" and Name = ''`, `Name = "" and Name = ""`},
		{`Name = "EX\\Grp" and Name = "EX\Grp" and Name = 'a\'b' and Name = "\\"`, `Name = "EX\\Grp" and Name = "EX\\Grp" and Name = "a'b" and Name = "\\"`},
		{"Name\u00a0=\u2003\"x\"\ufeff", `Name = "x"`},
		{`Name like "%[%]_[^a-f]%"`, `Name like "%[%]_[^a-f]%"`},
		{`Name NOT LIKE 'x' and Name not in ('a', 'b')`, `Name not like "x" and Name not in ("a", "b")`},

		// Dates and bools.
		{`CreationDate > "2026-11-28" or CreationDate > "11/28/2026 1:00:00 PM"`,
			`CreationDate > "2026-11-28T00:00:00Z" or CreationDate > "2026-11-28T13:00:00Z"`},
		{`CreationDate > "20261128130000.250000+060"`, `CreationDate > "2026-11-28T12:00:00.25Z"`},
		{`"2026-11-28T13:00:00+01:00" >= CreationDate`, `CreationDate <= "2026-11-28T12:00:00Z"`},
		{`IsVirtualMachine = 'True' or IsVirtualMachine = 0 or IsVirtualMachine != true or IsVirtualMachine in ("1", FALSE)`,
			`IsVirtualMachine = True or IsVirtualMachine = False or IsVirtualMachine != True or IsVirtualMachine in (True, False)`},

		// Null.
		{`Client is null and Name IS NOT NULL and SystemOUName is null`, `Client is null and Name is not null and SystemOUName is null`},

		// Functions.
		{`UPPER(Name) = "A" and lower( Name ) like "b%" and substring(Name, 1, 3) in ("abc")`,
			`upper(Name) = "A" and lower(Name) like "b%" and substring(Name, 1, 3) in ("abc")`},
		{`14 < DATEDIFF("dd", CreationDate, GETDATE())`, `DateDiff(day, CreationDate, GetDate()) > 14`},
		{`CreationDate >= dateadd(ww, -2, getdate ())`, `CreationDate >= DateAdd(week, -2, GetDate())`},
		{`DateAdd(mi, ClientType, CreationDate) > "2026-01-01" and DatePart(weekday, LastLogonTimestamp) in (1, 7)`,
			`DateAdd(minute, ClientType, CreationDate) > "2026-01-01T00:00:00Z" and DatePart(weekday, LastLogonTimestamp) in (1, 7)`},
		{`DateDiff(n, "2026-01-01", CreationDate) > DateDiff(hh, "2026-01-01", LastLogonTimestamp)`,
			`DateDiff(minute, "2026-01-01T00:00:00Z", CreationDate) > DateDiff(hour, "2026-01-01T00:00:00Z", LastLogonTimestamp)`},

		// Sub-selects.
		{`Name in (select distinct NetbiosName from SMS_R_System where Obsolete = 1)`,
			`Name in (select distinct NetbiosName from SMS_R_System where Obsolete = 1)`},
		{`ResourceID in (select MachineID from SMS_UpdateComplianceStatus where ResourceID not in (select ResourceID from SMS_CM_RES_COLL_abc00001))`,
			`ResourceID in (select SMS_UpdateComplianceStatus.ResourceID from SMS_UpdateComplianceStatus where SMS_UpdateComplianceStatus.ResourceID not in (select SMS_CM_RES_COLL_ABC00001.ResourceID from SMS_CM_RES_COLL_ABC00001))`},
	} {
		if got := where(t, c.written); got != c.printed {
			t.Errorf("%s\nis printed as %s\nwant          %s", c.written, got, c.printed)
		}
	}
}

func TestSources(t *testing.T) {
	for _, c := range []struct{ written, printed string }{
		{`select DISTINCT * from sms_r_system sms_r_system`, `select distinct * from SMS_R_System as sms_r_system`},
		{`select Name,ResourceID from SMS_R_System as SMS_R_System order by Name desc, SMS_R_System.Client asc`,
			`select SMS_R_System.Name, SMS_R_System.ResourceID from SMS_R_System`},
		{`select C.*, S.Name from SMS_CM_RES_COLL_XYZ0003F C join SMS_R_System S on S.ResourceID = C.ResourceID`,
			`select C.ResourceID, S.Name from SMS_CM_RES_COLL_XYZ0003F as C inner join SMS_R_System as S on S.ResourceID = C.ResourceID`},
		// A class that was joined outwards may have no row, so being equal to it says
		// that it has one.
		{`select * from SMS_R_System S left join SMS_G_System_TPM T on T.ResourceID = S.ResourceID join SMS_G_System_DISK D on D.ResourceID = T.ResourceID`,
			`select * from SMS_R_System as S left join SMS_G_System_TPM as T on T.ResourceID = S.ResourceID inner join SMS_G_System_DISK as D on D.ResourceID = S.ResourceID and T.ResourceID is not null`},
		{`select * from SMS_R_System S join SMS_G_System_TPM T on (T.SpecVersion = "2" and T.ResourceID = S.ResourceID) and (S.Client = 1 or T.IsOwned_InitialValue = 1)`,
			`select * from SMS_R_System as S inner join SMS_G_System_TPM as T on T.ResourceID = S.ResourceID and T.SpecVersion = "2" and (S.Client = 1 or T.IsOwned_InitialValue = 1)`},
		{`select * from SMS_R_System S join SMS_G_System_TPM T on T.ResourceID = S.ResourceID and (S.Client = 1 or S.Client = 2)`,
			`select * from SMS_R_System as S inner join SMS_G_System_TPM as T on T.ResourceID = S.ResourceID and (S.Client = 1 or S.Client = 2)`},
		// Without a class, a property is that of SMS_R_System, or of the only class
		// that has it; ResourceID is that of the first.
		{`select Name, Model, ResourceID from SMS_G_System_DISK join SMS_R_System on SMS_R_System.ResourceID = SMS_G_System_DISK.ResourceID`,
			`select SMS_R_System.Name, SMS_G_System_DISK.Model, SMS_G_System_DISK.ResourceID from SMS_G_System_DISK inner join SMS_R_System on SMS_R_System.ResourceID = SMS_G_System_DISK.ResourceID`},
		{`select ResourceID from SMS_R_System S left join SMS_UpdateComplianceStatus U on U.ResourceID = S.ResourceID where MachineID is null`,
			`select S.ResourceID from SMS_R_System as S left join SMS_UpdateComplianceStatus as U on U.ResourceID = S.ResourceID where U.ResourceID is null`},
		{`select Name from SMS_G_System_DISK D join SMS_G_System_LOGICAL_DISK L on L.ResourceID = D.ResourceID join SMS_R_System S on D.ResourceID = S.ResourceID`,
			`select S.Name from SMS_G_System_DISK as D inner join SMS_G_System_LOGICAL_DISK as L on L.ResourceID = D.ResourceID inner join SMS_R_System as S on S.ResourceID = D.ResourceID`},
		{`select * from SMS_R_System inner join SMS_WindowsServicingStates as W on W.Build = SMS_R_System.Build01`,
			`select * from SMS_R_System inner join SMS_WindowsServicingStates as W on W.ResourceID = SMS_R_System.ResourceID and W.Build = SMS_R_System.Build01`},
	} {
		q := parse(t, c.written)
		again(t, q)
		if got := q.String(); got != c.printed {
			t.Errorf("%s\nis printed as %s\nwant          %s", c.written, got, c.printed)
		}
	}
}

func TestClockAndUses(t *testing.T) {
	q := parse(t, `select * from SMS_R_System join SMS_CM_RES_COLL_xyz00002 c on c.ResourceID = SMS_R_System.ResourceID
		where SMS_R_System.ResourceID in (select ResourceID from SMS_CM_RES_COLL_XYZ00002 where ResourceID not in
			(select ResourceID from SMS_CM_RES_COLL_xyz00001 where GetDate() > "2026-01-01"))`)
	if want := []string{"XYZ00001", "XYZ00002"}; !slices.Equal(q.Uses, want) || !q.Clock {
		t.Errorf("uses %v, clock %v", q.Uses, q.Clock)
	}
	sub := q.Where.(*wql.InQuery).Query
	if want := []string{"XYZ00001", "XYZ00002"}; !slices.Equal(sub.Uses, want) || !sub.Clock {
		t.Errorf("sub-select uses %v, clock %v", sub.Uses, sub.Clock)
	}
	inJoin := parse(t, `select * from SMS_R_System S join SMS_G_System_WORKSTATION_STATUS W on W.ResourceID = S.ResourceID and W.LastHardwareScan > DateAdd(dd, -3, GetDate())`)
	if !inJoin.Clock || inJoin.Uses != nil {
		t.Errorf("join: uses %v, clock %v", inJoin.Uses, inJoin.Clock)
	}
	if q := parse(t, `select * from SMS_R_System where Client = 1`); q.Clock || q.Uses != nil {
		t.Errorf("plain query: uses %v, clock %v", q.Uses, q.Clock)
	}
}

func TestTree(t *testing.T) {
	const text = `select * from SMS_R_System where 2.5 > Client`
	q := parse(t, text)
	c := q.Where.(*wql.Compare)
	system, _ := schema.Standard().Class(schema.System)
	client, _ := system.Property("Client")
	want := &wql.Compare{
		Op:    wql.Less,
		Left:  wql.Column{Source: 0, Property: client, Of: schema.Number, Pos: wql.Pos(strings.Index(text, "Client"))},
		Right: wql.Constant{Of: schema.Number, Number: 2, Round: true, Pos: wql.Pos(strings.Index(text, "2.5"))},
		Pos:   wql.Pos(strings.Index(text, "2.5")),
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if q.Text != text || q.Columns != nil || q.Sources[0].Class != system {
		t.Errorf("query %+v", q)
	}
	below := parse(t, `select * from SMS_R_System where Client = -2.5`).Where.(*wql.Compare).Right.(wql.Constant)
	if below.Number != -3 || !below.Round {
		t.Errorf("-2.5 is %+v", below)
	}
	most := parse(t, `select * from SMS_R_System where Client = 9223372036854775807.5`).Where.(*wql.Compare).Right.(wql.Constant)
	if most.Number != math.MaxInt64 || !most.Round {
		t.Errorf("the largest number and a half is %+v", most)
	}
}

func TestEveryOperandHasItsTypeAndPlace(t *testing.T) {
	q := parse(t, `select * from SMS_R_System where DateAdd(day, 1, CreationDate) > GetDate() and upper(Name) = "A" and DatePart(day, CreationDate) = 1 and not (Client in (1) or Name like "x" or Client is null or ResourceID in (select ResourceID from SMS_G_System_TPM))`)
	and := q.Where.(*wql.And)
	for i, want := range []schema.Type{schema.Date, schema.Text, schema.Number} {
		c := and.Terms[i].(*wql.Compare)
		if c.Left.Type() != want || c.Right.Type() != want {
			t.Errorf("%s: %s and %s", q.Print(c), c.Left.Type(), c.Right.Type())
		}
		if c.Left.Position() != c.Position() || c.Right.Position() <= c.Position() {
			t.Errorf("%s: at %d, operands at %d and %d", q.Print(c), c.Position(), c.Left.Position(), c.Right.Position())
		}
	}
	not := and.Terms[3].(*wql.Not)
	last := not.Position()
	for _, e := range not.Term.(*wql.Or).Terms {
		if e.Position() <= last || !strings.HasPrefix(strings.ToLower(q.Text[e.Position():]), strings.ToLower(q.Print(e)[len("SMS_R_System."):][:4])) {
			t.Errorf("%s: at %d: %s", q.Print(e), e.Position(), q.Text[e.Position():])
		}
		last = e.Position()
	}
}

func TestLimits(t *testing.T) {
	const start = `select * from SMS_R_System where `
	nest := func(n int, before, in, after string) string {
		return start + strings.Repeat(before, n) + in + strings.Repeat(after, n)
	}
	const sub = `ResourceID in (select ResourceID from SMS_R_System where `
	joins := func(n int) string {
		var b strings.Builder
		b.WriteString("select * from SMS_R_System s")
		for i := range n {
			name := "d" + strings.Repeat("x", i)
			b.WriteString(" join SMS_G_System_DISK " + name + " on s.ResourceID = " + name + ".ResourceID")
		}
		return b.String()
	}
	list := func(n int) string { return start + "Client in (" + strings.Repeat("1,", n-1) + "1)" }
	for _, c := range []struct{ good, bad, message string }{
		{nest(62, "(", "Client = 1", ")"), nest(63, "(", "Client = 1", ")"), "more than 64 levels inside each other"},
		{nest(62, "not ", "Client = 1", ""), nest(63, "not ", "Client = 1", ""), "more than 64 levels inside each other"},
		{nest(30, sub, "Client = 1", ")"), nest(40, sub, "Client = 1", ")"), "more than 64 levels inside each other"},
		{start + strings.Repeat("upper(", 62) + "Name" + strings.Repeat(")", 62) + ` = "x"`,
			start + strings.Repeat("upper(", 63) + "Name" + strings.Repeat(")", 63) + ` = "x"`, "more than 64 levels inside each other"},
		{joins(wql.MaxJoins), joins(wql.MaxJoins + 1), "more than 16 joins"},
		{list(wql.MaxList), list(wql.MaxList + 1), "more than 4096 values in a list"},
		{start + `Name like "` + strings.Repeat("x", wql.MaxPattern) + `"`, start + `Name like "` + strings.Repeat("x", wql.MaxPattern+1) + `"`,
			"a pattern of 1025 bytes: at most 1024 are taken"},
		{"select " + strings.Repeat("Name,", wql.MaxColumns-1) + "Name from SMS_R_System", "select " + strings.Repeat("Name,", wql.MaxColumns) + "Name from SMS_R_System",
			"more than 4096 properties in the select list"},
		{"select * from SMS_R_System", "select " + strings.Repeat("s.*,", 4000) + "s.* from SMS_R_System s", "more than 4096 properties in the select list"},
		{"select * from SMS_R_System " + strings.Repeat("a", wql.MaxName), "select * from SMS_R_System " + strings.Repeat("a", wql.MaxName+1),
			"a name of 129 bytes: at most 128 are taken"},
		{start + "Client = 1" + strings.Repeat(" ", wql.MaxText-len(start)-len("Client = 1")), start + "Client = 1" + strings.Repeat(" ", wql.MaxText-len(start)-len("Client = 1")+1),
			"a query of 32769 bytes: at most 32768 are taken"},
	} {
		if _, err := wql.Parse(c.good, schema.Standard()); err != nil {
			t.Errorf("%.60s…: %v", c.good, err)
		}
		_, err := wql.Parse(c.bad, schema.Standard())
		if e, ok := err.(*wql.Error); !ok || e.Message != c.message {
			t.Errorf("%.60s…: %v, want %s", c.bad, err, c.message)
		}
	}
}

func TestMonstersAreRefusedCheaply(t *testing.T) {
	for name, query := range map[string]string{
		"1 MB":                      strings.Repeat("select ", 150_000),
		"10,000 parentheses":        "select * from SMS_R_System where " + strings.Repeat("(", 10_000) + "Client = 1" + strings.Repeat(")", 10_000),
		"10,000 nots":               "select * from SMS_R_System where " + strings.Repeat("not ", 8000) + "Client = 1",
		"parentheses in the list":   "select " + strings.Repeat("(", 30_000),
		"quotes":                    "select * from SMS_R_System where Name = " + strings.Repeat(`"`, 30_001),
		"a long name":               "select * from " + strings.Repeat("x", 30_000),
		"a long number":             "select * from SMS_R_System where Client = " + strings.Repeat("9", 30_000),
		"selects inside each other": strings.Repeat("select ResourceID from SMS_R_System where ResourceID in (", 500),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := wql.Parse(query, schema.Standard())
		runtime.ReadMemStats(&after)
		if err == nil || len(err.Error()) > 300 {
			t.Errorf("%s: %.300v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
			t.Errorf("%s: %d bytes to refuse it", name, n)
		}
	}
}
