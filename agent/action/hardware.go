package action

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// hardware reports what the machine is made of.
type hardware struct{ sys *system }

func (h *hardware) run(ctx context.Context, req Request) Outcome {
	if err := decodeParams(req.Params, &struct{}{}); err != nil {
		return refused(err)
	}
	f := &facts{}
	f.processors(ctx)
	f.memory(ctx)
	f.disks(ctx)
	f.drives(ctx)
	f.network()
	f.routes()
	h.firmware(ctx, f)
	f.list = append(f.list, looked("hardware"))
	detail, err := report(ctx, req.Host, "hardware", f.list)
	if err != nil {
		return failed(err)
	}
	return Outcome{State: task.Succeeded, Detail: detail}
}

func (f *facts) processors(ctx context.Context) {
	if info, err := cpu.InfoWithContext(ctx); err == nil && len(info) > 0 {
		f.add("cpu.model", info[0].ModelName)
		f.add("cpu.vendor", info[0].VendorID)
		if info[0].Mhz > 0 {
			f.add("cpu.mhz", strconv.FormatFloat(info[0].Mhz, 'f', 0, 64))
		}
	}
	if n, err := cpu.CountsWithContext(ctx, true); err == nil {
		f.add("cpu.threads", strconv.Itoa(n))
	}
	if n, err := cpu.CountsWithContext(ctx, false); err == nil {
		f.add("cpu.cores", strconv.Itoa(n))
	}
}

func (f *facts) memory(ctx context.Context) {
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		f.add("memory.bytes", strconv.FormatUint(m.Total, 10))
	}
	if m, err := mem.SwapMemoryWithContext(ctx); err == nil {
		f.add("memory.swap", strconv.FormatUint(m.Total, 10))
	}
}

// drives adds the serial numbers of what the file systems are on.
func (f *facts) drives(ctx context.Context) {
	parts, err := disk.PartitionsWithContext(ctx, false)
	if err != nil {
		return
	}
	for i, p := range parts[:min(len(parts), maxDisks)] {
		name := "disk." + strconv.Itoa(i)
		f.add(name+".device", p.Device)
		if serial, err := disk.SerialNumberWithContext(ctx, p.Device); err == nil {
			f.add(name+".serial", strings.TrimSpace(serial))
		}
	}
}

// routes adds the IPv4 subnets of the interfaces that [facts.network] names.
func (f *facts) routes() {
	for i, iface := range interfaces() {
		var subnets []string
		for _, n := range iface.nets {
			subnets = append(subnets, (&net.IPNet{IP: n.IP.Mask(n.Mask), Mask: n.Mask}).String())
		}
		f.add(fmt.Sprintf("net.%d.subnets", i), strings.Join(subnets, " "))
		f.add(fmt.Sprintf("net.%d.mtu", i), strconv.Itoa(iface.MTU))
	}
}

// An iface is an interface that is up, with its IPv4 networks.
type iface struct {
	net.Interface
	nets []*net.IPNet
}

// interfaces returns those that are up and lead out of the machine.
func interfaces() (list []iface) {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 || len(list) == maxInterfaces {
			continue
		}
		one := iface{Interface: i}
		addresses, err := i.Addrs()
		if err == nil {
			for _, a := range addresses {
				if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && len(n.Mask) == net.IPv4len {
					one.nets = append(one.nets, n)
				}
			}
		}
		list = append(list, one)
	}
	return list
}

// firmwareFiles are what Linux knows of it, and firmwareNames the same in the
// registry of Windows.
var (
	firmwareFiles = [][2]string{
		{"bios.vendor", "bios_vendor"}, {"bios.version", "bios_version"}, {"bios.date", "bios_date"},
		{"system.vendor", "sys_vendor"}, {"system.model", "product_name"}, {"system.serial", "product_serial"},
		{"system.uuid", "product_uuid"}, {"board.vendor", "board_vendor"}, {"board.model", "board_name"},
		{"chassis.type", "chassis_type"},
	}
	firmwareNames = [][2]string{
		{"bios.vendor", "BIOSVendor"}, {"bios.version", "BIOSVersion"}, {"bios.date", "BIOSReleaseDate"},
		{"system.vendor", "SystemManufacturer"}, {"system.model", "SystemProductName"},
		{"board.vendor", "BaseBoardManufacturer"}, {"board.model", "BaseBoardProduct"},
	}
	macNames = [][2]string{
		{"bios.version", "System Firmware Version"}, {"system.model", "Model Identifier"},
		{"system.serial", "Serial Number (system)"}, {"system.uuid", "Hardware UUID"},
	}
)

// firmware adds what the firmware says of the machine. What cannot be found out is
// left out.
func (h *hardware) firmware(ctx context.Context, f *facts) {
	switch h.sys.goos {
	case "linux":
		for _, name := range firmwareFiles {
			f.add(name[0], h.sys.read("/sys/class/dmi/id/"+name[1]))
		}
	case "windows":
		e, err := h.sys.run(ctx, command{path: regPath, args: []string{"query", `HKLM\HARDWARE\DESCRIPTION\System\BIOS`}})
		if err == nil && e.code == 0 {
			f.named(firmwareNames, windowsValues(e.output))
		}
	case "darwin":
		e, err := h.sys.run(ctx, command{path: "/usr/sbin/system_profiler", args: []string{"SPHardwareDataType"}})
		if err == nil && e.code == 0 {
			f.named(macNames, colonValues(e.output))
		}
	}
}

func (f *facts) named(names [][2]string, values map[string]string) {
	for _, name := range names {
		f.add(name[0], values[name[1]])
	}
}

func windowsValues(output string) map[string]string {
	values := make(map[string]string)
	for line := range strings.Lines(output) {
		if name, value := regValue(strings.TrimRight(line, "\r\n")); name != "" {
			values[name] = value
		}
	}
	return values
}

// colonValues reads lines of the form "name: value".
func colonValues(output string) map[string]string {
	values := make(map[string]string)
	for line := range strings.Lines(output) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			values[name] = value
		}
	}
	return values
}
