package action

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// factsOf runs a kind and returns what it reported.
func factsOf(t testing.TB, table map[string]Description, kind string) map[string]string {
	t.Helper()
	h := &fakeHost{}
	if o := table[kind].Action.Run(context.Background(), h.request("")); o.State != task.Succeeded {
		t.Errorf("%s: %+v", kind, o)
	}
	got := make(map[string]string)
	for _, f := range h.sent {
		if _, twice := got[f.Name]; twice {
			t.Errorf("%s is reported twice", f.Name)
		}
		got[f.Name] = f.Value
	}
	return got
}

func TestHardware(t *testing.T) {
	f := newFake(t, "linux")
	write(t, filepath.Join(f.root, "sys/class/dmi/id/product_name"), "Model 7\n")
	write(t, filepath.Join(f.root, "sys/class/dmi/id/bios_version"), "1.2.3\n")
	got := factsOf(t, f.table(t, Config{}), "inventory.hardware")
	if got["system.model"] != "Model 7" || got["bios.version"] != "1.2.3" || got["cpu.threads"] == "" || got["memory.bytes"] == "" {
		t.Errorf("%v", got)
	}
	w := newFake(t, "windows").says(regPath, ending{output: "\r\nHKEY_LOCAL_MACHINE\\X\r\n    BIOSVersion    REG_SZ    F.20\r\n    SystemManufacturer    REG_SZ    HP\r\n"})
	got = factsOf(t, w.table(t, Config{}), "inventory.hardware")
	if got["bios.version"] != "F.20" || got["system.vendor"] != "HP" || w.lines()[0] != regPath+` query HKLM\HARDWARE\DESCRIPTION\System\BIOS` {
		t.Errorf("%v %q", got, w.lines())
	}
	m := newFake(t, "darwin").says("SPHardwareDataType", ending{output: "Hardware:\n\n      Model Identifier: Mac14,2\n      Serial Number (system): C02\n"})
	if got = factsOf(t, m.table(t, Config{}), "inventory.hardware"); got["system.model"] != "Mac14,2" || got["system.serial"] != "C02" {
		t.Errorf("%v", got)
	}
}

func TestHealthOfLinux(t *testing.T) {
	f := newFake(t, "linux", "ufw").says("ufw status", ending{output: "Status: active\n"})
	got := factsOf(t, f.table(t, Config{Version: "1"}), "health.attest")
	if got["health.secureboot"] != "no UEFI" || got["health.tpm"] != "none" || got["health.firewall"] != "on (ufw)" || len(got["agent.sha256"]) != 64 {
		t.Errorf("%v", got)
	}
	write(t, filepath.Join(f.root, secureBoot), "\x06\x00\x00\x00\x01")
	write(t, filepath.Join(f.root, "sys/class/tpm/tpm0/tpm_version_major"), "2\n")
	f.answers = nil
	got = factsOf(t, f.table(t, Config{}), "health.attest")
	if got["health.secureboot"] != "on" || got["health.tpm"] != "present 2" || got["health.firewall"] != "off (ufw)" {
		t.Errorf("%v", got)
	}
	write(t, filepath.Join(f.root, secureBoot), "\x06\x00\x00\x00\x00")
	if got := (&health{sys: &f.system}).secureBoot(); got != "off" {
		t.Errorf("secure boot %s", got)
	}
}

func TestEncryptedDisks(t *testing.T) {
	f := newFake(t, "linux")
	h := &health{sys: &f.system}
	block := func(name, uuid string, below ...string) {
		dir := filepath.Join(f.root, "sys/class/block", name)
		write(t, filepath.Join(dir, "dm/uuid"), uuid)
		for _, b := range append(below, "") {
			os.MkdirAll(filepath.Join(dir, "slaves", b), 0o700)
		}
	}
	block("dm-1", "LVM-abc", "dm-0")
	block("dm-0", "CRYPT-LUKS2-abc", "sda3")
	block("sda1", "")
	for device, want := range map[string]string{"/dev/dm-1": "on", "/dev/dm-0": "on", "/dev/sda1": "off", "overlay": "unknown"} {
		if got := h.crypted(device); got != want {
			t.Errorf("%s: %s, want %s", device, got, want)
		}
	}
}

func TestHealthElsewhere(t *testing.T) {
	w := newFake(t, "windows").says("powershell", ending{output: "secureboot=on\r\ntpm=present\r\nother=x\r\ndisk.encrypted=off\r\nfirewall=unknown\r\n"})
	got := factsOf(t, w.table(t, Config{}), "health.attest")
	if got["health.secureboot"] != "on" || got["health.tpm"] != "present" || got["health.disk.encrypted"] != "off" || got["health.firewall"] != "unknown" || got["health.other"] != "" {
		t.Errorf("%v", got)
	}
	if s := decodeScript(t, w.started[0]); s != healthScript {
		t.Error(s)
	}
	m := newFake(t, "darwin").says("csrutil", ending{output: "System Integrity Protection status: enabled.\n"}).says("fdesetup", ending{output: "FileVault is Off.\n"})
	if got = factsOf(t, m.table(t, Config{}), "health.attest"); got["health.sip"] != "on" || got["health.disk.encrypted"] != "off" {
		t.Errorf("%v", got)
	}
}

// What is started to restart a machine, to the byte. No test starts it.
func TestRestart(t *testing.T) {
	windows := `C:\Windows\System32\shutdown.exe`
	for _, c := range []struct{ goos, program, params, want string }{
		{"linux", "shutdown", "", "/usr/bin/shutdown -r +10 " + defaultMessage},
		{"linux", "shutdown", `{"warningMinutes":90,"message":"Save! $(now) \"x\""}`, `/usr/bin/shutdown -r +90 Save! $(now) "x"`},
		{"darwin", "shutdown", `{"warningMinutes":1,"message":"-h now"}`, "/usr/bin/shutdown -r +1 h now"},
		{"windows", windows, `{"warningMinutes":2,"ignoreWindows":true}`, windows + " /r /t 120 /d p:4:1 /c " + defaultMessage},
		{"windows", windows, `{"message":"/s /t 0"}`, windows + " /r /t 600 /d p:4:1 /c s /t 0"},
	} {
		f := newFake(t, c.goos, c.program)
		os.MkdirAll(filepath.Join(f.root, "run/systemd/system"), 0o700)
		table := f.table(t, Config{})
		synctest.Test(t, func(t *testing.T) {
			// The machine does not restart: it is found out when the time is over.
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
			defer cancel()
			o := table["restart"].Action.Run(ctx, (&fakeHost{}).request(c.params))
			if o.State != task.Failed || ctx.Err() == nil || len(f.started) != 1 || f.lines()[0] != c.want {
				t.Errorf("%s %s: %+v\n got %q\nwant %s", c.goos, c.params, o, f.lines(), c.want)
			}
			short, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			if o := table["restart"].Action.Run(short, (&fakeHost{}).request(c.params)); o.State != task.Refused || len(f.started) != 1 {
				t.Errorf("%s %s in five minutes: %+v", c.goos, c.params, o)
			}
		})
	}
	f := newFake(t, "linux", "shutdown")
	if o := do(t, f.table(t, Config{}), "restart", ""); o.State != task.NotApplicable || len(f.started) != 0 {
		t.Errorf("without systemd: %+v", o)
	}
	os.MkdirAll(filepath.Join(f.root, "run/systemd/system"), 0o700)
	table := f.table(t, Config{})
	for _, bad := range []string{`{"warningMinutes":0}`, `{"warningMinutes":1441}`, `{"warningMinutes":1.5}`, `{"message":"a\nb"}`, `{"message":"` + strings.Repeat("a", 257) + `"}`, `{"now":true}`} {
		if o := do(t, table, "restart", bad); o.State != task.Refused {
			t.Errorf("%s: %+v", bad, o)
		}
	}
	f.says("shutdown", ending{code: 1, errors: "no"})
	if o := do(t, table, "restart", ""); o.State != task.Failed || o.Code != 1 {
		t.Errorf("%+v", o)
	}
}

// sent is what a waker sent.
type sent struct {
	to     string
	packet string
}

func wakerIn(addresses ...string) (*waker, *[]sent) {
	var all []sent
	w := &waker{send: func(to netip.AddrPort, p []byte) error { all = append(all, sent{to.String(), string(p)}); return nil }}
	w.own = func() (list []iface) {
		for _, a := range addresses {
			ip, n, _ := net.ParseCIDR(a)
			list = append(list, iface{nets: []*net.IPNet{{IP: ip.To4(), Mask: n.Mask}}})
		}
		return list
	}
	return w, &all
}

func TestWake(t *testing.T) {
	w, all := wakerIn("10.1.2.3/24", "10.1.2.4/24", "192.168.0.9/22")
	o := w.run(context.Background(), (&fakeHost{}).request(
		`{"subnets":[{"subnet":"10.1.2.0/24","macs":["aa:bb:cc:dd:ee:ff","02:00:00:00:00:01"]},{"subnet":"10.9.9.0/24","macs":["02:00:00:00:00:02"]}]}`))
	if o != (Outcome{State: task.Succeeded, Detail: "magic packets are sent for 2 of 3 machines"}) || len(*all) != 2*wakeTimes {
		t.Fatalf("%+v, %d packets", o, len(*all))
	}
	want := strings.Repeat("\xff", 6) + strings.Repeat("\xaa\xbb\xcc\xdd\xee\xff", 16)
	if (*all)[0] != (sent{"10.1.2.255:9", want}) {
		t.Errorf("%+v", (*all)[0])
	}
	w, all = wakerIn("192.168.0.9/22")
	if o := w.run(context.Background(), (&fakeHost{}).request(`{"subnets":[{"subnet":"10.1.2.0/24","macs":["aa:bb:cc:dd:ee:ff"]}]}`)); o.State != task.NotApplicable || len(*all) != 0 {
		t.Errorf("%+v", o)
	}
	w.run(context.Background(), (&fakeHost{}).request(`{"subnets":[{"subnet":"192.168.0.0/22","macs":["aa:bb:cc:dd:ee:ff"]}]}`))
	if len(*all) == 0 || (*all)[0].to != "192.168.3.255:9" {
		t.Errorf("%+v", *all)
	}
	w.send = func(netip.AddrPort, []byte) error { return errors.New("no route") }
	if o := w.run(context.Background(), (&fakeHost{}).request(`{"subnets":[{"subnet":"192.168.0.0/22","macs":["aa:bb:cc:dd:ee:ff"]}]}`)); o.State != task.Failed {
		t.Errorf("%+v", o)
	}
	for _, bad := range []string{"", `{"subnets":[]}`, `{"subnets":[{"subnet":"10.1.2.0/24","macs":[]}]}`, `{"subnets":[{"subnet":"10.1.2.3/24","macs":["aa:bb:cc:dd:ee:ff"]}]}`,
		`{"subnets":[{"subnet":"fe80::/64","macs":["aa:bb:cc:dd:ee:ff"]}]}`, `{"subnets":[{"subnet":"x","macs":["aa:bb:cc:dd:ee:ff"]}]}`, `{"subnets":[{"subnet":"10.1.2.0/24","macs":["aa:bb"]}]}`} {
		if o := w.run(context.Background(), (&fakeHost{}).request(bad)); o.State != task.Refused {
			t.Errorf("%s: %+v", bad, o)
		}
	}
}

// A packet really goes out, to this machine itself.
func TestPacketIsSent(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	packet := magicPacket([]byte{1, 2, 3, 4, 5, 6})
	if err := sendPacket(conn.LocalAddr().(*net.UDPAddr).AddrPort(), packet); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 200)
	n, _, err := conn.ReadFrom(got)
	if err != nil || string(got[:n]) != string(packet) || n != 102 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestFolderThatIsALink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("making links needs rights on Windows")
	}
	dir := realDir(t)
	os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700)
	os.Symlink("a", filepath.Join(dir, "l"))
	for path, ok := range map[string]bool{"a/b": true, "l/b": false, "l": false, "a/none": false} {
		r, err := openFolder(filepath.Join(dir, path))
		if (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			r.Close()
		}
	}
	if _, err := openFolder("relative"); err == nil {
		t.Error("a relative path is taken")
	}
}
