package wql_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// The kinds of queries that people write for collections.
var kinds = []struct{ name, query, printed string }{
	{"1 all clients", `select * from SMS_R_System where SMS_R_System.Client = 1`,
		`select * from SMS_R_System where SMS_R_System.Client = 1`},
	{"2 no client", `select ResourceId from SMS_R_System where Client is null or Client = 0`,
		`select SMS_R_System.ResourceID from SMS_R_System where SMS_R_System.Client is null or SMS_R_System.Client = 0`},
	{"3 OS family", `SELECT * FROM SMS_R_SYSTEM WHERE SMS_R_SYSTEM.OperatingSystemNameandVersion LIKE "%Workstation 10.0%"`,
		`select * from SMS_R_System where SMS_R_System.OperatingSystemNameandVersion like "%Workstation 10.0%"`},
	{"4 servers", `select * from SMS_R_System where OperatingSystemNameandVersion like '%Server%'`,
		`select * from SMS_R_System where SMS_R_System.OperatingSystemNameandVersion like "%Server%"`},
	{"5 build number list", `select SMS_R_SYSTEM.ResourceID,SMS_R_SYSTEM.ResourceType,SMS_R_SYSTEM.Name from SMS_R_System inner join SMS_G_System_OPERATING_SYSTEM on SMS_G_System_OPERATING_SYSTEM.ResourceID = SMS_R_System.ResourceId where SMS_G_System_OPERATING_SYSTEM.BuildNumber in ("19045","22631")`,
		`select SMS_R_System.ResourceID, SMS_R_System.ResourceType, SMS_R_System.Name from SMS_R_System inner join SMS_G_System_OPERATING_SYSTEM on SMS_G_System_OPERATING_SYSTEM.ResourceID = SMS_R_System.ResourceID where SMS_G_System_OPERATING_SYSTEM.BuildNumber in ("19045", "22631")`},
	{"6 OS build prefix", `select * from SMS_R_System where SMS_R_System.Build like "10.0.226%"`,
		`select * from SMS_R_System where SMS_R_System.Build like "10.0.226%"`},
	{"7 client version not current", `select * from SMS_R_System where SMS_R_System.Client = 1 and SMS_R_System.ClientVersion != "5.00.9132.1000"`,
		`select * from SMS_R_System where SMS_R_System.Client = 1 and SMS_R_System.ClientVersion != "5.00.9132.1000"`},
	{"8 ring by name", `select * from SMS_R_System where Name like "%1" or Name like "%3" or Name like "PC-[a-f]_%"`,
		`select * from SMS_R_System where SMS_R_System.Name like "%1" or SMS_R_System.Name like "%3" or SMS_R_System.Name like "PC-[a-f]_%"`},
	{"9 OU", `select * from SMS_R_System where SMS_R_System.SystemOUName = "corp.example/Sites/East"`,
		`select * from SMS_R_System where SMS_R_System.SystemOUName = "corp.example/Sites/East"`},
	{"10 AD group", `select * from SMS_R_System where SMS_R_System.SystemGroupName = "EX\\Grp"`,
		`select * from SMS_R_System where SMS_R_System.SystemGroupName = "EX\\Grp"`},
	{"11 AD site and domain", `select * from SMS_R_System where ADSiteName = "East" and ResourceDomainORWorkgroup <> "LAB"`,
		`select * from SMS_R_System where SMS_R_System.ADSiteName = "East" and SMS_R_System.ResourceDomainORWorkgroup != "LAB"`},
	{"12 IP subnet", `select * from SMS_R_System where SMS_R_System.IPSubnets = "10.1.2.0"`,
		`select * from SMS_R_System where SMS_R_System.IPSubnets = "10.1.2.0"`},
	{"13 manufacturer", `select * from SMS_R_System inner join SMS_G_System_COMPUTER_SYSTEM on SMS_G_System_COMPUTER_SYSTEM.ResourceId = SMS_R_System.ResourceId where SMS_G_System_COMPUTER_SYSTEM.Manufacturer like "%Dell%"`,
		`select * from SMS_R_System inner join SMS_G_System_COMPUTER_SYSTEM on SMS_G_System_COMPUTER_SYSTEM.ResourceID = SMS_R_System.ResourceID where SMS_G_System_COMPUTER_SYSTEM.Manufacturer like "%Dell%"`},
	{"14 model list", `select * from SMS_R_System as S join SMS_G_System_COMPUTER_SYSTEM as C on S.ResourceID = C.ResourceID where C.Model in ("A", "B") or C.Model = "C" or (C.Model = "D" or C.Model = 'E')`,
		`select * from SMS_R_System as S inner join SMS_G_System_COMPUTER_SYSTEM as C on C.ResourceID = S.ResourceID where C.Model in ("A", "B") or C.Model = "C" or C.Model = "D" or C.Model = "E"`},
	{"15 product version", `select * from SMS_R_System inner join SMS_G_System_COMPUTER_SYSTEM_PRODUCT on SMS_G_System_COMPUTER_SYSTEM_PRODUCT.ResourceID = SMS_R_System.ResourceId where SMS_G_System_COMPUTER_SYSTEM_PRODUCT.Version = "ThinkPad T14"`,
		`select * from SMS_R_System inner join SMS_G_System_COMPUTER_SYSTEM_PRODUCT on SMS_G_System_COMPUTER_SYSTEM_PRODUCT.ResourceID = SMS_R_System.ResourceID where SMS_G_System_COMPUTER_SYSTEM_PRODUCT.Version = "ThinkPad T14"`},
	{"16 laptops", `select * from SMS_R_System inner join SMS_G_System_SYSTEM_ENCLOSURE on SMS_G_System_SYSTEM_ENCLOSURE.ResourceID = SMS_R_System.ResourceId where SMS_G_System_SYSTEM_ENCLOSURE.ChassisTypes in ("8","9", 10)`,
		`select * from SMS_R_System inner join SMS_G_System_SYSTEM_ENCLOSURE on SMS_G_System_SYSTEM_ENCLOSURE.ResourceID = SMS_R_System.ResourceID where SMS_G_System_SYSTEM_ENCLOSURE.ChassisTypes in ("8", "9", "10")`},
	{"17 physical", `select * from SMS_R_System where SMS_R_System.ResourceId not in (select SMS_R_SYSTEM.ResourceID from SMS_R_System where SMS_R_System.IsVirtualMachine = 'True')`,
		`select * from SMS_R_System where SMS_R_System.ResourceID not in (select SMS_R_System.ResourceID from SMS_R_System where SMS_R_System.IsVirtualMachine = True)`},
	{"18 installed software", `select * from SMS_R_System inner join SMS_G_System_ADD_REMOVE_PROGRAMS on SMS_G_System_ADD_REMOVE_PROGRAMS.ResourceID = SMS_R_System.ResourceId inner join SMS_G_System_ADD_REMOVE_PROGRAMS_64 on SMS_G_System_ADD_REMOVE_PROGRAMS_64.ResourceID = SMS_R_System.ResourceId where SMS_G_System_ADD_REMOVE_PROGRAMS.DisplayName like "%Acrobat%" or SMS_G_System_ADD_REMOVE_PROGRAMS_64.DisplayName like "%Acrobat%"`,
		`select * from SMS_R_System inner join SMS_G_System_ADD_REMOVE_PROGRAMS on SMS_G_System_ADD_REMOVE_PROGRAMS.ResourceID = SMS_R_System.ResourceID inner join SMS_G_System_ADD_REMOVE_PROGRAMS_64 on SMS_G_System_ADD_REMOVE_PROGRAMS_64.ResourceID = SMS_R_System.ResourceID where SMS_G_System_ADD_REMOVE_PROGRAMS.DisplayName like "%Acrobat%" or SMS_G_System_ADD_REMOVE_PROGRAMS_64.DisplayName like "%Acrobat%"`},
	{"19 software absent", `select * from SMS_R_System where ResourceId not in (select ResourceID from SMS_G_System_ADD_REMOVE_PROGRAMS where DisplayName like "%Agent%")`,
		`select * from SMS_R_System where SMS_R_System.ResourceID not in (select SMS_G_System_ADD_REMOVE_PROGRAMS.ResourceID from SMS_G_System_ADD_REMOVE_PROGRAMS where SMS_G_System_ADD_REMOVE_PROGRAMS.DisplayName like "%Agent%")`},
	{"20 software below version", `select * from SMS_R_System inner join SMS_G_System_ADD_REMOVE_PROGRAMS_64 on SMS_G_System_ADD_REMOVE_PROGRAMS_64.ResourceID = SMS_R_System.ResourceId where SMS_G_System_ADD_REMOVE_PROGRAMS_64.DisplayName = "Tool" and SMS_G_System_ADD_REMOVE_PROGRAMS_64.Version < "7.6"`,
		`select * from SMS_R_System inner join SMS_G_System_ADD_REMOVE_PROGRAMS_64 on SMS_G_System_ADD_REMOVE_PROGRAMS_64.ResourceID = SMS_R_System.ResourceID where SMS_G_System_ADD_REMOVE_PROGRAMS_64.DisplayName = "Tool" and SMS_G_System_ADD_REMOVE_PROGRAMS_64.Version < "7.6"`},
	{"21 free disk", `select * from SMS_R_System inner join SMS_G_System_LOGICAL_DISK on SMS_G_System_LOGICAL_DISK.ResourceID = SMS_R_System.ResourceId where SMS_G_System_LOGICAL_DISK.DeviceID = "C:" and SMS_G_System_LOGICAL_DISK.FreeSpace < "1024"`,
		`select * from SMS_R_System inner join SMS_G_System_LOGICAL_DISK on SMS_G_System_LOGICAL_DISK.ResourceID = SMS_R_System.ResourceID where SMS_G_System_LOGICAL_DISK.DeviceID = "C:" and SMS_G_System_LOGICAL_DISK.FreeSpace < 1024`},
	{"22 disk, TPM, firmware, volume", `select * from SMS_R_System inner join SMS_G_System_DISK d on d.ResourceID = SMS_R_System.ResourceId inner join SMS_G_System_TPM t on t.ResourceID = SMS_R_System.ResourceId inner join SMS_G_System_FIRMWARE f on f.ResourceID = SMS_R_System.ResourceId inner join SMS_G_System_ENCRYPTABLE_VOLUME v on v.ResourceID = SMS_R_System.ResourceId where d.Status != "OK" or t.SpecVersion not like "2.0%" or f.SecureBoot = 0 and f.UEFI = 1 or v.DriveLetter = "C:" and v.ProtectionStatus = 0`,
		`select * from SMS_R_System inner join SMS_G_System_DISK as d on d.ResourceID = SMS_R_System.ResourceID inner join SMS_G_System_TPM as t on t.ResourceID = SMS_R_System.ResourceID inner join SMS_G_System_FIRMWARE as f on f.ResourceID = SMS_R_System.ResourceID inner join SMS_G_System_ENCRYPTABLE_VOLUME as v on v.ResourceID = SMS_R_System.ResourceID where d.Status != "OK" or t.SpecVersion not like "2.0%" or f.SecureBoot = 0 and f.UEFI = 1 or v.DriveLetter = "C:" and v.ProtectionStatus = 0`},
	{"23 inventory older than days", `select * from SMS_R_System inner join SMS_G_System_WORKSTATION_STATUS on SMS_G_System_WORKSTATION_STATUS.ResourceID = SMS_R_System.ResourceId where DATEDIFF(dd,SMS_G_System_WORKSTATION_STATUS.LastHardwareScan,GetDate()) > 14 or SMS_R_System.ResourceId not in (select ResourceID from SMS_G_System_WORKSTATION_STATUS where LastHardwareScan >= DateAdd(day,-14,GETDATE()))`,
		`select * from SMS_R_System inner join SMS_G_System_WORKSTATION_STATUS on SMS_G_System_WORKSTATION_STATUS.ResourceID = SMS_R_System.ResourceID where DateDiff(day, SMS_G_System_WORKSTATION_STATUS.LastHardwareScan, GetDate()) > 14 or SMS_R_System.ResourceID not in (select SMS_G_System_WORKSTATION_STATUS.ResourceID from SMS_G_System_WORKSTATION_STATUS where SMS_G_System_WORKSTATION_STATUS.LastHardwareScan >= DateAdd(day, -14, GetDate()))`},
	{"24 created today", `select SMS_R_System.ResourceID from SMS_R_System where DateDiff(dd,SMS_R_System.CreationDate, GetDate()) <= 1`,
		`select SMS_R_System.ResourceID from SMS_R_System where DateDiff(day, SMS_R_System.CreationDate, GetDate()) <= 1`},
	{"25 inactive or obsolete", `select * from SMS_R_System inner join SMS_G_System_CH_ClientSummary on SMS_G_System_CH_ClientSummary.ResourceID = SMS_R_System.ResourceId where SMS_G_System_CH_ClientSummary.ClientActiveStatus = 0 or SMS_R_System.Obsolete = 1`,
		`select * from SMS_R_System inner join SMS_G_System_CH_ClientSummary on SMS_G_System_CH_ClientSummary.ResourceID = SMS_R_System.ResourceID where SMS_G_System_CH_ClientSummary.ClientActiveStatus = 0 or SMS_R_System.Obsolete = 1`},
	{"26 another collection", `select * from SMS_R_System inner join SMS_CM_RES_COLL_SMS00001 on SMS_CM_RES_COLL_SMS00001.ResourceId = SMS_R_System.ResourceId where SMS_R_System.ResourceId not in (select ResourceID from SMS_CM_RES_COLL_aaa00003)`,
		`select * from SMS_R_System inner join SMS_CM_RES_COLL_SMS00001 on SMS_CM_RES_COLL_SMS00001.ResourceID = SMS_R_System.ResourceID where SMS_R_System.ResourceID not in (select SMS_CM_RES_COLL_AAA00003.ResourceID from SMS_CM_RES_COLL_AAA00003)`},
	{"27 servicing", `select SMS_R_SYSTEM.ResourceID,SMS_R_SYSTEM.Name from SMS_R_System  LEFT OUTER JOIN SMS_WindowsServicingStates ON SMS_WindowsServicingStates.Build = SMS_R_System.build01 AND SMS_WindowsServicingStates.branch = SMS_R_System.osbranch01 where SMS_WindowsServicingStates.State = '2'`,
		`select SMS_R_System.ResourceID, SMS_R_System.Name from SMS_R_System left join SMS_WindowsServicingStates on SMS_WindowsServicingStates.ResourceID = SMS_R_System.ResourceID and SMS_WindowsServicingStates.Build = SMS_R_System.Build01 and SMS_WindowsServicingStates.Branch = SMS_R_System.OSBranch01 where SMS_WindowsServicingStates.State = 2`},
	{"27 compliance", `SELECT * FROM sms_r_system inner join SMS_UpdateComplianceStatus ON SMS_UpdateComplianceStatus.machineid=sms_r_system.resourceid WHERE SMS_UpdateComplianceStatus.LastEnforcementMessageID = 9`,
		`select * from SMS_R_System inner join SMS_UpdateComplianceStatus on SMS_UpdateComplianceStatus.ResourceID = SMS_R_System.ResourceID where SMS_UpdateComplianceStatus.LastEnforcementMessageID = 9`},
	{"27 co-management", `select * from SMS_R_System inner join SMS_Client_ComanagementState on SMS_Client_ComanagementState.ResourceId = SMS_R_System.ResourceId where SMS_Client_ComanagementState.ComgmtPolicyPresent = 1 AND SMS_Client_ComanagementState.MDMEnrolled = 1 AND MDMProvisioned = 1`,
		`select * from SMS_R_System inner join SMS_Client_ComanagementState on SMS_Client_ComanagementState.ResourceID = SMS_R_System.ResourceID where SMS_Client_ComanagementState.ComgmtPolicyPresent = 1 and SMS_Client_ComanagementState.MDMEnrolled = 1 and SMS_Client_ComanagementState.MDMProvisioned = 1`},
	{"27 two conditions and alias", `select * from SMS_R_System as SYS left outer join SMS_G_System_ADD_REMOVE_PROGRAMS as ARP on ARP.ResourceID = SYS.ResourceID and ARP.DisplayName like "%Agent%" where ARP.ResourceID is null`,
		`select * from SMS_R_System as SYS left join SMS_G_System_ADD_REMOVE_PROGRAMS as ARP on ARP.ResourceID = SYS.ResourceID and ARP.DisplayName like "%Agent%" where ARP.ResourceID is null`},
}

func TestKindsOfQueries(t *testing.T) {
	for _, k := range kinds {
		t.Run(strings.ReplaceAll(k.name, " ", "-"), func(t *testing.T) {
			q := parse(t, k.query)
			if got := q.String(); got != k.printed {
				t.Errorf("printed\n%s\nwant\n%s", got, k.printed)
			}
			again(t, q)
		})
	}
}

func parse(t testing.TB, query string) *wql.Query {
	t.Helper()
	q, err := wql.Parse(query, schema.Standard())
	if err != nil {
		t.Fatalf("parse %s: %v", query, err)
	}
	return q
}

// again parses what a query prints and compares the trees.
func again(t testing.TB, q *wql.Query) {
	t.Helper()
	printed := q.String()
	a, err := wql.Parse(printed, schema.Standard())
	if err != nil {
		t.Fatalf("%s\nprinted\n%s\nparse again: %v", q.Text, printed, err)
	}
	if text := a.String(); text != printed {
		t.Fatalf("%s\nprinted\n%s\nthen\n%s", q.Text, printed, text)
	}
	if x, y := bare(q), bare(a); !reflect.DeepEqual(x, y) {
		t.Fatalf("%s\nprinted\n%s\nis another tree", q.Text, printed)
	}
}

// bare copies a tree without places and texts.
func bare(q *wql.Query) *wql.Query { return strip(reflect.ValueOf(q)).Interface().(*wql.Query) }

var (
	placeType = reflect.TypeFor[wql.Pos]()
	classType = reflect.TypeFor[*schema.Class]()
)

func strip(v reflect.Value) reflect.Value {
	switch {
	case v.Type() == placeType:
		return reflect.Zero(placeType)
	case v.Type() == classType:
		return v
	}
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return v
		}
		inner := strip(v.Elem())
		if v.Kind() == reflect.Interface {
			out.Set(inner)
			return out
		}
		out.Set(reflect.New(v.Type().Elem()))
		out.Elem().Set(inner)
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(strip(v.Index(i)))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Text" || v.Type() != reflect.TypeFor[wql.Query]() {
				out.Field(i).Set(strip(v.Field(i)))
			}
		}
	default:
		return v
	}
	return out
}
