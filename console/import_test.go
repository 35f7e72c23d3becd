package console_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
)

// take imports lines and returns what became of them.
func (r *rig) take(query string, lines ...string) (got console.ImportReply) {
	r.t.Helper()
	p := r.do("POST", console.PathDevicesImport+"?source=pcs.jsonl"+query, strings.Join(lines, "\n"), "Content-Type", "application/x-ndjson")
	p.ok(&got)
	return got
}

// took imports lines, and compares the numbers of new, changed, unchanged and bad
// ones, and the problems, LINE: DETAIL.
func (r *rig) took(counts string, problems []string, lines ...string) console.ImportReply {
	r.t.Helper()
	got := r.take("", lines...)
	if c := fmt.Sprint(got.New, got.Changed, got.Unchanged, got.Bad); c != counts {
		r.t.Errorf("new, changed, unchanged and bad are %s, want %s", c, counts)
	}
	var said []string
	for _, p := range got.Problems {
		said = append(said, fmt.Sprintf("%d: %s", p.Line, p.Detail))
	}
	if !slices.Equal(said, problems) {
		r.t.Errorf("problems are\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(problems, "\n"))
	}
	return got
}

// device is a device with all that is known.
func (r *rig) device(word string) (d console.DeviceReply) {
	r.t.Helper()
	r.do("GET", fmt.Sprintf("%s?min-event=%d", console.Path(console.PathDevice, word), r.journal.Head().Event), nil).ok(&d)
	return d
}

// inventory is the inventory of a device without its first class: CLASS[KEY].PROPERTY=VALUE@EVENT.
func (r *rig) inventory(word string) (all []string) {
	r.t.Helper()
	for _, c := range r.device(word).Inventory {
		if c.Class == "SMS_R_System" {
			continue
		}
		for _, row := range c.Rows {
			for _, v := range row.Values {
				all = append(all, fmt.Sprintf("%s[%s].%s=%v@%d", strings.TrimPrefix(c.Class, "SMS_G_System_"), row.Key, v.Property, v.Value, v.Event))
			}
		}
	}
	return all
}

func (r *rig) knows(word string, want ...string) {
	r.t.Helper()
	if got := r.inventory(word); !slices.Equal(got, want) {
		r.t.Errorf("of %s is known\n%s\nwant\n%s", word, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Records are made, and changed by name, number or id; what is the same is no event.
func TestImport(t *testing.T) {
	r := newWholeRig(t)
	pc1 := `{"name":"PC1","Build":"10.0.22631","SMS_G_System_COMPUTER_SYSTEM":{"Model":"T14","NumberOfProcessors":2,"PartOfDomain":true},` +
		`"SMS_G_System_ADD_REMOVE_PROGRAMS":[{"DisplayName":"7-Zip","Version":"23"},{"DisplayName":"vim","Version":"9.1"}]}`
	got := r.took("2 0 0 0", nil, pc1, "", `{"NAME":"pc2","SMS_R_System":{"Client":1,"SystemOUName":["OU=A","OU=B"],"CreationDate":"2026-01-02"}}`)
	if got.Event != 1 || got.Events != 1 {
		t.Errorf("it became %d events, the last is %d", got.Events, got.Event)
	}
	r.knows("pc1", "ADD_REMOVE_PROGRAMS[7-zip].DisplayName=7-Zip@1", "ADD_REMOVE_PROGRAMS[7-zip].ProdID=7-Zip@1", "ADD_REMOVE_PROGRAMS[7-zip].Version=23@1",
		"ADD_REMOVE_PROGRAMS[vim].DisplayName=vim@1", "ADD_REMOVE_PROGRAMS[vim].ProdID=vim@1", "ADD_REMOVE_PROGRAMS[vim].Version=9.1@1",
		"COMPUTER_SYSTEM[].Model=T14@1", "COMPUTER_SYSTEM[].NumberOfProcessors=2@1", "COMPUTER_SYSTEM[].PartOfDomain=true@1")
	d := r.device("PC1")
	if d.Number != 1 || d.Reason != "no-agent" || d.Imported == nil || d.Online {
		t.Errorf("device is %+v", d)
	}
	before := r.journal.Head().Event
	r.took("0 1 1 0", nil, pc1, fmt.Sprintf(`{"number":2,"name":"PC2","id":%q,"Client":true}`, r.device("2").ID))
	if now := r.journal.Head().Event; now != before+1 { // the other spelling of the name
		t.Errorf("what was known already became %d events", now-before)
	}
	r.took("0 1 0 0", nil, fmt.Sprintf(`{"id":%q,"SMS_G_System_COMPUTER_SYSTEM":{"Model":"T15","PartOfDomain":null},"SMS_G_System_ADD_REMOVE_PROGRAMS":[{"DisplayName":"vim","Version":"9.2"}]}`, d.ID))
	n := r.journal.Head().Event
	r.knows("1", "ADD_REMOVE_PROGRAMS[vim].DisplayName=vim@1", "ADD_REMOVE_PROGRAMS[vim].ProdID=vim@1", fmt.Sprintf("ADD_REMOVE_PROGRAMS[vim].Version=9.2@%d", n),
		fmt.Sprintf("COMPUTER_SYSTEM[].Model=T15@%d", n), "COMPUTER_SYSTEM[].NumberOfProcessors=2@1")
}

// What cannot be taken is said with its line; all others are.
func TestImportBadLines(t *testing.T) {
	r := newWholeRig(t)
	r.took("2 0 0 22", []string{
		`2: it is not JSON: "x" where a value must be, at byte 1`,
		`3: it is not JSON: it ends where a name must be`,
		`4: it is not UTF-8`,
		`5: a list where an object must be`,
		`6: it names no device: give "name", "number" or "id"`,
		`7: there is no class, and no property of SMS_R_System, "Biuld"; Build is near`,
		`8: there is no class, and no property of SMS_R_System, "SMS_G_System_COMPUTER_SYSTEMS"; SMS_G_System_COMPUTER_SYSTEM is near`,
		`9: class SMS_G_System_COMPUTER_SYSTEM has no property "Modle"; Model is near`,
		`10: SMS_G_System_COMPUTER_SYSTEM.NumberOfProcessors: "two" is not a whole number of 64 bits, and it must be a number`,
		`11: SMS_R_System.CreationDate: "soon" is not a date such as 2026-11-28, 2026-11-28 13:00:00 or 2026-11-28T13:00:00Z, and it must be a date`,
		`12: SMS_G_System_COMPUTER_SYSTEM.PartOfDomain: "maybe" is not True, False, 1 or 0, and it must be a bool`,
		`13: SMS_R_System.Build: an object where text must be`,
		`14: SMS_G_System_LOGICAL_DISK: a device has several rows of it; give a list of objects, not an object`,
		`15: SMS_G_System_COMPUTER_SYSTEM: a device has one row of it; give an object, not a list`,
		`16: SMS_G_System_LOGICAL_DISK: a row has no DeviceID, which tells it from the others`,
		`17: SMS_G_System_LOGICAL_DISK: two rows have the same DeviceID, "c:"`,
		`18: SMS_R_System.Build is there twice`,
		`19: it gives two names, "a" and "b"`,
		`20: something follows the object, at byte 13`,
		`21: there is no device 77; the site gives the numbers of new ones`,
		`22: there is no device with the id 0b3c6f6e-1111-4111-8111-111111111111, and a new one needs a name`,
		`23: SMS_R_System.Build: text of 5000 bytes, at most 4096 are taken`,
	}, `{"name":"first"}`, `x`, `{"name":"a", `, "{\"name\":\"\xff\"}", `[1]`, `{"Build":"1"}`, `{"name":"a","Biuld":"1"}`,
		`{"name":"a","SMS_G_System_COMPUTER_SYSTEMS":{}}`, `{"name":"a","SMS_G_System_COMPUTER_SYSTEM":{"Modle":"T14"}}`,
		`{"name":"a","SMS_G_System_COMPUTER_SYSTEM":{"NumberOfProcessors":"two"}}`, `{"name":"a","CreationDate":"soon"}`,
		`{"name":"a","SMS_G_System_COMPUTER_SYSTEM":{"PartOfDomain":"maybe"}}`, `{"name":"a","Build":{"a":[[[[[[]]]]]]}}`,
		`{"name":"a","SMS_G_System_LOGICAL_DISK":{"DeviceID":"C:"}}`, `{"name":"a","SMS_G_System_COMPUTER_SYSTEM":[{"Model":"x"}]}`,
		`{"name":"a","SMS_G_System_LOGICAL_DISK":[{"Size":1}]}`, `{"name":"a","SMS_G_System_LOGICAL_DISK":[{"DeviceID":"C:"},{"DeviceID":"c:"}]}`,
		`{"name":"a","Build":"1","SMS_R_System":{"BUILD":"2"}}`, `{"name":"a","name":"b"}`, `{"name":"a"}{"name":"b"}`, `{"number":77}`,
		`{"id":"0b3c6f6e-1111-4111-8111-111111111111"}`, fmt.Sprintf(`{"name":"a","Build":%q}`, strings.Repeat("x", 5000)), `{"name":"last"}`)
	deep := strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000)
	got := r.take("", `{"name":"a","x":`+deep+`}`, `{"name":"a","Build":`+deep+`}`, `{"name":"a","Build":"`+strings.Repeat("x", 1<<20)+`"}`, `{"name":"deep"}`)
	if got.Bad != 3 || got.New != 1 {
		t.Errorf("%+v", got)
	}
	if d := r.device("last"); d.Number != 2 {
		t.Errorf("the last device has number %d", d.Number)
	}
}

// A device that several lines name is one, whether they come in one call or in calls
// that follow one another at once.
func TestImportAgainAndAgain(t *testing.T) {
	r := newWholeRig(t)
	r.took("1 0 0 0", nil, `{"name":"pc","SMS_G_System_COMPUTER_SYSTEM":{"Model":"a","Name":"x"}}`,
		`{"name":"PC","SMS_G_System_COMPUTER_SYSTEM":{"Model":"b","Domain":"d"},"SMS_G_System_LOGICAL_DISK":[{"DeviceID":"C:"}]}`,
		`{"name":"pc","SMS_G_System_LOGICAL_DISK":[{"DeviceID":"D:"}]}`)
	r.knows("pc", "COMPUTER_SYSTEM[].Domain=d@1", "COMPUTER_SYSTEM[].Model=b@1", "COMPUTER_SYSTEM[].Name=x@1", "LOGICAL_DISK[d:].DeviceID=D:@1")
	for i := range 30 {
		r.took("1 1 0 0", nil, fmt.Sprintf(`{"name":"pc%d"}`, i), fmt.Sprintf(`{"name":"pc","SMS_G_System_COMPUTER_SYSTEM":{"Model":"m%d"}}`, i))
		r.took("0 1 1 0", nil, fmt.Sprintf(`{"name":"pc%d"}`, i), fmt.Sprintf(`{"number":1,"SMS_G_System_COMPUTER_SYSTEM":{"Model":"n%d"}}`, i))
	}
	if d := r.device("pc29"); d.Number != 31 {
		t.Errorf("the last one has number %d", d.Number)
	}
}

// A device that has joined keeps the name that its agent gave; what is known of it
// can be imported. A name that two have names none of them.
func TestImportOfJoined(t *testing.T) {
	r := newWholeRig(t)
	var token console.TokenReply
	r.do("POST", console.PathTokens, `{"uses":2}`).ok(&token)
	r.joinWith(token.Token, "twin")
	r.joinWith(token.Token, "twin")
	r.took("0 1 0 3", []string{
		`2: 2 devices are named "twin"; give a number: 1, 2`,
		`3: device 1 is named "twin" by its agent; an import does not change that`,
		fmt.Sprintf(`4: device 1 has the id %s, not 0b3c6f6e-1111-4111-8111-111111111111`, r.device("1").ID),
	}, `{"number":1,"name":"TWIN","SMS_G_System_COMPUTER_SYSTEM":{"Model":"T14"}}`, `{"name":"twin"}`, `{"number":1,"name":"other"}`,
		`{"number":1,"id":"0b3c6f6e-1111-4111-8111-111111111111"}`)
	if d := r.device("1"); d.Name != "twin" || d.Reason != "never-seen" || len(d.Inventory) != 2 {
		t.Errorf("device is %+v", d)
	}
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`).ok(&console.PushReply{})
}

// An agent that joins with a token that names an imported record becomes it.
func TestTokenForImported(t *testing.T) {
	r := newWholeRig(t)
	r.took("3 0 0 0", nil, `{"name":"pc1","SMS_G_System_COMPUTER_SYSTEM":{"Model":"T14"}}`, `{"name":"pc2"}`, `{"name":"pc2b"}`)
	before := r.device("pc1")
	var one, two console.TokenReply
	r.do("POST", console.PathTokens, `{"device":"PC1","uses":1}`).ok(&one)
	r.do("POST", console.PathTokens, `{"device":"2"}`).ok(&two)
	if one.Device != 1 || one.Uses != 1 || two.Device != 2 {
		t.Errorf("tokens %+v, %+v", one, two)
	}
	r.do("POST", console.Path(console.PathDeviceRemove, "2"), `{}`).ok(new(console.Written))
	for _, again := range []bool{false, true} {
		var list console.TokenList
		r.do("GET", console.PathTokens, nil).ok(&list)
		for _, item := range list.Items {
			if item.Usable != (item.ID == one.ID && !again) || item.Device == 0 {
				t.Errorf("token %+v", item)
			}
		}
		if again {
			break
		}
		if number := r.joinWith(one.Token, "pc1.example"); number != 1 {
			t.Errorf("joined as device %d", number)
		}
	}
	d := r.device("1")
	if d.ID != before.ID || d.Name != "pc1.example" || d.Reason != "never-seen" || d.Imported == nil || d.Agent != "0.1.0" {
		t.Errorf("device is %+v", d)
	}
	r.knows("1", "COMPUTER_SYSTEM[].Model=T14@1")
	var page console.DevicePage
	if r.do("GET", console.PathDevices, nil).ok(&page); page.Total != 2 {
		t.Errorf("there are %d devices", page.Total)
	}
	for body, want := range map[string]struct {
		status int
		text   string
	}{
		`{"device":"1"}`:                       {409, "An agent has joined for device 1"},
		`{"device":"2"}`:                       {409, "Device 2 was removed"},
		`{"device":"nobody"}`:                  {404, "nobody"},
		`{"device":"pc2b","uses":2}`:           {422, "good for one use"},
		`{"device":"pc2b","listener":"BGL01"}`: {422, "not for both"},
		`{"device":"pc2b","scope":["1"]}`:      {422, "Only a listener has a scope"},
	} {
		r.do("POST", console.PathTokens, body).problem(want.status, want.text)
	}
}

// A dry run tells and does nothing.
func TestImportDryRun(t *testing.T) {
	r := newWholeRig(t)
	r.took("1 0 0 0", nil, `{"name":"a"}`)
	before := r.journal.Head().Event
	got := r.take("&dry-run=true&line=7", `{"name":"a","Build":"1"}`, `{"name":"b"}`, `{"name":"A"}`, `x`)
	if got.New != 1 || got.Changed != 1 || got.Bad != 1 || !got.DryRun || got.Events != 0 || got.Event != before || got.Problems[0].Line != 10 {
		t.Errorf("%+v", got)
	}
	if r.journal.Head().Event != before {
		t.Error("a dry run became an event")
	}
}

// A line that is larger than an event becomes several, and the view has all of it.
func TestImportOfMuch(t *testing.T) {
	r := newWholeRig(t)
	var b strings.Builder
	b.WriteString(`{"name":"much","SMS_G_System_ADD_REMOVE_PROGRAMS":[`)
	row := func(i int) string {
		return fmt.Sprintf(`{"ProdID":"{%d}","DisplayName":"Product %d","Publisher":%q}`, i, i, strings.Repeat("p", 50))
	}
	for i := range 1600 {
		b.WriteString(row(i) + ",")
	}
	b.WriteString(row(1600) + `],"SMS_G_System_ADD_REMOVE_PROGRAMS_64":[{"ProdID":"0"}`)
	for i := range 500 {
		fmt.Fprintf(&b, `,{"ProdID":"%d more","Publisher":%q}`, i, strings.Repeat("q", 300))
	}
	b.WriteString(`]}`)
	got := r.took("2 0 0 0", nil, b.String(), `{"name":"other"}`)
	if got.Events < 2 {
		t.Errorf("it became %d events", got.Events)
	}
	r.took("0 0 2 0", nil, b.String(), `{"name":"other"}`)
	d := r.device("much")
	if len(d.Inventory) != 3 || len(d.Inventory[1].Rows) != 1601 || len(d.Inventory[2].Rows) != 398 || d.InventoryMore != 103 {
		t.Errorf("%d classes, %d rows are left out", len(d.Inventory), d.InventoryMore)
	}
	r.took("0 0 0 1", []string{"1: SMS_G_System_ADD_REMOVE_PROGRAMS: rows of more than 327680 bytes"}, `{"name":"much","SMS_G_System_ADD_REMOVE_PROGRAMS":[`+strings.TrimPrefix(manyRows(100), ",")+`]}`)
}

// manyRows are programs with much text.
func manyRows(n int) (rows string) {
	for i := range n {
		rows += fmt.Sprintf(`,{"ProdID":"many %d","Publisher":%q}`, i, strings.Repeat("p", 4000))
	}
	return rows
}

// What was removed is shut out, vanishes from lists, and is not imported again under
// its number.
func TestRemove(t *testing.T) {
	r := newWholeRig(t)
	var token console.TokenReply
	r.do("POST", console.PathTokens, `{"uses":2}`).ok(&token)
	r.joinWith(token.Token, "alpha")
	r.joinWith(token.Token, "beta")
	r.took("1 0 0 0", nil, `{"name":"gamma"}`)
	var w, again console.Written
	r.do("POST", console.Path(console.PathDeviceRemove, "alpha"), `{"reason":"scrapped"}`).ok(&w)
	r.do("POST", console.Path(console.PathDeviceRemove, "1"), `{}`).ok(&again)
	if w != again {
		t.Errorf("removed by %d and by %d", w.Event, again.Event)
	}
	r.do("POST", console.Path(console.PathDeviceRemove, "gamma"), `{}`).ok(&w)
	list := func(query string) (names string, total int) {
		var page console.DevicePage
		r.do("GET", fmt.Sprintf("%s?min-event=%d%s", console.PathDevices, r.journal.Head().Event, query), nil).ok(&page)
		for _, d := range page.Items {
			names += d.Name + " " + d.Reason + ", "
		}
		return names, page.Total
	}
	if names, total := list(""); names != "beta never-seen, " || total != 1 {
		t.Errorf("devices %s of %d", names, total)
	}
	if names, total := list("&removed=true"); names != "alpha removed, beta never-seen, gamma removed, " || total != 1 {
		t.Errorf("devices %s of %d", names, total)
	}
	var past console.DevicePage
	r.do("GET", fmt.Sprintf("%s?at=%d", console.PathDevices, again.Event), nil).ok(&past)
	if past.Total != 2 || len(past.Items) != 2 {
		t.Errorf("after event %d there are %+v", again.Event, past)
	}
	if d := r.device("1"); d.Removed == nil || d.Removal != "scrapped" || d.Name != "alpha" || d.Inventory != nil {
		t.Errorf("device is %+v", d)
	}
	for _, call := range []struct {
		path, body string
		status     int
	}{
		{console.Path(console.PathDeviceBlock, "1"), `{}`, 409}, {console.Path(console.PathDeviceUnblock, "1"), `{}`, 409}, {console.Path(console.PathDeviceRemove, "alpha"), `{}`, 404},
		{console.PathOperations, `{"kind":"scan.quick","devices":["1"]}`, 422}, {console.PathOperations, `{"kind":"scan.quick","devices":["3"]}`, 422},
	} {
		if p := r.do("POST", call.path, call.body); p.status != call.status {
			t.Errorf("%s %s: %d %s, want %d", call.path, call.body, p.status, p.body, call.status)
		}
	}
	var push console.PushReply
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`).ok(&push)
	if push.Targets != 1 {
		t.Errorf("%d targets", push.Targets)
	}
	r.took("1 0 0 1", []string{"1: there is no device 1; the site gives the numbers of new ones"}, `{"number":1,"name":"alpha"}`, `{"name":"alpha"}`)
	if d := r.device("alpha"); d.Number != 4 {
		t.Errorf("the new alpha has number %d", d.Number)
	}
}

// Nothing can be sent to what was imported.
func TestImportedIsNoTarget(t *testing.T) {
	r := newWholeRig(t)
	r.took("1 0 0 0", nil, `{"name":"gamma"}`)
	for _, body := range []string{`{"kind":"scan.quick","all":true}`, `{"kind":"scan.quick","devices":["gamma"]}`} {
		if p := r.do("POST", console.PathOperations, body); p.status != 422 {
			t.Errorf("%s: %d %s", body, p.status, p.body)
		}
	}
	if p := r.do("POST", console.Path(console.PathDeviceBlock, "gamma"), `{}`); p.status != 409 {
		t.Errorf("blocked: %d %s", p.status, p.body)
	}
}
