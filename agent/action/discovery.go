package action

import (
	"context"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of what discovery finds, so that it fits one message.
const (
	maxFactValue  = 512
	maxDisks      = 16
	maxInterfaces = 16
)

// discovery finds out what this machine is.
type discovery struct{ version string }

func (d discovery) Run(ctx context.Context, req Request) Outcome {
	if err := decodeParams(req.Params, &struct{}{}); err != nil {
		return refused(err)
	}
	facts := append([]Fact{{"agent.version", d.version}, looked("discovery")}, machine.facts(ctx)...)
	detail, err := report(ctx, req.Host, "discovery", facts)
	if err != nil {
		return failed(err)
	}
	return Outcome{State: task.Succeeded, Detail: detail}
}

// factCache holds what was found last: many agents in one process are on one
// machine, and ask at the same moment.
type factCache struct {
	mu    sync.Mutex
	at    time.Time
	known []Fact
	find  func(context.Context) []Fact
}

const factsGoodFor = time.Minute

var machine = factCache{find: findFacts}

func (c *factCache) facts(ctx context.Context) []Fact {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || time.Since(c.at) >= factsGoodFor {
		found := c.find(ctx)
		if ctx.Err() != nil {
			return found
		}
		c.known, c.at = found, time.Now()
	}
	return slices.Clone(c.known)
}

// findFacts asks the machine. What it cannot find out is left out.
func findFacts(ctx context.Context) []Fact {
	f := &facts{}
	f.add("os.arch", runtime.GOARCH)
	f.add("os.name", runtime.GOOS)
	if name, err := os.Hostname(); err == nil {
		f.add("host.name", name)
	}
	f.system(ctx)
	f.clock()
	f.hardware(ctx)
	f.disks(ctx)
	f.network()
	return f.list
}

type facts struct{ list []Fact }

func (f *facts) add(name, value string) {
	if value != "" {
		f.list = append(f.list, Fact{name, cut(value, maxFactValue)})
	}
}

func (f *facts) system(ctx context.Context) {
	if platform, family, version, err := host.PlatformInformationWithContext(ctx); err == nil {
		f.add("os.platform", platform)
		f.add("os.family", family)
		f.add("os.version", version)
	}
	if kernel, err := host.KernelVersionWithContext(ctx); err == nil {
		f.add("os.kernel", kernel)
	}
	if boot, err := host.BootTimeWithContext(ctx); err == nil && boot > 0 {
		f.add("host.booted", time.Unix(int64(boot), 0).UTC().Format(time.RFC3339))
	}
	if id, err := host.HostIDWithContext(ctx); err == nil {
		f.add("host.id", id)
	}
}

func (f *facts) hardware(ctx context.Context) {
	if info, err := cpu.InfoWithContext(ctx); err == nil && len(info) > 0 {
		f.add("cpu.model", info[0].ModelName)
	}
	if n, err := cpu.CountsWithContext(ctx, true); err == nil {
		f.add("cpu.threads", strconv.Itoa(n))
	}
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		f.add("memory.bytes", strconv.FormatUint(m.Total, 10))
	}
}

func (f *facts) disks(ctx context.Context) {
	parts, err := disk.PartitionsWithContext(ctx, false)
	if err != nil {
		return
	}
	for i, p := range parts[:min(len(parts), maxDisks)] {
		name := "disk." + strconv.Itoa(i)
		f.add(name+".mount", p.Mountpoint)
		f.add(name+".type", p.Fstype)
		if u, err := disk.UsageWithContext(ctx, p.Mountpoint); err == nil {
			f.add(name+".bytes", strconv.FormatUint(u.Total, 10))
			f.add(name+".free", strconv.FormatUint(u.Free, 10))
		}
	}
}

func (f *facts) network() {
	all, err := net.Interfaces()
	if err != nil {
		return
	}
	n := 0
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 || n == maxInterfaces {
			continue
		}
		name := "net." + strconv.Itoa(n)
		f.add(name+".name", i.Name)
		f.add(name+".mac", i.HardwareAddr.String())
		f.add(name+".addresses", addresses(i))
		n++
	}
}

func addresses(i net.Interface) string {
	list, err := i.Addrs()
	if err != nil {
		return ""
	}
	var s []string
	for _, a := range list {
		s = append(s, a.String())
	}
	return strings.Join(s, " ")
}

// cut returns s as UTF-8 of at most max bytes.
func cut(s string, max int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
