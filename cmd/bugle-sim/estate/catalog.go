package estate

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// math.Pow may differ in its last digit from machine to machine; rounded it does
// not.
func pow(x, y float64) float64 { return math.Round(math.Pow(x, y)*1e12) / 1e12 }

// A product can be installed.
type product struct {
	name      string
	publisher string
	id        string
	wide      bool     // 64 bits: it is in the other class
	versions  []string // the newest first
}

var publishers = []string{"Adobe", "Alfa Soft", "Blue Ridge Systems", "Cisco Systems", "Citrix", "Contoso", "Fabrikam", "Google LLC", "Igor Pavlov",
	"Litware", "Microsoft Corporation", "Mozilla", "Northwind", "Oracle", "SAP SE", "Société Générale de Logiciels", "The Git Team", "VideoLAN", "Wingtip", "Zoom"}

var nouns = []string{"Agent", "Archive", "Backup", "Client", "Connector", "Designer", "Driver", "Editor", "Framework", "Manager",
	"Player", "Reader", "Runtime", "Scanner", "Studio", "Suite", "Toolkit", "Update", "Viewer", "Workbench"}

// known come first, so they are the most frequent.
var known = []product{
	{name: "Google Chrome", publisher: "Google LLC", wide: true},
	{name: "Microsoft Edge", publisher: "Microsoft Corporation"},
	{name: "Microsoft 365 Apps for enterprise - en-us", publisher: "Microsoft Corporation", wide: true},
	{name: "7-Zip (x64)", publisher: "Igor Pavlov", wide: true},
	{name: "Adobe Acrobat Reader", publisher: "Adobe"},
	{name: "Mozilla Firefox (x64 en-US)", publisher: "Mozilla", wide: true},
	{name: "Configuration Manager Client", publisher: "Microsoft Corporation"},
	{name: "Zoom Workplace", publisher: "Zoom", wide: true},
	{name: "Notepad++ (64-bit x64)", publisher: "Contoso", wide: true},
	{name: "VLC media player", publisher: "VideoLAN"},
	{name: "Git", publisher: "The Git Team", wide: true},
	{name: "Java 8 Update 401", publisher: "Oracle"},
}

func (e *Estate) makeCatalog() {
	r := e.random(forCatalog, 0)
	e.products = falling(e.o.Products, 0.8)
	e.catalog = make([]product, e.o.Products)
	for i := range e.catalog {
		p := &e.catalog[i]
		if i < len(known) {
			*p = known[i]
		} else {
			p.publisher = publishers[r.IntN(len(publishers))]
			p.name = fmt.Sprintf("%s %s %d", p.publisher, nouns[r.IntN(len(nouns))], i)
			p.wide = r.IntN(3) > 0
		}
		p.id = fmt.Sprintf("{%08X-%04X-4%03X-A%03X-%012X}", r.Uint32(), r.Uint32()&0xffff, r.Uint32()&0xfff, r.Uint32()&0xfff, i)
		p.versions = makeVersions(r)
	}
}

// makeVersions counts down from a version: the last part or the middle one.
func makeVersions(r *rand.Rand) (all []string) {
	major, minor, build := 1+r.IntN(25), r.IntN(30), r.IntN(9999)
	for range 2 + r.IntN(6) {
		all = append(all, fmt.Sprintf("%d.%d.%d", major, minor, build))
		if minor > 0 && r.IntN(2) == 0 {
			minor--
		}
		build = max(0, build-1-r.IntN(400))
	}
	return all
}

// choose draws n different products.
func (e *Estate) choose(r *rand.Rand, n int) []int {
	seen := make(map[int]bool, n)
	all := make([]int, 0, n)
	for len(all) < n {
		if p := e.products.draw(r); !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	return all
}

// version draws one of a product: mostly the newest ones.
func (p *product) version(r *rand.Rand) string {
	i := 0
	for i < len(p.versions)-1 && r.IntN(5) >= 3 {
		i++
	}
	return p.versions[i]
}
