package action

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const regList = "\r\nHKEY_LOCAL_MACHINE\\SOFTWARE\\X\\Uninstall\\{1}\r\n    DisplayName    REG_SZ    7-Zip 23.01 (x64)\r\n    DisplayVersion    REG_SZ    23.01\r\n\r\n" +
	"HKEY_LOCAL_MACHINE\\SOFTWARE\\X\\Uninstall\\{2}\r\n    NoModify    REG_DWORD    0x1\r\n\r\n" +
	"HKEY_LOCAL_MACHINE\\SOFTWARE\\X\\Uninstall\\{3}\r\n    DisplayName    REG_SZ    Tool\r\n"

func TestListsOfSoftware(t *testing.T) {
	for _, c := range []struct{ goos, program, output, want string }{
		{"linux", "dpkg-query", "installed\tbash\t5.2.15-2+b7\nconfig-files\told\t1\ninstalled\tzlib1g\t1:1.2.13\n", "bash\t5.2.15-2+b7\nzlib1g\t1:1.2.13"},
		{"linux", "rpm", "bash\t5.1.8-6.el9\ngpg-pubkey\tabc-1\nopenssl\t1:3.0.7-24.el9\n", "bash\t5.1.8-6.el9\nopenssl\t1:3.0.7-24.el9"},
		{"linux", "apk", "busybox-1.36.1-r15\nlib-x-2.0-r0\nodd\n", "busybox\t1.36.1-r15\nlib-x\t2.0-r0"},
		{"darwin", "/usr/sbin/system_profiler", `{"SPApplicationsDataType":[{"_name":"Safari","version":"17.5"},{"_name":"Notes"}]}`, "Notes\t\nSafari\t17.5"},
		{"windows", regPath, regList, "7-Zip 23.01 (x64)\t23.01\nTool\t"},
	} {
		f := newFake(t, c.goos, c.program).says(c.program, ending{output: c.output})
		h := &fakeHost{}
		o := (&stock{sys: &f.system}).inventory(context.Background(), h.request(""))
		got := map[string]string{}
		for _, fact := range h.sent {
			got[fact.Name] = fact.Value
		}
		if o.State != task.Succeeded || got["software.000"] != c.want || got["software.parts"] != "1" || got["software.count"] != "2" {
			t.Errorf("%s: %+v\n%q", c.program, o, got)
		}
		bad := newFake(t, c.goos, c.program).says(c.program, ending{code: 1, errors: "no"})
		if o := (&stock{sys: &bad.system}).inventory(context.Background(), h.request("")); (o.State == task.Failed) == (c.goos == "windows") {
			t.Errorf("%s after an error: %+v", c.program, o)
		}
		cutOff := newFake(t, c.goos, c.program).says(c.program, ending{output: c.output, cut: true})
		if o := (&stock{sys: &cutOff.system}).inventory(context.Background(), h.request("")); o.State != task.Failed {
			t.Errorf("%s says too much: %+v", c.program, o)
		}
	}
	if o := do(t, newFake(t, "linux").table(t, Config{}), "inventory.software", ""); o.State != task.NotApplicable {
		t.Errorf("%+v", o)
	}
}

func TestRealSoftware(t *testing.T) {
	sys := thisSystem()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := &stock{sys: &sys}
	list, by, err := s.list(ctx)
	if err == errNoLister {
		t.Skip("this machine has no package database that is known")
	}
	if err != nil || len(list) == 0 {
		t.Fatalf("%d, %v", len(list), err)
	}
	t.Logf("%d installed, by %s", len(list), by)
	some := list[len(list)/2]
	h := &fakeHost{}
	if o := s.evaluate(ctx, h.request(`{"applications":[{"name":`+jsonText(some.name)+`,"version":"0"}]}`)); o.State != task.Succeeded {
		t.Errorf("%+v", o)
	}
	o := s.evaluate(ctx, h.request(`{"applications":[{"name":`+jsonText(some.name)+`,"version":"99999:1"},{"name":"no such thing"}]}`))
	if o.State != task.Failed || o.Code != 2 || !strings.Contains(o.Detail, "at least 99999:1 is needed; no such thing is not installed") {
		t.Errorf("%+v", o)
	}
}

func TestHostileApplications(t *testing.T) {
	f := newFake(t, "linux", "dpkg-query")
	for _, bad := range []string{`{"applications":[]}`, `{"applications":[{}]}`, `{"applications":[{"name":"a\nb"}]}`, `{"applications":[{"name":"a","version":"-1"}]}`,
		`{"applications":[{"name":"a","version":"1 or 1"}]}`, `{"applications":[{"name":"a","x":1}]}`, `{"applications":[` + strings.Repeat(`{"name":"a"},`, 100) + `{"name":"a"}]}`} {
		if o := (&stock{sys: &f.system}).evaluate(context.Background(), (&fakeHost{}).request(bad)); o.State != task.Refused {
			t.Errorf("%s: %+v", bad, o)
		}
	}
	if len(f.started) != 0 {
		t.Errorf("started %q", f.lines())
	}
}

func TestVersionsInOrder(t *testing.T) {
	order := []string{"0~rc1", "0", "1.0~beta", "1.0", "1.0-1", "1.0-1+b1", "1.0a", "1.0+1", "1.2", "1.10", "2", "1:0.1", "1:0.1-2", "2:0"}
	for i, a := range order {
		for j, b := range order {
			if got := compareVersions(a, b); got != sign(i-j) {
				t.Errorf("%s and %s: %d", a, b, got)
			}
		}
	}
	if compareVersions("1.0", "1.00") != 0 || compareVersions("0:1", "1") != 0 {
		t.Error("equal versions differ")
	}
}

// dpkg has the last word where it is there.
func TestVersionsAsDpkgOrdersThem(t *testing.T) {
	sys := thisSystem()
	path, ok := sys.has("dpkg")
	if !ok {
		t.Skip("this machine has no dpkg")
	}
	r := rand.New(rand.NewPCG(4, 2))
	one := func() string {
		var b strings.Builder
		fmt.Fprint(&b, r.IntN(3))
		for range r.IntN(6) {
			b.WriteByte("0129.ab~+-"[r.IntN(10)])
		}
		return b.String() + fmt.Sprint(r.IntN(3))
	}
	for range 200 {
		a, b := one(), one()
		if r.IntN(4) == 0 {
			a = "1:" + a
		}
		relation := [...]string{"lt", "eq", "gt"}[compareVersions(a, b)+1]
		e, err := runCommand(context.Background(), command{path: path, args: []string{"--compare-versions", a, relation, b}})
		if err != nil || e.code != 0 {
			t.Errorf("dpkg does not say %s %s %s: %+v %v", a, relation, b, e, err)
		}
	}
}

func TestPartsOfAList(t *testing.T) {
	var lines []string
	for i := range 9000 {
		lines = append(lines, fmt.Sprintf("package-%04d %s", i, strings.Repeat("v", 30)))
	}
	f := &facts{}
	f.addParts("x", lines)
	var all []string
	values := map[string]string{}
	for _, fact := range f.list {
		values[fact.Name] = fact.Value
		if len(fact.Value) > maxPart {
			t.Errorf("%s has %d bytes", fact.Name, len(fact.Value))
		}
		if fact.Name != "x.parts" && fact.Name != "x.more" {
			all = append(all, strings.Split(fact.Value, "\n")...)
		}
	}
	if values["x.parts"] != fmt.Sprint(maxParts) || values["x.more"] != fmt.Sprint(len(lines)-len(all)) || len(all) < 5000 || strings.Join(all, "\n") != strings.Join(lines[:len(all)], "\n") {
		t.Errorf("parts %s, more %s, %d lines", values["x.parts"], values["x.more"], len(all))
	}
	h := &batches{}
	if err := send(context.Background(), h, f.list); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, b := range h.sizes {
		n += b
	}
	if n != len(f.list) || len(h.sizes) < 2 {
		t.Errorf("sent %v of %d", h.sizes, len(f.list))
	}
}

// batches counts the facts of each message.
type batches struct {
	fakeHost
	sizes []int
}

func (b *batches) SendFacts(_ context.Context, facts []Fact) error {
	b.sizes = append(b.sizes, len(facts))
	return nil
}
