package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// noon is when random fleets are looked at.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A maker makes records of a large fleet that looks like a real one: 45 properties of
// a device, and 50 products of 5,000.
type maker struct {
	s *schema.Schema
	r *rand.Rand
}

func newMaker(seed uint64) *maker {
	return &maker{s: schema.Standard(), r: rand.New(rand.NewPCG(seed, 6))}
}

func (m *maker) one(words ...string) string { return words[m.r.IntN(len(words))] }

func (m *maker) date(days int) int64 {
	return noon.Add(-time.Duration(m.r.Int64N(int64(days) * int64(24*time.Hour)))).UnixMilli()
}

// skewed is below n, small numbers more often.
func (m *maker) skewed(n int) int {
	f := m.r.Float64()
	return int(f * f * float64(n))
}

// sheet is a row under construction.
type sheet struct {
	c   *schema.Class
	row schema.Row
}

func (m *maker) class(name string) *sheet {
	c, ok := m.s.Class(name)
	if !ok {
		panic(name)
	}
	return &sheet{c: c, row: make(schema.Row, len(c.Properties))}
}

func (s *sheet) set(name string, v any) *sheet {
	i, ok := s.c.Property(name)
	if !ok {
		panic(s.c.Name + "." + name)
	}
	switch v := v.(type) {
	case string:
		s.row[i] = schema.Value{Set: true, Text: v}
	case int:
		s.row[i] = schema.Value{Set: true, Number: int64(v)}
	case int64:
		s.row[i] = schema.Value{Set: true, Number: v}
	case []string:
		s.row[i] = schema.Value{Set: true, List: v}
	}
	return s
}

var (
	builds  = []string{"10.0.19044", "10.0.19045", "10.0.22621", "10.0.22631", "10.0.26100", "10.0.17763", "10.0.20348"}
	makers  = []string{"Dell Inc.", "HP", "LENOVO", "Microsoft Corporation", "VMware, Inc."}
	systems = []string{"Microsoft Windows NT Workstation 10.0", "Microsoft Windows NT Workstation 10.0 (Tablet Edition)", "Microsoft Windows NT Server 10.0", "Microsoft Windows NT Advanced Server 10.0"}
)

func (m *maker) record(device uint32) *schema.Record {
	build := builds[m.skewed(len(builds))]
	name := fmt.Sprintf("%s-%s-%06d", m.one("PC", "NB", "SRV", "VM"), m.one("BER", "MUC", "HAM", "PAR", "NYC"), device)
	ou := m.r.IntN(400)
	sheets := []*sheet{
		m.class(schema.System).set("Name", name).set("NetbiosName", name).set("Active", 1).set("ADSiteName", fmt.Sprintf("Site-%03d", m.skewed(120))).
			set("Build", build).set("Client", boolInt(m.r.IntN(20) > 0)).set("ClientType", 1).set("ClientVersion", fmt.Sprintf("5.00.%d.1000", 9100+m.skewed(32))).
			set("CreationDate", m.date(1500)).set("DistinguishedName", "CN="+name+",OU=x").set("HardwareID", fmt.Sprintf("2:%016X", m.r.Uint64())).
			set("IPSubnets", []string{fmt.Sprintf("10.%d.%d.0", m.r.IntN(8), m.r.IntN(100))}).set("IsVirtualMachine", boolInt(m.r.IntN(5) == 0)).
			set("LastLogonTimestamp", m.date(90)).set("LastLogonUserName", fmt.Sprintf("user%05d", m.r.IntN(60_000))).
			set("Obsolete", boolInt(m.r.IntN(50) == 0)).set("OperatingSystemNameandVersion", systems[m.skewed(len(systems))]).
			set("ResourceDomainORWorkgroup", m.one("CORP", "EMEA", "LAB", "DMZ")).set("SMSUniqueIdentifier", fmt.Sprintf("GUID:%08X", m.r.Uint32())).
			set("SystemOUName", []string{"corp.example/Sites", fmt.Sprintf("corp.example/Sites/%03d", ou), fmt.Sprintf("corp.example/Sites/%03d/Clients", ou)}).
			set("SystemGroupName", []string{fmt.Sprintf(`CORP\G%03d`, m.r.IntN(300)), fmt.Sprintf(`CORP\G%03d`, m.r.IntN(300)), fmt.Sprintf(`CORP\G%03d`, m.r.IntN(300))}),
		m.class("SMS_G_System_OPERATING_SYSTEM").set("BuildNumber", build[5:]).set("Caption", "Microsoft Windows "+m.one("10", "11")+m.one(" Pro", " Enterprise")).
			set("InstallDate", m.date(1200)).set("LastBootUpTime", m.date(40)).set("OSArchitecture", "64-bit").set("OSLanguage", 1000+m.r.IntN(40)).
			set("ProductType", 1+m.skewed(3)).set("TotalVisibleMemorySize", 4_000_000<<m.r.IntN(4)).set("Version", build),
		m.class("SMS_G_System_WORKSTATION_STATUS").set("LastHardwareScan", m.date(60)),
		m.class("SMS_G_System_COMPUTER_SYSTEM").set("Manufacturer", makers[m.skewed(len(makers))]).set("Model", fmt.Sprintf("Model %02d", m.skewed(60))).
			set("NumberOfProcessors", 1+m.r.IntN(4)).set("TotalPhysicalMemory", 4_000_000<<m.r.IntN(4)).set("DomainRole", 1).set("SystemType", "x64-based PC"),
		m.class("SMS_G_System_SYSTEM_ENCLOSURE").set("Tag", "System Enclosure 0").set("ChassisTypes", m.one("3", "8", "9", "10", "13")).set("SerialNumber", fmt.Sprintf("SN%08X", m.r.Uint32())),
		m.class("SMS_G_System_PC_BIOS").set("SerialNumber", fmt.Sprintf("SN%08X", m.r.Uint32())),
	}
	r := &schema.Record{Device: device}
	add := func(c *schema.Class, rows ...schema.Row) {
		at := len(r.Classes)
		for at > 0 && r.Classes[at-1].Class > c.Index {
			at--
		}
		r.Classes = append(r.Classes[:at], append([]schema.ClassRows{{Class: c.Index, Rows: rows}}, r.Classes[at:]...)...)
	}
	for _, s := range sheets {
		add(s.c, s.row)
	}
	var disks, products []schema.Row
	for _, letter := range []string{"C:", "D:"}[:1+m.r.IntN(2)] {
		disks = append(disks, m.class("SMS_G_System_LOGICAL_DISK").set("DeviceID", letter).set("FreeSpace", m.r.IntN(500_000)).set("Size", 500_000).set("FileSystem", "NTFS").row)
	}
	for range 50 {
		p := m.skewed(5000)
		products = append(products, m.class("SMS_G_System_ADD_REMOVE_PROGRAMS_64").set("ProdID", fmt.Sprintf("{%04d}", p)).set("DisplayName", productName(p)).
			set("Version", fmt.Sprintf("%d.%d", p%20, p%7)).set("Publisher", fmt.Sprintf("Vendor %d", p%300)).row)
	}
	disk, _ := m.s.Class("SMS_G_System_LOGICAL_DISK")
	product, _ := m.s.Class("SMS_G_System_ADD_REMOVE_PROGRAMS_64")
	add(disk, disks...)
	add(product, products...)
	return r
}

func productName(p int) string {
	return fmt.Sprintf("%s %s %04d", []string{"Adobe", "Mozilla", "Contoso", "Fabrikam", "Java"}[p%5], []string{"Reader", "Suite", "Runtime", "Agent"}[p%4], p)
}

func boolInt(is bool) int {
	if is {
		return 1
	}
	return 0
}

const (
	joinOS   = "select SMS_R_System.ResourceID from SMS_R_System inner join SMS_G_System_OPERATING_SYSTEM on SMS_G_System_OPERATING_SYSTEM.ResourceID = SMS_R_System.ResourceID where "
	joinCS   = "select SMS_R_System.ResourceID from SMS_R_System inner join SMS_G_System_COMPUTER_SYSTEM on SMS_G_System_COMPUTER_SYSTEM.ResourceID = SMS_R_System.ResourceID where "
	joinSoft = "select SMS_R_System.ResourceID from SMS_R_System inner join SMS_G_System_ADD_REMOVE_PROGRAMS_64 on SMS_G_System_ADD_REMOVE_PROGRAMS_64.ResourceID = SMS_R_System.ResourceID where SMS_G_System_ADD_REMOVE_PROGRAMS_64."
	joinScan = "select SMS_R_System.ResourceID from SMS_R_System inner join SMS_G_System_WORKSTATION_STATUS on SMS_G_System_WORKSTATION_STATUS.ResourceID = SMS_R_System.ResourceID where "
	joinDisk = "select SMS_R_System.ResourceID from SMS_R_System inner join SMS_G_System_LOGICAL_DISK on SMS_G_System_LOGICAL_DISK.ResourceID = SMS_R_System.ResourceID where "
	system   = "select ResourceID from SMS_R_System where "
)

// query is the text of one like those that people write.
func (m *maker) query() string {
	switch m.r.IntN(17) {
	case 0:
		return system + fmt.Sprintf(`OperatingSystemNameandVersion like "%%%s%%"`, m.one("Workstation 10.0", "Server", "Tablet", "Advanced"))
	case 1:
		return joinOS + fmt.Sprintf(`SMS_G_System_OPERATING_SYSTEM.BuildNumber in ("%s", "%s")`, m.one(builds...)[5:], m.one(builds...)[5:])
	case 2:
		return system + fmt.Sprintf(`Build like "%s%%"`, m.one("10.0.19", "10.0.22", "10.0.226", "10.0.2"))
	case 3:
		return system + fmt.Sprintf(`ClientVersion != "5.00.%d.1000" and Client = 1`, 9100+m.r.IntN(32))
	case 4:
		return system + fmt.Sprintf(`Name like "%%%d" or Name like "%%%d"`, m.r.IntN(10), m.r.IntN(100))
	case 5:
		return system + fmt.Sprintf(`SystemOUName = "corp.example/Sites/%03d"`, m.r.IntN(400))
	case 6:
		return system + fmt.Sprintf(`SystemGroupName = "CORP\G%03d"`, m.r.IntN(300))
	case 7:
		return system + fmt.Sprintf(`ADSiteName = "Site-%03d" and ResourceDomainORWorkgroup = "%s"`, m.r.IntN(120), m.one("CORP", "EMEA", "LAB"))
	case 8:
		return joinCS + fmt.Sprintf(`SMS_G_System_COMPUTER_SYSTEM.Manufacturer like "%%%s%%" and SMS_G_System_COMPUTER_SYSTEM.Model = "Model %02d"`, m.one("Dell", "HP", "Lenovo"), m.r.IntN(60))
	case 9, 10, 11:
		return joinSoft + fmt.Sprintf(`DisplayName like "%s%%%d"`, m.one("Adobe", "Mozilla", "Contoso", "Java"), m.r.IntN(100))
	case 12:
		p := m.r.IntN(5000)
		return joinSoft + fmt.Sprintf(`DisplayName = "%s" and SMS_G_System_ADD_REMOVE_PROGRAMS_64.Version < "7.6"`, productName(p))
	case 13:
		return system + fmt.Sprintf(`ResourceId not in (%s"%s")`, strings.Replace(joinSoft, "where SMS_G", "where SMS_G", 1)+"DisplayName = ", productName(m.r.IntN(2000)))
	case 14:
		return joinScan + fmt.Sprintf(`DateDiff(dd, SMS_G_System_WORKSTATION_STATUS.LastHardwareScan, GetDate()) > %d`, 5+m.r.IntN(40))
	case 15:
		return joinDisk + fmt.Sprintf(`SMS_G_System_LOGICAL_DISK.DeviceID = "C:" and SMS_G_System_LOGICAL_DISK.FreeSpace < %d`, 1000*(1+m.r.IntN(50)))
	}
	return system + fmt.Sprintf(`IPSubnets = "10.%d.%d.0" and Obsolete = 0`, m.r.IntN(8), m.r.IntN(100))
}

// graph makes n collections: 60 % of queries, 20 % that include, 10 % that exclude, 10 %
// of direct members, limits up to 8 deep.
func (m *maker) graph(n, devices int) (texts map[string]string, all []Collection) {
	texts = map[string]string{}
	depth := map[string]int{}
	id := func(i int) string { return fmt.Sprintf("P01%05X", i+1) }
	earlier := func(i int) string {
		for range 20 {
			if e := id(m.r.IntN(i)); depth[e] < 7 {
				return e
			}
		}
		return id(0)
	}
	for i := range n {
		c := Collection{ID: id(i)}
		kind := m.r.IntN(10)
		if i > 4 && m.r.IntN(3) > 0 {
			c.Limit = earlier(i)
		}
		switch {
		case kind < 6 || i < 5:
			texts[c.ID] = m.query()
		case kind < 8:
			c.Include = []string{earlier(i), earlier(i)}
		case kind == 8:
			c.Include, c.Exclude = []string{earlier(i)}, []string{earlier(i)}
		default:
			c.Direct = roaring.New()
			for range 200 {
				c.Direct.Add(uint32(m.r.IntN(devices)))
			}
		}
		for _, in := range append(append([]string{c.Limit}, c.Include...), c.Exclude...) {
			depth[c.ID] = max(depth[c.ID], depth[in]+1)
		}
		all = append(all, c)
	}
	return texts, all
}

func parsed(tb testing.TB, s *schema.Schema, texts map[string]string, all []Collection) []Collection {
	tb.Helper()
	out := append([]Collection{}, all...)
	for i := range out {
		if text := texts[out[i].ID]; text != "" {
			out[i].Queries = []*wql.Query{parse(tb, s, text)}
		}
	}
	return out
}

func parse(tb testing.TB, s *schema.Schema, text string) *wql.Query {
	tb.Helper()
	q, err := wql.Parse(text, s)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return q
}

// A fleet is an engine with devices and collections, evaluated.
type fleet struct {
	*maker
	e       *Engine
	devices int
	texts   map[string]string
	all     []Collection
	cache   []*schema.Record // other records of some devices, to put
}

func newFleet(tb testing.TB, devices, collections int) *fleet {
	tb.Helper()
	m := newMaker(1)
	f := &fleet{maker: m, e: New(m.s), devices: devices}
	for d := range devices {
		if err := f.e.Put(m.record(uint32(d))); err != nil {
			tb.Fatal(err)
		}
	}
	f.texts, f.all = m.graph(collections, devices)
	f.all = parsed(tb, m.s, f.texts, f.all)
	if err := f.e.Define(f.all); err != nil {
		tb.Fatal(err)
	}
	f.evaluate(tb, nil)
	return f
}

func (f *fleet) evaluate(tb testing.TB, devices *roaring.Bitmap) []Change {
	tb.Helper()
	changes, err := f.e.Evaluate(Request{Devices: devices, Now: noon})
	if err != nil {
		tb.Fatal(err)
	}
	return changes
}

var fleets = struct {
	sync.Mutex
	made map[[2]int]*fleet
}{made: map[[2]int]*fleet{}}

// sharedFleet is one that benchmarks have in common.
func sharedFleet(tb testing.TB, devices, collections int) *fleet {
	fleets.Lock()
	defer fleets.Unlock()
	key := [2]int{devices, collections}
	if fleets.made[key] == nil {
		fleets.made[key] = newFleet(tb, devices, collections)
	}
	return fleets.made[key]
}
