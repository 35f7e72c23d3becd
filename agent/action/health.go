package action

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/disk"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// health reports what speaks for or against trusting the machine. It reports facts,
// as the system tells them; it proves nothing about a system that lies.
type health struct {
	sys *system
	cfg Config
}

func (h *health) run(ctx context.Context, req Request) Outcome {
	if err := decodeParams(req.Params, &struct{}{}); err != nil {
		return refused(err)
	}
	f := &facts{}
	f.add("health.checked", time.Now().UTC().Format(time.RFC3339))
	switch h.sys.goos {
	case "linux":
		h.linux(ctx, f)
	case "windows":
		h.windows(ctx, f)
	case "darwin":
		h.mac(ctx, f)
	}
	h.self(ctx, f)
	if _, err := report(ctx, req.Host, "health", f.list); err != nil {
		return failed(err)
	}
	return Outcome{State: task.Succeeded, Detail: f.summary()}
}

// summary names what was found, in one line.
func (f *facts) summary() string {
	var words []string
	for _, fact := range f.list {
		name := strings.TrimPrefix(fact.Name, "health.")
		switch name {
		case "secureboot", "tpm", "disk.encrypted", "firewall":
			words = append(words, name+" "+fact.Value)
		}
	}
	return strings.Join(words, ", ")
}

const secureBoot = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

func (h *health) linux(ctx context.Context, f *facts) {
	f.add("health.secureboot", h.secureBoot())
	f.add("health.tpm", "none")
	if _, err := os.Stat(filepath.Join(h.sys.root, "/sys/class/tpm/tpm0")); err == nil {
		f.list[len(f.list)-1].Value = strings.TrimSpace("present " + h.sys.read("/sys/class/tpm/tpm0/tpm_version_major"))
	}
	f.add("health.disk.encrypted", h.encrypted(ctx))
	f.add("health.lockdown", h.sys.read("/sys/kernel/security/lockdown"))
	f.add("health.firewall", h.linuxFirewall(ctx))
}

// secureBoot reads the variable of the firmware: four bytes of attributes, then one
// that is 1 if it is on.
func (h *health) secureBoot() string {
	if _, err := os.Stat(filepath.Join(h.sys.root, "/sys/firmware/efi")); err != nil {
		return "no UEFI"
	}
	b, err := readAtMost(filepath.Join(h.sys.root, secureBoot), 16)
	if err != nil || len(b) != 5 {
		return "unknown"
	}
	return onOff(b[4] == 1)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// encrypted tells whether what is mounted as / is on a device of dm-crypt.
func (h *health) encrypted(ctx context.Context) string {
	parts, err := disk.PartitionsWithContext(ctx, true)
	if err != nil {
		return "unknown"
	}
	for _, p := range parts {
		if p.Mountpoint == "/" {
			return h.crypted(p.Device)
		}
	}
	return "unknown"
}

const maxLayers = 8 // of devices under a file system

// crypted looks for dm-crypt under a device.
func (h *health) crypted(device string) string {
	if real, err := filepath.EvalSymlinks(filepath.Join(h.sys.root, device)); err == nil {
		device = real
	}
	layers := []string{filepath.Base(device)}
	for n := 0; n < len(layers) && n < maxLayers; n++ {
		block := "/sys/class/block/" + layers[n]
		if strings.HasPrefix(h.sys.read(block+"/dm/uuid"), "CRYPT-") {
			return "on"
		}
		below, err := os.ReadDir(filepath.Join(h.sys.root, block, "slaves"))
		if err != nil && n == 0 {
			return "unknown" // no device that is known here, such as that of a container
		}
		for _, e := range below {
			layers = append(layers, e.Name())
		}
	}
	return "off"
}

// linuxFirewall asks the first program that knows.
func (h *health) linuxFirewall(ctx context.Context) string {
	for _, p := range []struct {
		name string
		args []string
		on   func(e *ending) bool
	}{
		{"ufw", []string{"status"}, func(e *ending) bool { return strings.Contains(e.output, "Status: active") }},
		{"firewall-cmd", []string{"--state"}, func(e *ending) bool { return strings.TrimSpace(e.output) == "running" }},
		{"nft", []string{"list", "ruleset"}, func(e *ending) bool { return strings.Contains(e.output, "hook input") }},
		{"iptables", []string{"-S", "INPUT"}, func(e *ending) bool {
			return strings.Contains(e.output, "-P INPUT DROP") || strings.Contains(e.output, "\n-A INPUT")
		}},
	} {
		path, ok := h.sys.has(p.name)
		if !ok {
			continue
		}
		e, err := h.sys.run(ctx, command{path: path, args: p.args})
		if err == nil && (e.code == 0 || p.on(&e)) {
			return onOff(p.on(&e)) + " (" + p.name + ")"
		}
	}
	return "unknown"
}

// healthScript prints one line for each thing that Windows tells; what it does not
// tell is "unknown".
const healthScript = `function one($n,$f){try{$v=& $f}catch{$v='unknown'};"$n=$v"};` +
	`one 'secureboot' {if(Confirm-SecureBootUEFI){'on'}else{'off'}};` +
	`one 'tpm' {if((Get-Tpm).TpmPresent){'present'}else{'none'}};` +
	`one 'disk.encrypted' {if((Get-BitLockerVolume -MountPoint $env:SystemDrive).ProtectionStatus -eq 'On'){'on'}else{'off'}};` +
	`one 'firewall' {if(@(Get-NetFirewallProfile|Where-Object{-not $_.Enabled}).Count -eq 0){'on'}else{'off'}}`

func (h *health) windows(ctx context.Context, f *facts) {
	e, err := h.sys.run(ctx, powershell(healthScript))
	if err != nil || e.code != 0 {
		return
	}
	for line := range strings.Lines(e.output) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case !ok:
		case name == "secureboot" || name == "tpm" || name == "disk.encrypted" || name == "firewall":
			f.add("health."+name, value)
		}
	}
}

func (h *health) mac(ctx context.Context, f *facts) {
	for _, p := range []struct {
		fact, path string
		args       []string
		on         string
	}{
		{"health.sip", "/usr/bin/csrutil", []string{"status"}, "status: enabled"},
		{"health.disk.encrypted", "/usr/bin/fdesetup", []string{"status"}, "FileVault is On"},
		{"health.firewall", "/usr/libexec/ApplicationFirewall/socketfilterfw", []string{"--getglobalstate"}, "enabled"},
	} {
		if e, err := h.sys.run(ctx, command{path: p.path, args: p.args}); err == nil && e.code == 0 {
			f.add(p.fact, onOff(strings.Contains(e.output, p.on)))
		}
	}
}

// self adds the agent's own state: what it is, byte for byte, and whether others
// could change it.
func (h *health) self(ctx context.Context, f *facts) {
	f.add("agent.version", h.cfg.Version)
	path, err := os.Executable()
	if err != nil {
		return
	}
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, while(ctx, file)); err != nil {
		return
	}
	f.add("agent.path", path)
	f.add("agent.sha256", fmt.Sprintf("%x", sum.Sum(nil)))
	if info, err := file.Stat(); err == nil && h.sys.goos != "windows" {
		f.add("agent.writable", strconv.FormatBool(info.Mode().Perm()&0o022 != 0))
	}
}
