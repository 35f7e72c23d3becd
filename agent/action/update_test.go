package action

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const (
	aptList = `Reading package lists...
Inst libssl3 [3.0.11-1] (3.0.14-1~deb12u2 Debian-Security:12/stable-security [amd64])
Inst linux-image-new (6.1.112-1 Debian:12 [amd64])
Conf libssl3 (3.0.14-1~deb12u2 Debian:12 [amd64])
`
	dnfList = `
openssl.x86_64                    1:3.0.7-27.el9               baseos
python3.11.noarch                 3.11.7-1.el9                 appstream
Obsoleting Packages
grub2.x86_64                      1:2.06-80.el9                baseos
`
	zypperList = `S | Repository | Name | Current Version | Available Version | Arch
--+------------+------+-----------------+-------------------+-------
v | Main       | curl | 8.0.1-1         | 8.0.1-2           | x86_64
`
	apkList = "Installed:     Available:\nbusybox-1.36.1-r15     < 1.36.1-r16\nlib-x-2.0-r0 < 2.1-r0\n"
	macList = "Software Update found the following:\n* Label: macOS 14.6-23G80\n\tTitle: macOS 14.6, Size: 1K\n"
	winList = "UPDATE KB5034441\tSecurity Update\r\nLISTED\r\n"
)

func TestPendingUpdates(t *testing.T) {
	for _, c := range []struct {
		goos, program string
		code          int
		output        string
		want          []string
	}{
		{"linux", "apt-get", 0, aptList, []string{"libssl3 3.0.14-1~deb12u2", "linux-image-new 6.1.112-1"}},
		{"linux", "dnf", 100, dnfList, []string{"openssl 1:3.0.7-27.el9", "python3.11 3.11.7-1.el9"}},
		{"linux", "yum", 0, "", nil},
		{"linux", "zypper", 0, zypperList, []string{"curl 8.0.1-2"}},
		{"linux", "apk", 0, apkList, []string{"busybox 1.36.1-r16", "lib-x 2.1-r0"}},
		{"darwin", "softwareupdate", 0, macList, []string{"macOS 14.6-23G80"}},
		{"windows", "", 0, winList, []string{"KB5034441 Security Update"}},
	} {
		f := newFake(t, c.goos, c.program)
		u := &updates{sys: &f.system}
		m, path, ok := u.manager()
		if !ok {
			t.Errorf("%s: no manager", c.program)
			continue
		}
		f.says(strings.Join(m.pending, " "), ending{code: c.code, output: c.output})
		h := &fakeHost{}
		o := u.evaluate(context.Background(), h.request(""))
		if o.State != task.Succeeded {
			t.Errorf("%s: %+v", path, o)
		}
		got := map[string]string{}
		for _, fact := range h.sent {
			got[fact.Name] = fact.Value
		}
		if got["updates.list.000"] != strings.Join(c.want, "\n") {
			t.Errorf("%s: %q, want %q", path, got["updates.list.000"], c.want)
		}
		f.answers = []answer{{strings.Join(m.pending, " "), ending{code: 9, output: "no"}, nil}}
		if o := u.evaluate(context.Background(), h.request("")); o.State != task.Failed {
			t.Errorf("%s after an error: %+v", path, o)
		}
	}
	if o := do(t, newFake(t, "linux").table(t, Config{}), "update.evaluate", ""); o.State != task.NotApplicable {
		t.Errorf("%+v", o)
	}
}

// What is started to install updates, to the byte.
func TestInstallCommands(t *testing.T) {
	apt := "-q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=300 "
	for _, c := range []struct{ goos, program, list, params, want string }{
		{"linux", "apt-get", aptList, "", apt + "--with-new-pkgs upgrade"},
		{"linux", "apt-get", aptList, `{"packages":["libssl3"]}`, apt + "--only-upgrade install -- libssl3"},
		{"linux", "dnf", dnfList, `{"packages":["openssl","none"],"ignoreWindows":true}`, "-q -y upgrade -- openssl"},
		{"linux", "yum", dnfList, "", "-q -y upgrade"},
		{"linux", "zypper", zypperList, `{"packages":["curl"]}`, "--non-interactive --quiet update --auto-agree-with-licenses -- curl"},
		{"linux", "apk", apkList, `{"packages":["lib-x"]}`, "--no-progress upgrade -- lib-x"},
		{"darwin", "softwareupdate", macList, "", "--install --all --agree-to-license"},
	} {
		f := newFake(t, c.goos, c.program)
		u := &updates{sys: &f.system}
		m, path, _ := u.manager()
		f.says(strings.Join(m.pending, " "), ending{output: c.list})
		o := u.install(context.Background(), (&fakeHost{}).request(c.params))
		if o.State != task.Succeeded {
			t.Errorf("%s: %+v", c.program, o)
		}
		last := f.started[len(f.started)-1]
		if got := strings.Join(last.args, " "); got != c.want || last.path != path || !last.leave {
			t.Errorf("%s:\n got %s\nwant %s", c.program, got, c.want)
		}
		if c.program == "apt-get" && !slices.Contains(last.env, "DEBIAN_FRONTEND=noninteractive") {
			t.Errorf("environment %q", last.env)
		}
	}
}

func TestWindowsUpdate(t *testing.T) {
	f := newFake(t, "windows")
	u := &updates{sys: &f.system}
	f.says(strings.Join(windowsUpdates.pending, " "), ending{output: winList})
	f.says("powershell", ending{output: windowsWantsRestart})
	o := u.install(context.Background(), (&fakeHost{}).request(`{"packages":["KB5034441"]}`))
	if o.Detail != "1 updates are installed; the machine wants a restart" {
		t.Errorf("%+v", o)
	}
	if got := decodeScript(t, f.started[1]); !strings.Contains(got, `$want=@('KB5034441');`) || !strings.Contains(got, "exit 1") {
		t.Error(got)
	}
	if got := decodeScript(t, f.started[0]); !strings.Contains(got, "IsInstalled=0") {
		t.Error(got)
	}
}

func TestHostilePackages(t *testing.T) {
	f := newFake(t, "linux", "apt-get").says("--simulate", ending{output: aptList})
	u := &updates{sys: &f.system}
	for _, bad := range []string{"", "-y", "--allow-downgrades", "a b", "a;b", "a\nb", "../a", "/a.deb", "a=1", "a/stable", "a*", "bash-", "$(id)", "~nbash", "a:i386", strings.Repeat("a", 129)} {
		if o := u.install(context.Background(), (&fakeHost{}).request(`{"packages":[`+jsonText(bad)+`]}`)); o.State != task.Refused {
			t.Errorf("%q: %+v", bad, o)
		}
	}
	if len(f.started) != 0 {
		t.Errorf("started %q", f.lines())
	}
	// A name that is not pending is not handed over: apt-get would take it for a pattern.
	o := u.install(context.Background(), (&fakeHost{}).request(`{"packages":["lib.sl3"]}`))
	if o.State != task.Succeeded || o.Detail != "nothing of that is pending" || len(f.started) != 2 {
		t.Errorf("%+v %q", o, f.lines())
	}
	mac := newFake(t, "darwin", "softwareupdate")
	if o := (&updates{sys: &mac.system}).install(context.Background(), (&fakeHost{}).request(`{"packages":["a"]}`)); o.State != task.NotApplicable {
		t.Errorf("%+v", o)
	}
}

func TestFailedInstallation(t *testing.T) {
	f := newFake(t, "linux", "apt-get").says("--simulate", ending{output: aptList}).says("--with-new-pkgs upgrade", ending{code: 100, errors: "E: no room"})
	u := &updates{sys: &f.system}
	o := u.install(context.Background(), (&fakeHost{}).request(""))
	if o.State != task.Failed || o.Code != 100 || !strings.Contains(o.Detail, "E: no room") {
		t.Errorf("%+v", o)
	}
	z := newFake(t, "linux", "zypper").says("list-updates", ending{output: zypperList}).says("update", ending{code: 102})
	write(t, filepath.Join(z.root, "run", "reboot-required"), "")
	o = (&updates{sys: &z.system}).install(context.Background(), (&fakeHost{}).request(""))
	if o.State != task.Succeeded || !strings.Contains(o.Detail, "wants a restart") {
		t.Errorf("%+v", o)
	}
}

// On a machine of Debian's family apt-get says what it would do for one package, and
// takes the name behind -- for one; nothing is fetched or installed.
func TestRealAptGet(t *testing.T) {
	sys := thisSystem()
	path, ok := sys.has("apt-get")
	if !ok {
		t.Skip("this machine has no apt-get")
	}
	if _, err := os.Stat("/var/lib/dpkg/status"); err != nil {
		t.Skip("this machine has no packages of Debian")
	}
	e, err := runCommand(context.Background(), command{path: path, args: append([]string{"--simulate"}, aptInstall([]string{"dpkg"})...), keep: maxListing})
	if err != nil || e.code != 0 {
		t.Fatalf("%+v %v", e, err)
	}
	list, err := aptUpdates(e.code, e.output)
	if err != nil || strings.Contains(e.output, "Inst dpkg ") != slices.ContainsFunc(list, func(u update) bool { return u.name == "dpkg" }) {
		t.Errorf("%v %v", list, err)
	}
}
