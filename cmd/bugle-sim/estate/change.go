package estate

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// Batch returns the k devices that change in a round, rising.
func (e *Estate) Batch(round, k int) []uint32 {
	k = min(k, e.o.Devices)
	r := e.random(forBatch, uint64(round))
	seen := make(map[uint32]bool, k)
	for len(seen) < k {
		seen[1+uint32(r.IntN(e.o.Devices))] = true
	}
	all := make([]uint32, 0, k)
	for d := range seen {
		all = append(all, d)
	}
	slices.Sort(all)
	return all
}

// Change returns what a device's record became in a round; the one before stays as
// it was.
func (e *Estate) Change(before *schema.Record, round int) *schema.Record {
	r := e.random(forChange+uint64(round), uint64(before.Device))
	d := editor{e, clone(before)}
	d.scan(r)
	for range 1 + r.IntN(3) {
		d.change(r)
	}
	return d.r
}

// clone copies all that an editor changes.
func clone(r *schema.Record) *schema.Record {
	c := &schema.Record{Device: r.Device, Classes: slices.Clone(r.Classes)}
	for i := range c.Classes {
		rows := slices.Clone(c.Classes[i].Rows)
		for j := range rows {
			rows[j] = slices.Clone(rows[j])
		}
		c.Classes[i].Rows = rows
	}
	return c
}

// scan is a new report of the inventory.
func (d editor) scan(r *rand.Rand) {
	d.set(hardware, numberOf("LastHardwareScan", Now.UnixMilli()-int64(r.IntN(int(time.Hour/time.Millisecond)))))
}

// change is one of what happens to machines, the frequent more often.
func (d editor) change(r *rand.Rand) {
	switch n := r.IntN(20); {
	case n < 5: // a product is installed, or another version of it
		p := &d.e.catalog[d.e.products.draw(r)]
		d.install(p, p.version(r))
	case n < 7:
		d.uninstall(&d.e.catalog[d.e.products.draw(r)])
	case n < 10:
		d.updateOne(r)
	case n < 12:
		rows := *d.rows(volume)
		rows[0] = d.put(rows[0], volume, numberOf("FreeSpace", int64(r.IntN(200_000)*r.IntN(1000)/1000)))
	case n < 14:
		d.upgrade(clients[clientBuilds.draw(r)])
	case n < 15:
		d.site(r)
	case n < 17:
		d.set(system, textOf("ClientVersion", clientVersions[clientWeights.draw(r)]), numberOf("Client", 1))
	case n < 18:
		d.set(health, numberOf("ClientActiveStatus", int64(r.IntN(2))))
	case n < 19:
		d.set(bios, textOf("SMBIOSBIOSVersion", []string{"1.2.0", "1.19.0", "2.3.0"}[r.IntN(3)]))
	default:
		d.states(r)
	}
}

// updateOne gives one of the products that are there its newest version.
func (d editor) updateOne(r *rand.Rand) {
	rows := *d.rows(programs64)
	if len(rows) == 0 {
		return
	}
	i := r.IntN(len(rows))
	id := rows[i][d.e.places[programs64+".ProdID"].property].Text
	for k := range d.e.catalog {
		if p := &d.e.catalog[k]; p.id == id {
			rows[i] = d.put(rows[i], programs64, textOf("Version", p.versions[0]))
		}
	}
}
