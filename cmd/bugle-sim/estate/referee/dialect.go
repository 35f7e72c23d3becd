package referee

import (
	"fmt"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A dialect is where the databases differ.
type dialect interface {
	// some is the condition that some value of a list is so; condition gets the SQL
	// of the value. It is NULL if the list is.
	some(list string, condition func(value string) string) string
	// matches is whether a text matches a regular expression as a whole.
	matches(text, expression string) string
	// like is whether a text matches a pattern of % and _.
	like(text, pattern string) string
	// divide is the whole quotient of whole numbers, rounded down.
	divide(a string, by int64) string
	// months is how many months lie between year 0 and an instant in milliseconds.
	months(ms string) string
	// evaluate are the statements that bring the stored members of a collection up to
	// date with those that now selects.
	evaluate(number int, now string, changed bool) string
	// create makes a table from columns with types.
	create(table string, columns []column) string
	// indexes are made once the tables are full.
	indexes() string
}

// A column of a table.
type column struct {
	name string
	kind schema.Type
	list bool
}

type postgres struct{}

func (postgres) some(list string, condition func(string) string) string {
	return "(select bool_or(" + condition("v") + ") from unnest(" + list + ") as v)"
}

func (postgres) matches(text, expression string) string {
	return text + " ~ " + literal("(?s)^(?:"+expression+")$")
}

func (postgres) like(text, pattern string) string {
	return text + " like " + literal(strings.ReplaceAll(pattern, `\`, `\\`))
}

func (postgres) divide(a string, by int64) string {
	return fmt.Sprintf("floor((%s) / %d::numeric)::bigint", a, by)
}

func (postgres) months(ms string) string {
	at := "(to_timestamp((" + ms + ") / 1000.0) at time zone 'UTC')"
	return "(extract(year from " + at + ") * 12 + extract(month from " + at + ") - 1)::bigint"
}

func (postgres) evaluate(number int, now string, changed bool) string {
	only := ""
	if changed {
		only = " and m.device in (select device from changed)"
	}
	return fmt.Sprintf(`with now as materialized (%s),
gone as (delete from member m where m.coll = %[2]d%[3]s and not exists (select 1 from now where now.device = m.device))
insert into member select %[2]d, now.device from now where not exists (select 1 from member m where m.coll = %[2]d and m.device = now.device);`, now, number, only)
}

func (d postgres) create(table string, columns []column) string {
	return createTable(table, columns, map[schema.Type]string{schema.Text: `text collate "C"`, schema.Number: "bigint", schema.Date: "bigint", schema.Bool: "smallint"})
}

func createTable(table string, columns []column, types map[schema.Type]string) string {
	list := []string{"device integer not null"}
	for _, c := range columns {
		kind := types[c.kind]
		if c.list {
			kind = "text[]"
		}
		list = append(list, c.name+" "+kind)
	}
	return "create table " + table + " (" + strings.Join(list, ", ") + ");\n"
}

// indexes are those of an administrator who knows the queries.
func (postgres) indexes() string {
	return `create unique index on member (coll, device);
create unique index on direct (coll, device);
create unique index on sms_r_system (device);
create index on sms_r_system (build);
create index on sms_r_system (clientversion);
create index on sms_r_system (adsitename, resourcedomainorworkgroup);
create index on sms_r_system (creationdate);
create index on sms_r_system using gin (systemouname);
create index on sms_r_system using gin (systemgroupname);
create index on sms_r_system using gin (ipsubnets);
create index on sms_g_system_operating_system (buildnumber, device);
create index on sms_g_system_computer_system (model, device);
create index on sms_g_system_computer_system (manufacturer, device);
create index on sms_g_system_system_enclosure (chassistypes, device);
create index on sms_g_system_add_remove_programs (displayname, version, device);
create index on sms_g_system_add_remove_programs_64 (displayname, version, device);
create index on sms_g_system_logical_disk (deviceid, freespace, device);
create index on sms_g_system_workstation_status (lasthardwarescan, device);
create index on sms_updatecompliancestatus (ci_id, status, device);
`
}

type duckdb struct{}

func (duckdb) some(list string, condition func(string) string) string {
	return "(len(list_filter(" + list + ", lambda v: " + condition("v") + ")) > 0)"
}

func (duckdb) matches(text, expression string) string {
	return "regexp_full_match(" + text + ", " + literal("(?s)"+expression) + ")"
}

func (duckdb) like(text, pattern string) string { return text + " like " + literal(pattern) }

func (duckdb) divide(a string, by int64) string {
	return fmt.Sprintf("floor((%s) / %d)::bigint", a, by)
}

func (duckdb) months(ms string) string {
	at := "make_timestamp((" + ms + ") * 1000)"
	return "(extract(year from " + at + ") * 12 + extract(month from " + at + ") - 1)"
}

func (duckdb) evaluate(number int, now string, changed bool) string {
	only := ""
	if changed {
		only = " and device in (select device from changed)"
	}
	return fmt.Sprintf(`create or replace temp table now as %s;
delete from member where coll = %[2]d%[3]s and device not in (select device from now);
insert into member select %[2]d, device from now where device not in (select device from member where coll = %[2]d);`, now, number, only)
}

func (d duckdb) create(table string, columns []column) string {
	return createTable(table, columns, map[schema.Type]string{schema.Text: "text", schema.Number: "bigint", schema.Date: "bigint", schema.Bool: "smallint"})
}

func (duckdb) indexes() string { return "" }

// literal is a text in SQL.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// expression is the regular expression of a pattern with sets, which is folded.
func expression(pattern string) string {
	var b strings.Builder
	runes := []rune(pattern)
	for i := 0; i < len(runes); i++ {
		switch c := runes[i]; c {
		case '%':
			b.WriteString(".*")
		case '_':
			b.WriteString(".")
		case '[':
			i += writeSet(&b, runes[i+1:])
		default:
			b.WriteString(escaped(c))
		}
	}
	return b.String()
}

// writeSet writes a set behind its bracket, and returns how long it is with the
// closing one.
func writeSet(b *strings.Builder, p []rune) int {
	b.WriteString("[")
	i := 0
	if p[0] == '^' {
		b.WriteString("^")
		i++
	}
	for ; p[i] != ']'; i++ {
		if p[i] == '-' {
			b.WriteString("-")
		} else {
			b.WriteString(escaped(p[i]))
		}
	}
	b.WriteString("]")
	return i + 1
}

func escaped(c rune) string {
	if strings.ContainsRune(`\.+*?()|[]{}^$-`, c) {
		return `\` + string(c)
	}
	return string(c)
}

// folded is a text as tables hold it.
func folded(s string) string { return wql.Fold(s) }
