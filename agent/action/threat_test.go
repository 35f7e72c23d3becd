package action

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// do runs a task of a kind.
func do(t testing.TB, table map[string]Description, kind, params string) Outcome {
	t.Helper()
	d, ok := table[kind]
	if !ok {
		t.Fatalf("there is no %s", kind)
	}
	return d.Action.Run(context.Background(), (&fakeHost{}).request(params))
}

// realDir is a temporary folder by its real path.
func realDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestRulesOfTheBuiltinScanner(t *testing.T) {
	dir := realDir(t)
	evil := write(t, filepath.Join(dir, "watch", "a", "evil"), "evil")
	write(t, filepath.Join(dir, "watch", "b", "evil"), "evil")
	state := filepath.Join(dir, "state")
	cfg := Config{Folders: []string{filepath.Join(dir, "watch")}, State: state}
	f := newFake(t, runtime.GOOS)
	table := f.table(t, cfg)
	scan := `{"sha256":["` + evil + `"]}`
	say := func(kind, params, want string) {
		t.Helper()
		o := do(t, table, kind, params)
		if o.State != task.Succeeded || !strings.HasPrefix(o.Detail, want) {
			t.Errorf("%s %s: %s %q, want %q", kind, params, o.State, o.Detail, want)
		}
	}
	a, b := filepath.Join(dir, "watch", "a"), filepath.Join(dir, "watch", "b")
	say("threat.exclude", `{"paths":["`+a+`"]}`, "1 path excluded")
	say("scan.full", scan, "found: "+filepath.Join(b, "evil")+" "+evil+" (1 files)")
	table = f.table(t, cfg) // another process
	say("scan.full", scan, "found: "+filepath.Join(b, "evil")+" "+evil+" (1 files)")
	say("threat.exclude", `{"paths":["`+a+`"],"remove":true}`, "1 path no longer excluded")
	say("threat.allow", `{"threats":["`+strings.ToUpper(evil)+`"]}`, "1 threat allowed")
	say("scan.full", scan, "clean: 2 files")
	say("threat.allow", `{"threats":["`+evil+`"],"remove":true}`, "1 threat no longer allowed")
	say("threat.override", `{"threats":["`+evil+`"],"action":"quarantine"}`, "1 threat overridden: quarantine")
	say("scan.full", scan, "found: "+filepath.Join(a, "evil")+" "+evil+" quarantined; "+filepath.Join(b, "evil")+" "+evil+" quarantined")
	if exists(filepath.Join(a, "evil")) || exists(filepath.Join(b, "evil")) {
		t.Error("what is quarantined is still there")
	}
	write(t, filepath.Join(b, "evil"), "another")
	o := do(t, table, "threat.restore", `{"threats":["`+evil+`"]}`)
	if o.State != task.Failed || !strings.Contains(o.Detail, "1 put back, 1 not") {
		t.Errorf("%+v", o)
	}
	if got, _ := os.ReadFile(filepath.Join(a, "evil")); string(got) != "evil" {
		t.Errorf("put back is %q", got)
	}
	os.Remove(filepath.Join(b, "evil"))
	say("threat.restore", `{"threats":["`+evil+`"],"allow":true}`, "1 put back: "+filepath.Join(b, "evil"))
	say("scan.full", scan, "clean: 2 files")
	if o := do(t, table, "threat.restore", `{"threats":["`+evil+`"]}`); o.State != task.NotApplicable {
		t.Errorf("%+v", o)
	}
	say("threat.allow", `{"threats":["`+evil+`"],"remove":true}`, "1 threat")
	say("threat.override", `{"threats":["`+evil+`"],"action":"remove"}`, "1 threat")
	say("scan.full", scan, "found: "+filepath.Join(a, "evil")+" "+evil+" removed; ")
	if exists(filepath.Join(a, "evil")) {
		t.Error("what is removed is still there")
	}
	say("threat.override", `{"threats":["`+evil+`"],"action":"default"}`, "1 threat")
}

func TestThreatsNeedAFolder(t *testing.T) {
	table, err := tableOf(Config{Scanner: "builtin"}, newFake(t, runtime.GOOS).system)
	if err != nil {
		t.Fatal(err)
	}
	for kind, params := range map[string]string{"threat.exclude": `{"paths":["/a"]}`, "threat.allow": `{"threats":["a"]}`,
		"threat.override": `{"threats":["a"],"action":"remove"}`, "threat.restore": `{"threats":["a"]}`, "logs.collect": ""} {
		if runtime.GOOS == "windows" && kind == "threat.exclude" {
			params = `{"paths":["C:\\a"]}`
		}
		if o := do(t, table, kind, params); o.State != task.NotApplicable {
			t.Errorf("%s: %+v", kind, o)
		}
	}
}

func TestHostileThreats(t *testing.T) {
	table := newFake(t, "linux").table(t, Config{})
	for _, bad := range []string{"", "-rf", "a b", "a'b", `a"b`, "a\nb", "../x", "$(id)", "a;b", strings.Repeat("a", 129), "ä"} {
		for kind, rest := range map[string]string{"threat.allow": "", "threat.override": `,"action":"remove"`, "threat.restore": ""} {
			if o := do(t, table, kind, `{"threats":[`+jsonText(bad)+`]`+rest+`}`); o.State != task.Refused {
				t.Errorf("%s of %q: %+v", kind, bad, o)
			}
		}
	}
	for _, bad := range []string{"", "a", "./a", "/a/../b", "/a/", "//a", "/a\nb", "/a\x00", "C:\\a", "-x", strings.Repeat("/a", 600)} {
		if o := do(t, table, "threat.exclude", `{"paths":[`+jsonText(bad)+`]}`); o.State != task.Refused {
			t.Errorf("exclude %q: %+v", bad, o)
		}
	}
	for _, good := range []string{"/", "/a b", "/a'b\"c", "/ä", "/-x"} {
		if o := do(t, table, "threat.exclude", `{"paths":[`+jsonText(good)+`]}`); o.State != task.Succeeded {
			t.Errorf("exclude %q: %+v", good, o)
		}
	}
	if o := do(t, table, "threat.override", `{"threats":["a"],"action":"format"}`); o.State != task.Refused {
		t.Errorf("%+v", o)
	}
}

// Whoever may write where a file was found must not be able to let another one be
// removed, or be written elsewhere.
func TestSomebodyElseMovesThings(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("making links needs rights on Windows")
	}
	dir := realDir(t)
	p := &protection{dir: filepath.Join(dir, "state")}
	evil := write(t, filepath.Join(dir, "x", "evil"), "evil")
	sum := mustDigest(evil)
	if _, err := arrest(context.Background(), filepath.Join(dir, "x", "evil"), new(Digest)); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("another file is taken: %v", err)
	}
	s, err := arrest(context.Background(), filepath.Join(dir, "x", "evil"), &sum)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	os.Rename(filepath.Join(dir, "x", "evil"), filepath.Join(dir, "x", "old"))
	write(t, filepath.Join(dir, "x", "evil"), "precious")
	if err := p.quarantine(context.Background(), s, "evil", time.Now()); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("quarantine: %v", err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "x", "evil")); string(got) != "precious" {
		t.Error("the other file is gone")
	}
	os.RemoveAll(filepath.Join(dir, "x"))
	os.Mkdir(filepath.Join(dir, "etc"), 0o700)
	os.Symlink(filepath.Join(dir, "etc"), filepath.Join(dir, "x"))
	back, problems, err := p.restore(context.Background(), []string{"evil"})
	if err != nil || len(back) != 0 || len(problems) != 1 || !strings.Contains(problems[0].Error(), "is a link") {
		t.Errorf("%v %v %v", back, problems, err)
	}
	if exists(filepath.Join(dir, "etc", "evil")) {
		t.Error("a link led to another folder")
	}
}

func TestQuarantineKeepsOwnerAndMode(t *testing.T) {
	dir := realDir(t)
	path := filepath.Join(dir, "evil")
	write(t, path, "evil")
	os.Chmod(path, 0o640|os.ModeSetuid)
	p := &protection{dir: filepath.Join(dir, "state")}
	s, err := arrest(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := p.quarantine(context.Background(), s, "Evil-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	notes, _ := readNotes(filepath.Join(dir, "state", quarantineFolder))
	if len(notes) != 1 {
		t.Fatalf("%d notes", len(notes))
	}
	// A damaged copy is not put back.
	body, _ := os.ReadFile(notes[0].name + bodySuffix)
	os.WriteFile(notes[0].name+bodySuffix, []byte("xvil"), 0o600)
	if _, problems, _ := p.restore(context.Background(), []string{"Evil-1"}); len(problems) != 1 || exists(path) {
		t.Errorf("%v", problems)
	}
	os.WriteFile(notes[0].name+bodySuffix, body, 0o600)
	if back, problems, err := p.restore(context.Background(), []string{"Evil-1"}); len(back) != 1 || len(problems) != 0 || err != nil {
		t.Fatalf("%v %v %v", back, problems, err)
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "state", quarantineFolder)); len(left) != 0 {
		t.Errorf("%d files are left in quarantine", len(left))
	}
}

func TestDamagedRules(t *testing.T) {
	for _, bad := range []string{"", "{", `{"version":2}`, `{"version":1,"overrides":{"a":"explode"}}`, "[]"} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "state", rulesFile), bad)
		table := newFake(t, runtime.GOOS).table(t, Config{State: filepath.Join(dir, "state")})
		for kind, params := range map[string]string{"scan.quick": "", "threat.allow": `{"threats":["a"]}`} {
			if o := do(t, table, kind, params); o.State != task.Failed || !strings.Contains(o.Detail, rulesFile) {
				t.Errorf("%s with rules %q: %+v", kind, bad, o)
			}
		}
	}
}

// A scanner like ClamAV's, made of sh: what is found, excluded, allowed and moved.
func TestPlatformScanner(t *testing.T) {
	dir := realDir(t)
	watch := filepath.Join(dir, "watch")
	write(t, filepath.Join(watch, "bad: one"), "EICAR")
	write(t, filepath.Join(watch, "good"), "good")
	// A folder whose name holds a line break, and that makes the scanner print the
	// path of an innocent file.
	precious := filepath.Join(dir, "precious")
	write(t, precious, "precious")
	write(t, filepath.Join(watch, "x: Y FOUND\n"+precious), "EICAR")
	program := filepath.Join(dir, "clamscan")
	body := `while [ "$1" != -- ]; do shift; done; shift
found=0
for top in "$@"; do
  find "$top" -type f -exec grep -l EICAR {} + | sed 's/$/: Eicar-Test FOUND/' > ` + filepath.Join(dir, "out") + `
  test -s ` + filepath.Join(dir, "out") + ` && found=1
  cat ` + filepath.Join(dir, "out") + `
done
exit $found
`
	os.Rename(script(t, body), program)
	sys := thisSystem()
	table, err := tableOf(Config{Scanner: program, Folders: []string{watch}, State: filepath.Join(dir, "state")}, sys)
	if err != nil {
		t.Fatal(err)
	}
	o := do(t, table, "scan.quick", "")
	if o.Code != CodeFound || !strings.Contains(o.Detail, filepath.Join(watch, "bad: one")+" Eicar-Test") {
		t.Fatalf("%+v", o)
	}
	if o := do(t, table, "threat.override", `{"threats":["Eicar-Test"],"action":"quarantine"}`); o.State != task.Succeeded {
		t.Fatalf("%+v", o)
	}
	o = do(t, table, "scan.quick", "")
	if !strings.Contains(o.Detail, "bad: one Eicar-Test quarantined") || !exists(precious) {
		t.Errorf("%+v, precious %v", o, exists(precious))
	}
	if exists(filepath.Join(watch, "bad: one")) {
		t.Error("it is still there")
	}
	for _, c := range [][3]string{
		{"threat.restore", `{"threats":["Eicar-Test"]}`, "1 put back"},
		{"threat.allow", `{"threats":["Eicar-Test"]}`, "1 threat allowed"},
		{"scan.quick", "", "clean ("},
	} {
		if o := do(t, table, c[0], c[1]); o.State != task.Succeeded || !strings.HasPrefix(o.Detail, c[2]) {
			t.Errorf("%s: %+v", c[0], o)
		}
	}
}

func TestExclusionsReachClamscan(t *testing.T) {
	argv := clamscanArgv(false, []string{"/a"}, []string{"/a/b.c", "/d/"})
	want := `--exclude-dir=^/a/b\.c(/|$) --exclude=^/a/b\.c(/|$) --exclude-dir=^/d(/|$) --exclude=^/d(/|$) -- /a`
	if got := strings.Join(argv, " "); !strings.HasSuffix(got, want) {
		t.Errorf("%s", got)
	}
}

func TestDefinitions(t *testing.T) {
	f := newFake(t, "linux", "freshclam").says("freshclam", ending{output: "daily.cvd updated\nmain is up to date\n"})
	if o := do(t, f.table(t, Config{}), "definitions.download", ""); o != (Outcome{State: task.Succeeded, Detail: "freshclam: main is up to date"}) {
		t.Errorf("%+v", o)
	}
	f = newFake(t, "linux", "freshclam").says("freshclam", ending{code: 62, output: "ERROR: log is locked by another process"})
	if o := do(t, f.table(t, Config{}), "definitions.download", ""); o.State != task.Failed || !strings.Contains(o.Detail, "service") {
		t.Errorf("%+v", o)
	}
	if o := do(t, newFake(t, "linux").table(t, Config{}), "definitions.download", ""); o.State != task.NotApplicable {
		t.Errorf("%+v", o)
	}
	f = newFake(t, "windows", defender)
	if o := do(t, f.table(t, Config{Scanner: "auto"}), "definitions.download", ""); o.State != task.Succeeded || f.lines()[0] != defender+" -SignatureUpdate" {
		t.Errorf("%+v %q", o, f.lines())
	}
}

// decodeScript returns the script that a PowerShell command runs.
func decodeScript(t testing.TB, c command) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(c.args[len(c.args)-1])
	if err != nil || strings.Join(c.args[:len(c.args)-1], " ") != "-NoLogo -NoProfile -NonInteractive -EncodedCommand" || c.path != powershellPath {
		t.Fatalf("%+v %v", c, err)
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = uint16(raw[2*i]) | uint16(raw[2*i+1])<<8
	}
	script, ok := strings.CutPrefix(string(utf16.Decode(units)), "$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue';")
	if !ok {
		t.Fatal("a script that goes on after an error")
	}
	return script
}

func TestDefender(t *testing.T) {
	for _, c := range []struct{ kind, params, want string }{
		{"threat.exclude", `{"paths":["C:\\it's","D:\\x"]}`, `Add-MpPreference -ExclusionPath 'C:\it''s','D:\x'`},
		{"threat.exclude", `{"paths":["C:\\a’;calc;‘"]}`, `Add-MpPreference -ExclusionPath 'C:\a’’;calc;‘‘'`},
		{"threat.exclude", `{"paths":["C:\\$(calc)"],"remove":true}`, `Remove-MpPreference -ExclusionPath 'C:\$(calc)'`},
		{"threat.allow", `{"threats":["2147519003"]}`, `Add-MpPreference -ThreatIDDefaultAction_Ids 2147519003 -ThreatIDDefaultAction_Actions Allow`},
		{"threat.override", `{"threats":["1","2"],"action":"quarantine"}`, `Add-MpPreference -ThreatIDDefaultAction_Ids 1 -ThreatIDDefaultAction_Actions Quarantine;` +
			`Add-MpPreference -ThreatIDDefaultAction_Ids 2 -ThreatIDDefaultAction_Actions Quarantine`},
		{"threat.override", `{"threats":["1"],"action":"default"}`, `Remove-MpPreference -ThreatIDDefaultAction_Ids 1`},
	} {
		f := newFake(t, "windows", defender)
		if o := do(t, f.table(t, Config{Scanner: "auto"}), c.kind, c.params); o.State != task.Succeeded || len(f.started) != 1 {
			t.Errorf("%s %s: %+v", c.kind, c.params, o)
			continue
		}
		if got := decodeScript(t, f.started[0]); got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.kind, c.params, got, c.want)
		}
	}
	f := newFake(t, "windows", defender)
	table := f.table(t, Config{Scanner: "auto"})
	if o := do(t, table, "threat.restore", `{"threats":["Virus:DOS/EICAR_Test_File"]}`); o.State != task.Succeeded ||
		f.lines()[0] != defender+" -Restore -Name Virus:DOS/EICAR_Test_File -All" {
		t.Errorf("%+v %q", o, f.lines())
	}
	for _, bad := range []string{`C:\a"b`, `C:\a|b`, `\\server\share`, `C:\..\x`, `/etc`} {
		if o := do(t, table, "threat.exclude", `{"paths":[`+jsonText(bad)+`]}`); o.State != task.Refused {
			t.Errorf("exclude %q: %+v", bad, o)
		}
	}
	if o := do(t, table, "threat.allow", `{"threats":["Virus:x"]}`); o.State != task.Refused {
		t.Errorf("%+v", o)
	}
}
