package estate

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// Record returns what is known of a device, which counts from 1, before any change.
// The record is the caller's.
func (e *Estate) Record(device uint32) *schema.Record {
	r := e.random(forDevice, uint64(device))
	d := editor{e, &schema.Record{Device: device}}
	m := machineOf(r)
	d.identity(r, m)
	d.site(r)
	d.system(r, m)
	d.hardware(r, m)
	d.states(r)
	for _, p := range e.choose(r, e.o.Installed) {
		d.install(&e.catalog[p], e.catalog[p].version(r))
	}
	return d.r
}

// Name returns the name of a device.
func Name(device uint32) string {
	return fmt.Sprintf("%s%06d", prefixes[device%uint32(len(prefixes))], device)
}

var prefixes = []string{"PC", "WKS", "LT", "NB", "SRV", "VDI", "KIOSK-"}

// A machine is what it is before it has an owner.
type machine struct {
	maker, model string
	chassis      string
	virtual      bool
	server       bool
}

type maker struct {
	name   string
	models []string
}

var makers = []maker{
	{"Dell Inc.", []string{"Latitude 5420", "Latitude 7430", "OptiPlex 7090", "Precision 3660", "Latitude 5440", "XPS 13 9320", "OptiPlex 3000"}},
	{"HP", []string{"HP EliteBook 840 G8", "HP ProBook 450 G9", "HP EliteDesk 800 G6", "HP ZBook Firefly 14", "HP EliteBook 650 G10"}},
	{"LENOVO", []string{"20XW0026GE", "21CB000HMZ", "11DT0045US", "20W000ABUK", "21HM002FGE"}},
	{"Microsoft Corporation", []string{"Virtual Machine", "Surface Pro 9", "Surface Laptop 5"}},
	{"VMware, Inc.", []string{"VMware Virtual Platform", "VMware7,1"}},
}

var (
	makerWeights = weights{0.42, 0.68, 0.86, 0.92, 1}
	modelWeights = falling(7, 1)
)

func machineOf(r *rand.Rand) (m machine) {
	k := &makers[makerWeights.draw(r)]
	m.maker, m.model = k.name, k.models[min(modelWeights.draw(r), len(k.models)-1)]
	m.virtual = m.model == "Virtual Machine" || k.name == "VMware, Inc."
	m.server = r.IntN(100) < 8
	switch {
	case m.virtual:
		m.chassis = "1"
	case m.server:
		m.chassis = "23"
	default:
		m.chassis = []string{"10", "10", "9", "3", "3", "8", "31", "7"}[r.IntN(8)]
	}
	return m
}

func (d editor) identity(r *rand.Rand, m machine) {
	name := Name(d.r.Device)
	d.set(system, textOf("Name", name), textOf("NetbiosName", name), boolOf("IsVirtualMachine", m.virtual),
		numberOf("CreationDate", ago(r, 1500*24*time.Hour)))
	if r.IntN(100) < 96 {
		d.set(system, numberOf("Client", 1), textOf("ClientVersion", clientVersions[clientWeights.draw(r)]), numberOf("Active", int64(min(1, r.IntN(20)))),
			numberOf("Obsolete", int64(r.IntN(50)/49)))
	}
	if r.IntN(100) < 90 {
		d.set(system, textOf("LastLogonUserName", fmt.Sprintf("user%05d", r.IntN(80_000))), numberOf("LastLogonTimestamp", ago(r, 60*24*time.Hour)))
	}
}

var (
	clientVersions = []string{"5.00.9132.1000", "5.00.9128.1007", "5.00.9122.1008", "5.00.9106.1022", "5.00.9096.1024", "5.00.9088.1012"}
	clientWeights  = falling(len(clientVersions), 1.6)
)

// ago is a time before Now, with most of them near it.
func ago(r *rand.Rand, longest time.Duration) int64 {
	x := r.Float64()
	return Now.UnixMilli() - int64(x*x*x*float64(longest/time.Millisecond))
}

const (
	sites   = 60
	subnets = 400
	groups  = 300
)

var (
	cities       = []string{"Berlin", "Boston", "Łódź", "Lyon", "Madrid", "München", "Oslo", "Pune", "Québec", "São Paulo", "Tokyo", "Zürich"}
	roles        = []string{"Clients", "Kiosk", "Lab", "Servers", "Workstations"}
	domains      = []string{"CORP", "EMEA", "AMER", "LAB"}
	siteWeights  = falling(sites, 0.9)
	netWeights   = falling(subnets, 0.6)
	groupWeights = falling(groups, 1)
	roleWeights  = weights{0.45, 0.5, 0.56, 0.64, 1}
	domainDraw   = weights{0.55, 0.8, 0.96, 1}
)

// unit is an organisational unit, as deep as asked for.
func unit(site, role, deep int) string {
	city := cities[site%len(cities)]
	return []string{"CORP.EXAMPLE", "CORP.EXAMPLE/SITES", "CORP.EXAMPLE/SITES/" + city,
		fmt.Sprintf("CORP.EXAMPLE/SITES/%s/%02d", city, site), fmt.Sprintf("CORP.EXAMPLE/SITES/%s/%02d/%s", city, site, roles[role])}[deep]
}

func subnet(n int) string { return fmt.Sprintf("10.%d.%d.0", n/100, n%100) }

func (d editor) site(r *rand.Rand) {
	site, role := siteWeights.draw(r), roleWeights.draw(r)
	domain := domains[domainDraw.draw(r)]
	var units []string
	for deep := range 5 {
		units = append(units, unit(site, role, deep))
	}
	nets := []string{subnet(netWeights.draw(r))}
	if r.IntN(8) == 0 {
		nets = append(nets, subnet(netWeights.draw(r)))
	}
	d.set(system, textOf("ADSiteName", fmt.Sprintf("Site-%02d", site)), textOf("ResourceDomainORWorkgroup", domain),
		listOf("SystemOUName", units...), listOf("IPSubnets", nets...),
		listOf("IPAddresses", fmt.Sprintf("%s%d", nets[0][:len(nets[0])-1], 1+r.IntN(254))))
	var member []string
	for range r.IntN(6) {
		member = append(member, fmt.Sprintf(`%s\Group %03d`, domain, groupWeights.draw(r)))
	}
	d.set(system, listOf("SystemGroupName", member...))
	d.set(computer, textOf("Domain", domain))
}

// A build is one of an operating system.
type build struct {
	number, full, caption, version string
}

var (
	clients = []build{
		{"22631", "10.0.22631", "Microsoft Windows 11 Enterprise", "Microsoft Windows NT Workstation 10.0"},
		{"19045", "10.0.19045", "Microsoft Windows 10 Enterprise", "Microsoft Windows NT Workstation 10.0"},
		{"22621", "10.0.22621", "Microsoft Windows 11 Enterprise", "Microsoft Windows NT Workstation 10.0"},
		{"26100", "10.0.26100", "Microsoft Windows 11 Enterprise", "Microsoft Windows NT Workstation 10.0 (Tablet Edition)"},
		{"19044", "10.0.19044", "Microsoft Windows 10 Enterprise LTSC", "Microsoft Windows NT Workstation 10.0"},
		{"9600", "6.3.9600", "Microsoft Windows 8.1 Pro", "Microsoft Windows NT Workstation 6.3"},
	}
	servers = []build{
		{"20348", "10.0.20348", "Microsoft Windows Server 2022 Standard", "Microsoft Windows NT Advanced Server 10.0"},
		{"17763", "10.0.17763", "Microsoft Windows Server 2019 Standard", "Microsoft Windows NT Server 10.0"},
		{"9600", "6.3.9600", "Microsoft Windows Server 2012 R2 Standard", "Microsoft Windows NT Server 6.3"},
	}
	clientBuilds = falling(len(clients), 1.1)
	serverBuilds = falling(len(servers), 1)
)

func (d editor) system(r *rand.Rand, m machine) {
	b := clients[clientBuilds.draw(r)]
	if m.server {
		b = servers[serverBuilds.draw(r)]
	}
	d.upgrade(b)
	if r.IntN(100) < 95 {
		d.set(os, numberOf("LastBootUpTime", ago(r, 90*24*time.Hour)))
	}
}

func (d editor) upgrade(b build) {
	d.set(system, textOf("OperatingSystemNameandVersion", b.version), textOf("Build", b.full))
	d.set(os, textOf("Caption", b.caption), textOf("BuildNumber", b.number))
}

func (d editor) hardware(r *rand.Rand, m machine) {
	d.set(computer, textOf("Manufacturer", m.maker), textOf("Model", m.model))
	d.set(model, textOf("Version", "ThinkPad "+[]string{"X1 Carbon Gen 9", "T14 Gen 3", "P1", "L15", "none"}[r.IntN(5)]))
	d.add(enclosure, textOf("Tag", "System Enclosure 0"), textOf("ChassisTypes", m.chassis), textOf("SerialNumber", fmt.Sprintf("SN%08X", r.Uint32())))
	d.add(volume, textOf("DeviceID", "C:"), numberOf("FreeSpace", int64(r.IntN(400_000)*r.IntN(1000)/1000)), numberOf("Size", int64(128_000<<r.IntN(4))))
	if r.IntN(3) == 0 {
		d.add(volume, textOf("DeviceID", "D:"), numberOf("FreeSpace", int64(r.IntN(2_000_000))), numberOf("Size", int64(512_000<<r.IntN(3))))
	}
	d.add(disk, textOf("DeviceID", `\\.\PHYSICALDRIVE0`), textOf("Status", []string{"OK", "OK", "Pred Fail"}[r.IntN(200)/99]))
	if !m.virtual {
		d.set(tpm, textOf("SpecVersion", []string{"2.0, 0, 1.38", "2.0, 0, 1.59", "1.2, 2, 3"}[r.IntN(10)/4]))
		d.add(encryptable, textOf("DeviceID", `\\?\Volume{1}\`), textOf("DriveLetter", "C:"), numberOf("ProtectionStatus", int64(min(1, r.IntN(6)))))
	}
	d.set(firmware, boolOf("UEFI", r.IntN(12) > 0), boolOf("SecureBoot", r.IntN(9) > 0))
	d.set(memory, numberOf("TotalPhysicalMemory", int64(4<<20)<<min(r.IntN(4), r.IntN(6))))
	d.add(processor, textOf("DeviceID", "CPU0"), textOf("Name", fmt.Sprintf("Intel(R) Core(TM) i%d-1%d%d5U", 3+2*r.IntN(3), r.IntN(4), 1+r.IntN(7))))
	d.set(bios, textOf("SMBIOSBIOSVersion", fmt.Sprintf("%d.%d.0", 1+r.IntN(3), r.IntN(30))))
}

func (d editor) states(r *rand.Rand) {
	d.set(health, numberOf("ClientActiveStatus", int64(min(1, r.IntN(15)))))
	if r.IntN(100) < 97 {
		d.set(hardware, numberOf("LastHardwareScan", ago(r, 120*24*time.Hour)))
	}
	d.clear(servicing)
	if r.IntN(100) < 70 {
		d.set(servicing, numberOf("Branch", int64(r.IntN(3))), numberOf("State", int64(1+r.IntN(4))))
	}
	if r.IntN(100) < 60 {
		d.set(management, boolOf("ComgmtPolicyPresent", r.IntN(3) > 0))
	}
	d.clear(compliance)
	for i := range r.IntN(4) {
		d.add(compliance, numberOf("CI_ID", int64(16_780_000+i*40+r.IntN(40))), numberOf("Status", int64(r.IntN(4))))
	}
}

func (p *product) class() string {
	if p.wide {
		return programs64
	}
	return programs
}

// install puts a product onto a device, or another version of one that is there.
func (d editor) install(p *product, version string) {
	d.uninstall(p)
	d.add(p.class(), textOf("ProdID", p.id), textOf("DisplayName", p.name), textOf("Publisher", p.publisher), textOf("Version", version))
}

func (d editor) uninstall(p *product) {
	rows := d.rows(p.class())
	id := d.e.places[p.class()+".ProdID"].property
	for i, row := range *rows {
		if row[id].Text == p.id {
			*rows = append(append([]schema.Row(nil), (*rows)[:i]...), (*rows)[i+1:]...)
			return
		}
	}
}
