package estate

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A Kind is one of the kinds of query that people write.
type Kind struct {
	Name string
	// text writes one; earlier are the ids of collections that it may name.
	text func(e *Estate, r *rand.Rand, earlier []string) string
}

const (
	base = "select SMS_R_System.ResourceId, SMS_R_System.Name from SMS_R_System"
	slim = "select ResourceId from SMS_R_System"
)

func where(format string, a ...any) string {
	return slim + " where " + fmt.Sprintf(format, a...)
}

// joined is a query with one joined class, for which $ stands.
func joined(class, format string, a ...any) string {
	source, name := class, class
	if class == programs || class == programs64 {
		source, name = class+" as P", "P"
	}
	return base + " inner join " + source + " on " + name + ".ResourceID = SMS_R_System.ResourceId where " +
		strings.ReplaceAll(fmt.Sprintf(format, a...), "$", name)
}

func quoted(s string) string { return `"` + s + `"` }

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

// some is a few different ones, quoted, as a list.
func some(r *rand.Rand, from []string) string {
	n := min(len(from), 1+r.IntN(3))
	var list []string
	for _, i := range r.Perm(len(from))[:n] {
		list = append(list, quoted(from[i]))
	}
	return strings.Join(list, ", ")
}

func buildNumbers() (all []string) {
	for _, b := range append(clients[:len(clients):len(clients)], servers...) {
		all = append(all, b.number)
	}
	return all
}

// someProduct is a product that is neither everywhere nor nowhere.
func (e *Estate) someProduct(r *rand.Rand) *product { return &e.catalog[e.products.draw(r)] }

func (e *Estate) someMaker(r *rand.Rand) *maker { return &makers[makerWeights.draw(r)] }

// Kinds are the 27 kinds of query.
var Kinds = []Kind{
	{"all clients", func(*Estate, *rand.Rand, []string) string {
		return "select * from SMS_R_System where SMS_R_System.Client = 1"
	}},
	{"no client", func(*Estate, *rand.Rand, []string) string {
		return where("SMS_R_System.Client is null or SMS_R_System.Client = 0")
	}},
	{"operating system", func(_ *Estate, r *rand.Rand, _ []string) string {
		return base + ` where OperatingSystemNameandVersion like "%Workstation ` + pick(r, "10.0", "6.3", "10.0 (Tablet Edition)") + `%"`
	}},
	{"servers", func(_ *Estate, r *rand.Rand, _ []string) string {
		return where(`SMS_R_System.OperatingSystemNameandVersion like "%s"`, pick(r, "%Server%", "%Advanced Server%", "%server 6.3"))
	}},
	{"builds", func(_ *Estate, r *rand.Rand, _ []string) string {
		return joined(os, `$.BuildNumber in (%s)`, some(r, buildNumbers()))
	}},
	{"prefix of a build", func(_ *Estate, r *rand.Rand, _ []string) string {
		return where(`SMS_R_System.Build like "%s%%"`, pick(r, "10.0.226", "10.0.19", "10.0.2", "6.3.", "10.0.1904"))
	}},
	{"client version", func(_ *Estate, r *rand.Rand, _ []string) string {
		return where(`SMS_R_System.ClientVersion %s "%s"`, pick(r, "!=", "<>", "=", "<"), pick(r, clientVersions...))
	}},
	{"ring by name", func(_ *Estate, r *rand.Rand, _ []string) string {
		i, p := r.IntN(9), prefixes[r.IntN(len(prefixes))]
		return where(`(SMS_R_System.Name like "%%%d" or SMS_R_System.Name like "%%%d") and SMS_R_System.Name like "%s%%[0-%d]_"`, i, i+1, strings.ToLower(p), 3+r.IntN(7))
	}},
	{"organisational unit", func(_ *Estate, r *rand.Rand, _ []string) string {
		return where(`SMS_R_System.SystemOUName = "%s"`, strings.ToLower(unit(siteWeights.draw(r), roleWeights.draw(r), 2+r.IntN(3))))
	}},
	{"group", func(_ *Estate, r *rand.Rand, _ []string) string {
		return where(`SMS_R_System.SystemGroupName = "%s\Group %03d"`, domains[domainDraw.draw(r)], groupWeights.draw(r))
	}},
	{"site and domain", func(_ *Estate, r *rand.Rand, _ []string) string {
		return where(`SMS_R_System.ADSiteName = "site-%02d" and SMS_R_System.ResourceDomainORWorkgroup = '%s'`, siteWeights.draw(r), domains[domainDraw.draw(r)])
	}},
	{"subnet", func(_ *Estate, r *rand.Rand, _ []string) string {
		return where(`SMS_R_System.IPSubnets = "%s" or SMS_R_System.IPSubnets = "%s"`, subnet(netWeights.draw(r)), subnet(netWeights.draw(r)))
	}},
	{"manufacturer", func(e *Estate, r *rand.Rand, _ []string) string {
		return joined(computer, `$.Manufacturer like "%%%s%%"`, strings.Fields(strings.TrimRight(e.someMaker(r).name, ",. "))[0])
	}},
	{"models", func(e *Estate, r *rand.Rand, _ []string) string {
		m := e.someMaker(r)
		if r.IntN(2) == 0 {
			return joined(computer, `$.Model in (%s)`, some(r, m.models))
		}
		return joined(computer, `$.Model = "%s" or $.Model like "%s%%"`, pick(r, m.models...), pick(r, m.models...)[:6])
	}},
	{"version of the machine", func(_ *Estate, r *rand.Rand, _ []string) string {
		return joined(model, `$.Version like "thinkpad %s%%"`, pick(r, "X1", "T14", "P1", "L"))
	}},
	{"chassis", func(_ *Estate, r *rand.Rand, _ []string) string {
		return joined(enclosure, `$.ChassisTypes in (%s)`, pick(r, `"8", "9", "10", "31"`, `"3", "4", "7"`, `"23"`, `"1"`))
	}},
	{"virtual or not", func(_ *Estate, r *rand.Rand, _ []string) string {
		if r.IntN(2) == 0 {
			return where(`SMS_R_System.IsVirtualMachine = %s`, pick(r, `"True"`, `'False'`))
		}
		return where(`SMS_R_System.ResourceId not in (select SMS_G_System_COMPUTER_SYSTEM.ResourceID from SMS_G_System_COMPUTER_SYSTEM where SMS_G_System_COMPUTER_SYSTEM.Model like "%%virtual%%")`)
	}},
	{"software", softwareQuery},
	{"software absent", func(e *Estate, r *rand.Rand, _ []string) string {
		p := e.someProduct(r)
		return where(`SMS_R_System.ResourceId not in (select SMS_R_System.ResourceID from SMS_R_System inner join %[1]s on %[1]s.ResourceID = SMS_R_System.ResourceId where %[1]s.DisplayName = "%[2]s")`, p.class(), p.name)
	}},
	{"software below a version", func(e *Estate, r *rand.Rand, _ []string) string {
		p := e.someProduct(r)
		return joined(p.class(), `$.DisplayName = "%s" and $.Version < "%s"`, p.name, p.versions[r.IntN(len(p.versions))])
	}},
	{"free disk", func(_ *Estate, r *rand.Rand, _ []string) string {
		return joined(volume, `$.DeviceID = "C:" and $.FreeSpace < %d`, 1024<<r.IntN(8))
	}},
	{"failing or unprotected", protectionQuery},
	{"inventory older", func(_ *Estate, r *rand.Rand, _ []string) string {
		days := 1 + r.IntN(40)
		if r.IntN(3) == 0 {
			return where(`SMS_R_System.ResourceId not in (select ResourceID from SMS_G_System_WORKSTATION_STATUS where LastHardwareScan > DateAdd(dd, -%d, GetDate()))`, days)
		}
		return joined(hardware, `DATEDIFF(dd, $.LastHardwareScan, GetDate()) > %d`, days)
	}},
	{"new", func(_ *Estate, r *rand.Rand, _ []string) string {
		return where(`DateDiff(%s, SMS_R_System.CreationDate, GetDate()) <= %d`, pick(r, "dd", "day", "hh"), 1+r.IntN(30))
	}},
	{"inactive or obsolete", func(_ *Estate, r *rand.Rand, _ []string) string {
		if r.IntN(2) == 0 {
			return where(`SMS_R_System.Obsolete = 1 or SMS_R_System.Active = 0`)
		}
		return joined(health, `$.ClientActiveStatus = 0`)
	}},
	{"members of another collection", func(_ *Estate, r *rand.Rand, earlier []string) string {
		if len(earlier) == 0 {
			return where("SMS_R_System.Client = 1")
		}
		return where(`SMS_R_System.ResourceId %s (select ResourceID from SMS_CM_RES_COLL_%s)`, pick(r, "in", "not in"), pick(r, earlier...))
	}},
	{"states", stateQuery},
}

func softwareQuery(e *Estate, r *rand.Rand, _ []string) string {
	p := e.someProduct(r)
	switch r.IntN(4) {
	case 0:
		words := strings.Fields(p.name)
		return joined(p.class(), `$.DisplayName like "%s%%"`, strings.Join(words[:min(2, len(words))], " "))
	case 1:
		return joined(p.class(), `$.DisplayName like "%%%s%%" and $.Publisher = "%s"`, pick(r, nouns...), pick(r, publishers...))
	case 2: // two rows of one class
		q := e.someProduct(r)
		return base + fmt.Sprintf(` inner join %[1]s as A on A.ResourceID = SMS_R_System.ResourceId inner join %[2]s as B on B.ResourceID = SMS_R_System.ResourceId where A.DisplayName = "%[3]s" and B.DisplayName = "%[4]s"`,
			p.class(), q.class(), p.name, q.name)
	}
	return joined(p.class(), `$.DisplayName = "%s"`, p.name)
}

func protectionQuery(_ *Estate, r *rand.Rand, _ []string) string {
	switch r.IntN(4) {
	case 0:
		return joined(disk, `$.Status != "OK"`)
	case 1:
		return joined(tpm, `$.SpecVersion not like "2.0%%"`)
	case 2:
		return joined(firmware, `$.UEFI = 1 and $.SecureBoot = 0`)
	}
	return joined(encryptable, `$.DriveLetter = "C:" and $.ProtectionStatus = 0`)
}

func stateQuery(_ *Estate, r *rand.Rand, _ []string) string {
	switch r.IntN(4) {
	case 0:
		return joined(servicing, `$.Branch = %d and $.State >= %d`, r.IntN(3), 1+r.IntN(4))
	case 1:
		return joined(management, `$.ComgmtPolicyPresent = 1`)
	case 2: // with two conditions of a join, and no row that fulfils them
		return `select S.ResourceID from SMS_R_System as S left outer join SMS_UpdateComplianceStatus as U on U.ResourceID = S.ResourceID and U.Status = 3 where U.CI_ID is null and S.Client = 1`
	}
	return fmt.Sprintf(`select distinct S.ResourceID from SMS_R_System S inner join SMS_UpdateComplianceStatus U on U.ResourceID = S.ResourceID where U.CI_ID > %d and U.Status in (2, 3) order by S.Name`, 16_780_000+r.IntN(160))
}
