package wql_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// refused are queries and what is said about them; ‸ marks the place.
var refused = []struct{ query, message string }{
	// Names.
	{`select * from ‸SMS_R_Sistem`, `unknown class SMS_R_Sistem: did you mean SMS_R_System?`},
	{`select * from ‸COMPUTER_SYSTEM`, `unknown class COMPUTER_SYSTEM: did you mean SMS_G_System_COMPUTER_SYSTEM?`},
	{`select * from ‸SMS_CH_ClientSummary`, `unknown class SMS_CH_ClientSummary: did you mean SMS_G_System_CH_ClientSummary?`},
	{`select * from ‸SMS_R_User`, `unknown class SMS_R_User: users are not kept, only devices`},
	{`select * from ‸SMS_GH_System_DISK`, `unknown class SMS_GH_System_DISK: the history of inventory is not kept`},
	{`select * from ‸SMS_FullCollectionMembership where CollectionID = "XYZ00001"`,
		`unknown class SMS_FullCollectionMembership: the members of a collection are SMS_CM_RES_COLL_ and its id, as in SMS_CM_RES_COLL_XYZ00012`},
	{`select * from ‸Nothing_like_it`, `unknown class Nothing_like_it`},
	{`select * from SMS_R_System where SMS_R_System.Name = 'é' and ‸SMS_R_System.Nmae = "x"`,
		`unknown property Nmae of SMS_R_System: did you mean Name?`},
	{`select * from SMS_R_System where ‸SMS_R_System.Foo = "x"`, `unknown property Foo of SMS_R_System`},
	{"select *\nfrom SMS_R_System\r\nwhere Name = \"x\"\n  and ‸Nmae = \"x\"",
		`no class behind from has a property Nmae: did you mean SMS_R_System.Name?`},
	{`select * from SMS_R_System where Name = ‸x`, `no class behind from has a property x (a text stands in quotes)`},
	{`select ‸Name from SMS_CM_RES_COLL_XYZ00001`,
		`unknown property Name: the members of a collection have ResourceID only; join SMS_R_System for the rest`},
	{`select * from SMS_R_System join SMS_G_System_DISK D on D.ResourceID = SMS_R_System.ResourceID where ‸Sise > 3`,
		`no class behind from has a property Sise: did you mean D.Size?`},
	{`select * from SMS_R_System join SMS_G_System_DISK D on D.ResourceID = SMS_R_System.ResourceID join SMS_G_System_LOGICAL_DISK L on L.ResourceID = D.ResourceID where ‸Size > 3`,
		`Size is of D and of L: say which`},
	{`select * from SMS_R_System a join SMS_R_System b on a.ResourceID = b.ResourceID where ‸Name = "x"`, `Name is of a and of b: say which`},
	{`select * from SMS_R_System where ‸SMS_G_System_TPM.SpecVersion = "x"`, `SMS_G_System_TPM is not among the classes named so far`},
	{`select * from SMS_R_System S where ‸SMS_R_System.Name = "x"`, `SMS_R_System has another name here: S`},
	{`select * from SMS_R_System where Name.x‸.y = 1`, `a name has two parts, CLASS.PROPERTY`},
	{`select * from SMS_CM_RES_COLL_‸X`, `"X" is not the id of a collection, which has 8 letters and digits`},
	{`select ‸Nmae from SMS_R_System`, `no class behind from has a property Nmae: did you mean SMS_R_System.Name?`},
	{`select * from SMS_R_System order by ‸Nmae`, `no class behind from has a property Nmae: did you mean SMS_R_System.Name?`},

	// Form.
	{`‸selekt * from SMS_R_System`, `expected "select", found "selekt"`},
	{`‸`, `expected "select", found the end`},
	{`select ‸from SMS_R_System`, `expected a property or *, found "from"`},
	{`select Name, ‸from SMS_R_System`, `expected a property or *, found "from"`},
	{`select * from‸`, `expected a class, found the end`},
	{`select * from SMS_R_System where‸`, `expected a property or a value, found the end`},
	{`select * from SMS_R_System where Client = 1 and‸`, `expected a property or a value, found the end`},
	{`select * from SMS_R_System where Client = 1 ‸Client = 2`, `"Client" is not expected here`},
	{`select * from SMS_R_System where (Client = 1‸`, `expected ")", found the end`},
	{`select * from SMS_R_System where Client = 1‸)`, `this parenthesis closes none`},
	{`select * from SMS_R_System where Client‸`, `expected a comparison such as = or like, found the end`},
	{`select * from SMS_R_System where Name =‸= "x"`, `expected a property or a value, found "="`},
	{`select * from SMS_R_System where Client not ‸5`, `expected like or in, found "5"`},
	{`select * from SMS_R_System where Client in ‸1`, `expected "(" and a list or a select, found "1"`},
	{`select * from SMS_R_System where Client in (‸)`, `expected a value such as "text" or 8, found ")"`},
	{`select * from SMS_R_System where Name in ("a" ‸"b")`, `expected ")", found the text "b"`},
	{`select * from SMS_R_System where Name is ‸"x"`, `expected "null", found the text "x"`},
	{`select * from SMS_R_System where Name = ‸"abc`,
		`the text that begins here has no closing quote (a backslash before a quote makes it part of the text)`},
	{`select * from SMS_R_System where Name = ‸"C:\"`,
		`the text that begins here has no closing quote (a backslash before a quote makes it part of the text)`},
	{`select * from SMS_R_System where Build = ‸10.0.19045`, `10.0… is not a number: put a text in quotes`},
	{`select * from SMS_R_System‸;`, `';' has no meaning here`},
	{"select * from SMS_R_System where Name = \"‸\xff\"", `the text is not UTF-8 from here on`},
	{`select ‸*, Name from SMS_R_System`, `* stands alone in a select list`},

	// What cannot be evaluated.
	{`select ‸count(*) from SMS_R_System`, `count() counts over many devices, and a rule is asked of one device at a time`},
	{`select * from SMS_R_System where ‸count(Name) > 3`, `count() counts over many devices, and a rule is asked of one device at a time`},
	{`select ‸upper(Name) from SMS_R_System`,
		`upper() in a select list: a collection takes whole devices, so the list names properties only`},
	{`select Name ‸as N from SMS_R_System`, `a property of the select list takes no other name`},
	{`select ‸top 5 Name from SMS_R_System`, `top: a rule takes all devices that it selects`},
	{`select Name from SMS_R_System ‸group by Name`, `group counts over many devices, and a rule is asked of one device at a time`},
	{`select Name from SMS_R_System where Client = 1 ‸having Client = 1`,
		`having counts over many devices, and a rule is asked of one device at a time`},
	{`select Name from SMS_R_System ‸union select Name from SMS_R_System`,
		`union of two selects: write one select with or, and, not, or two rules`},
	{`select * from SMS_R_System where Client ‸between 1 and 2`, `WQL has no between: write X >= a and X <= b`},
	{`select * from SMS_R_System where ‸exists (select * from SMS_R_System)`,
		`exists: write ResourceID in (select ResourceID from …)`},
	{`select * from SMS_R_System where Client ‸+ 1 = 2`, `nothing is calculated in WQL; DateAdd moves a date`},
	{`select * from SMS_R_System where (Client = 1 ‸- 1)`, `nothing is calculated in WQL; DateAdd moves a date`},
	{`select * from SMS_R_System where (‸select Name from SMS_R_System) = "x"`, `a sub-select stands behind in or not in`},
	{`select * from SMS_R_System‸, SMS_G_System_TPM`,
		`a comma joins every device with every other one: write inner join CLASS on CLASS.ResourceID = SMS_R_System.ResourceID`},
	{`select * from SMS_R_System ‸right join SMS_G_System_TPM on SMS_G_System_TPM.ResourceID = SMS_R_System.ResourceID`,
		`right join: it brings rows without a device of the class before it; write the classes the other way round with left join, or leave out right`},
	{`select * from SMS_R_System ‸full outer join SMS_G_System_TPM on SMS_G_System_TPM.ResourceID = SMS_R_System.ResourceID`,
		`full join: it brings rows without a device of the class before it; write the classes the other way round with left join, or leave out full`},
	{`select * from SMS_R_System ‸cross join SMS_G_System_TPM`, `cross join: a join is inner or left, on ResourceID`},
	{`select * from SMS_R_System join SMS_G_System_TPM‸`, `expected "on", found the end`},
	{`select * from SMS_R_System a join SMS_R_System b on ‸a.Name = b.Name and a.ResourceID != b.ResourceID`,
		`a join must be on ResourceID, as in b.ResourceID = a.ResourceID: other joins bring devices together, and a rule is asked of one at a time`},
	{`select * from SMS_R_System a join SMS_G_System_TPM b on ‸b.ResourceID = b.ResourceID`,
		`a join must be on ResourceID, as in b.ResourceID = a.ResourceID: other joins bring devices together, and a rule is asked of one at a time`},
	{`select * from SMS_R_System a join SMS_G_System_TPM b on ‸a.ResourceID = b.ResourceID or a.Name = "x"`,
		`a join must be on ResourceID, as in b.ResourceID = a.ResourceID: other joins bring devices together, and a rule is asked of one at a time`},
	{`select * from SMS_R_System join ‸SMS_R_System on SMS_R_System.ResourceID = SMS_R_System.ResourceID`,
		`SMS_R_System stands here a second time: give it another name, as in SMS_R_System as B`},
	{`select * from SMS_R_System a join SMS_G_System_TPM ‸A on a.ResourceID = A.ResourceID`,
		`A stands here a second time: give it another name, as in SMS_G_System_TPM as B`},
	{`select * from SMS_R_System S where ResourceID in (select ResourceID from SMS_G_System_TPM where ‸S.Client = 1)`,
		`S belongs to the select around this one: a sub-select must stand on its own`},
	{`select * from SMS_R_System where ResourceID in (select ResourceID from SMS_G_System_TPM where ‸Client = 1)`,
		`Client belongs to the select around this one: a sub-select must stand on its own`},
	{`select * from SMS_R_System where Name in (‸select * from SMS_R_System)`,
		`a sub-select behind in names one property, as in select ResourceID from …`},
	{`select * from SMS_R_System where ResourceID in (select ‸Name from SMS_R_System)`,
		`ResourceID and another property do not go together: both sides of in are ResourceID, or none is`},
	{`select * from SMS_R_System where Name in (select ‸SystemOUName from SMS_R_System)`,
		`the property has several values; a sub-select behind in gives one for each row`},

	// Types.
	{`select * from SMS_R_System where Client = ‸"abc"`, `Client is a number: "abc" is not a number of 64 bits`},
	{`select * from SMS_R_System where Client = ‸99999999999999999999`, `Client is a number: "99999999999999999999" is not a number of 64 bits`},
	{`select * from SMS_R_System where Client = ‸-9223372036854775808.5`, `Client is a number: "-9223372036854775808.5" is not a number of 64 bits`},
	{`select * from SMS_R_System where Client in (1, ‸"1.x")`, `Client is a number: "1.x" is not a number of 64 bits`},
	{`select * from SMS_R_System where CreationDate > ‸"abc"`,
		`CreationDate is a date: "abc" is not a date such as 2026-11-28, 2026-11-28 13:00:00 or 2026-11-28T13:00:00Z`},
	{`select * from SMS_R_System where CreationDate > ‸20261128`,
		`CreationDate is a date, and 20261128 is none: a date stands in quotes, as in "2026-11-28"`},
	{`select * from SMS_R_System where IsVirtualMachine = ‸2`, `IsVirtualMachine is a bool: "2" is not True, False, 1 or 0`},
	{`select * from SMS_R_System where Client = ‸null`, `nothing compares with NULL: write is null or is not null`},
	{`select * from SMS_R_System where Client in (1, ‸NULL)`, `nothing compares with NULL: write is null or is not null`},
	{`select * from SMS_R_System where Name = ‸Client`, `Client is a number and cannot be compared with a text`},
	{`select * from SMS_R_System where SystemOUName = ‸SystemGroupName`,
		`SystemOUName and SystemGroupName have several values each and cannot be compared`},
	{`select * from SMS_R_System where Name in (select ‸Client from SMS_R_System)`, `the property is a number, and Name is a text`},
	{`select * from SMS_R_System where ‸1 = 1`, `no property stands in this condition, so it is the same for all devices`},
	{`select * from SMS_R_System where ‸"a" in ("a")`, `no property stands in this condition, so it is the same for all devices`},
	{`select * from SMS_R_System where ‸upper("a") is null`, `no property stands in this condition, so it is the same for all devices`},
	{`select * from SMS_R_System where Name like ‸Name`, `expected a pattern in quotes, found "Name"`},
	{`select * from SMS_R_System where ‸Client like "1%"`, `like compares texts, and Client is a number`},
	{`select * from SMS_R_System where Name like ‸"[abc"`, `the bracket in the pattern is not closed: write [[] for a bracket`},
	{`select * from SMS_R_System where Name like ‸"a[^]"`, `the set [^] in the pattern has no characters`},
	{`select * from SMS_R_System where Name like ‸"[a-fz-a]"`, `the range z-a in the pattern goes backwards`},

	// Functions.
	{`select * from SMS_R_System where ‸left(Name) = "x"`, `expected a property or a value, found "left"`},
	{`select * from SMS_R_System where ‸foo(Name) = "x"`,
		`unknown function foo: there are upper, lower, substring, GetDate, DatePart, DateDiff and DateAdd`},
	{`select * from SMS_R_System where upper(‸SystemOUName) = "A"`, `SystemOUName has several values, and upper(TEXT) takes one`},
	{`select * from SMS_R_System where DateDiff(‸fortnight, CreationDate, GetDate()) > 3`,
		`expected a part of a date such as day, week or hour, found "fortnight": it is DateDiff(PART, FROM, TO)`},
	{`select * from SMS_R_System where DateDiff(day, ‸Name, GetDate()) > 3`, `Name is a text, and DateDiff(PART, FROM, TO) takes a date here`},
	{`select * from SMS_R_System where DateDiff(day, CreationDate‸) > 3`, `expected ",", found ")": it is DateDiff(PART, FROM, TO)`},
	{`select * from SMS_R_System where DateDiff(day, CreationDate, GetDate()‸, 1) > 3`, `expected ")", found ",": it is DateDiff(PART, FROM, TO)`},
	{`select * from SMS_R_System where DateAdd(day, ‸1.5, CreationDate) > GetDate()`, `DateAdd(PART, NUMBER, DATE) takes whole numbers`},
	{`select * from SMS_R_System where DateAdd(day, 1, ‸"x") > GetDate()`,
		`this operand is a date: "x" is not a date such as 2026-11-28, 2026-11-28 13:00:00 or 2026-11-28T13:00:00Z`},
}

func TestRefusals(t *testing.T) {
	for _, c := range refused {
		at := strings.Index(c.query, "‸")
		query := strings.Replace(c.query, "‸", "", 1)
		q, err := wql.Parse(query, schema.Standard())
		if err == nil {
			t.Errorf("%s\nwas taken as %s", query, q)
			continue
		}
		var e *wql.Error
		if !errors.As(err, &e) {
			t.Errorf("%s\nerror of type %T: %v", query, err, err)
			continue
		}
		if int(e.Pos) != at || e.Message != c.message {
			t.Errorf("%s\nrefused at %d with\n%s\nwant at %d\n%s", query, e.Pos, e.Message, at, c.message)
		}
		before := strings.Split(query[:at], "\n")
		if e.Line != len(before) || e.Column != utf8.RuneCountInString(before[len(before)-1])+1 {
			t.Errorf("%s\nrefused in line %d, column %d", query, e.Line, e.Column)
		}
	}
}

func TestErrorReadsAsASentence(t *testing.T) {
	_, err := wql.Parse("select *\nfrom SMS_R_System\nwhere Name = 'Ä' and Nmae = 1", schema.Standard())
	const want = "line 3, column 22: no class behind from has a property Nmae: did you mean SMS_R_System.Name?"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
