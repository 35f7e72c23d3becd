package referee

import (
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

func TestSelect(t *testing.T) {
	const all = "select distinct s0_0.device from sms_r_system s0_0"
	for _, c := range []struct{ query, postgres, duckdb string }{
		{`select * from SMS_R_System`, all, all},
		{`select * from SMS_R_System where Name = "Łódź's" and not Client is null`,
			all + ` where ((s0_0.name = 'łódź''s') and not (s0_0.client is null))`, ""},
		{`select * from SMS_R_System where Name like "a\\b%" or Name not like "[a-f]%_x"`,
			all + ` where ((` + ` (s0_0.name like 'a\\b%')) or ( not (s0_0.name ~ '(?s)^(?:[a-f].*.x)$')))`,
			all + ` where ((` + ` (s0_0.name like 'a\b%')) or ( not (regexp_full_match(s0_0.name, '(?s)[a-f].*.x'))))`},
		{`select * from SMS_R_System where SystemOUName != "CORP" and Client not in (1, 2)`,
			all + ` where ((select bool_or((v <> 'corp')) from unnest(s0_0.systemouname) as v) and (s0_0.client not in (1, 2)))`,
			all + ` where ((len(list_filter(s0_0.systemouname, lambda v: (v <> 'corp'))) > 0) and (s0_0.client not in (1, 2)))`},
		{`select * from SMS_R_System where ResourceID not in (select ResourceID from SMS_CM_RES_COLL_P0100001)`,
			all + ` where (s0_0.device is not null and s0_0.device not in (select s1_0.device from (select device from member where coll = 7) s1_0))`, ""},
		{`select A.ResourceID from SMS_R_System as A left join SMS_UpdateComplianceStatus as U on U.ResourceID = A.ResourceID and U.Status = 3 where U.CI_ID is null`,
			all + ` left join sms_updatecompliancestatus s0_1 on s0_1.device = s0_0.device and (s0_1.status = 3) where (s0_1.ci_id is null)`, ""},
		{`select * from SMS_R_System where DateDiff(dd, CreationDate, GetDate()) > 1 and CreationDate < DateAdd(hh, -2, GetDate())`,
			all + ` where (((floor((60000) / 86400000::numeric)::bigint - floor((s0_0.creationdate) / 86400000::numeric)::bigint) > 1) and (s0_0.creationdate < (60000 + (-2)::bigint * 3600000)))`, ""},
	} {
		q, err := wql.Parse(c.query, schema.Standard())
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		for d, want := range map[dialect]string{postgres{}: c.postgres, duckdb{}: c.duckdb} {
			if want == "" { // as the other one, or as good as that
				continue
			}
			got, err := translation{d: d, now: time.UnixMilli(60_000), numbers: map[string]int{"P0100001": 7}}.Select(q)
			if err != nil {
				t.Errorf("%s: %v", c.query, err)
			}
			if got != want {
				t.Errorf("%T of %s is\n%s, want\n%s", d, c.query, got, want)
			}
		}
	}
}

func TestWhatIsNotTranslatedIsSaid(t *testing.T) {
	q, err := wql.Parse(`select * from SMS_R_System where DatePart(dd, CreationDate) = 1`, schema.Standard())
	if err != nil {
		t.Fatal(err)
	}
	if sql, err := (translation{d: postgres{}}).Select(q); err == nil {
		t.Errorf("translated to %s", sql)
	}
}

func TestExpression(t *testing.T) {
	for pattern, want := range map[string]string{
		"a%": "a.*", "_.x": `.\.x`, "[a-f]": "[a-f]", "[^a-]": "[^a-]", "[[]%": `[\[].*`, "(a|b)": `\(a\|b\)`,
	} {
		if got := expression(pattern); got != want {
			t.Errorf("%s is %s, want %s", pattern, got, want)
		}
	}
}

func TestFields(t *testing.T) {
	list := []column{{name: "a", list: true}, {name: "b"}}
	fields := []string{"7", "x\"y" + separator + `z\`, "tab\t\\"}
	if got, want := string((&cluster{}).form(nil, fields, list)), "7\t"+`{"x\\"y","z\\\\"}`+"\ttab\\t\\\\"; got != want {
		t.Errorf("postgres reads %s, want %s", got, want)
	}
	if got, want := string((&memory{}).form(nil, []string{"7", null, `a"b`}, list)), `"7",\N,"a""b"`; got != want {
		t.Errorf("duckdb reads %s, want %s", got, want)
	}
}
