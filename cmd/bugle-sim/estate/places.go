package estate

import "github.com/bugle-fleet/bugle/projectors/collection/schema"

// The classes, short.
const (
	system      = schema.System
	os          = "SMS_G_System_OPERATING_SYSTEM"
	computer    = "SMS_G_System_COMPUTER_SYSTEM"
	model       = "SMS_G_System_COMPUTER_SYSTEM_PRODUCT"
	enclosure   = "SMS_G_System_SYSTEM_ENCLOSURE"
	volume      = "SMS_G_System_LOGICAL_DISK"
	disk        = "SMS_G_System_DISK"
	tpm         = "SMS_G_System_TPM"
	firmware    = "SMS_G_System_FIRMWARE"
	encryptable = "SMS_G_System_ENCRYPTABLE_VOLUME"
	memory      = "SMS_G_System_X86_PC_MEMORY"
	processor   = "SMS_G_System_PROCESSOR"
	bios        = "SMS_G_System_PC_BIOS"
	health      = "SMS_G_System_CH_ClientSummary"
	hardware    = "SMS_G_System_WORKSTATION_STATUS"
	programs    = "SMS_G_System_ADD_REMOVE_PROGRAMS"
	programs64  = "SMS_G_System_ADD_REMOVE_PROGRAMS_64"
	servicing   = "SMS_WindowsServicingStates"
	management  = "SMS_Client_ComanagementState"
	compliance  = "SMS_UpdateComplianceStatus"
)

// properties are those that devices have.
var properties = []struct{ class, property string }{
	{system, "Name"}, {system, "NetbiosName"}, {system, "Client"}, {system, "ClientVersion"}, {system, "Active"}, {system, "Obsolete"},
	{system, "ADSiteName"}, {system, "ResourceDomainORWorkgroup"}, {system, "OperatingSystemNameandVersion"}, {system, "Build"},
	{system, "SystemOUName"}, {system, "SystemGroupName"}, {system, "IPSubnets"}, {system, "IPAddresses"},
	{system, "LastLogonUserName"}, {system, "CreationDate"}, {system, "LastLogonTimestamp"}, {system, "IsVirtualMachine"},
	{os, "Caption"}, {os, "BuildNumber"}, {os, "LastBootUpTime"},
	{computer, "Manufacturer"}, {computer, "Model"}, {computer, "Domain"},
	{model, "Version"}, {enclosure, "Tag"}, {enclosure, "ChassisTypes"}, {enclosure, "SerialNumber"},
	{volume, "DeviceID"}, {volume, "FreeSpace"}, {volume, "Size"}, {disk, "DeviceID"}, {disk, "Status"},
	{tpm, "SpecVersion"}, {firmware, "UEFI"}, {firmware, "SecureBoot"}, {encryptable, "DeviceID"}, {encryptable, "DriveLetter"}, {encryptable, "ProtectionStatus"},
	{memory, "TotalPhysicalMemory"}, {processor, "DeviceID"}, {processor, "Name"}, {bios, "SMBIOSBIOSVersion"},
	{health, "ClientActiveStatus"}, {hardware, "LastHardwareScan"},
	{servicing, "Branch"}, {servicing, "State"}, {management, "ComgmtPolicyPresent"},
	{compliance, "CI_ID"}, {compliance, "Status"},
	{programs, "ProdID"}, {programs, "DisplayName"}, {programs, "Publisher"}, {programs, "Version"},
	{programs64, "ProdID"}, {programs64, "DisplayName"}, {programs64, "Publisher"}, {programs64, "Version"},
}

// An editor changes a record that nobody else has yet.
type editor struct {
	e *Estate
	r *schema.Record
}

// rows returns those of a class, to be changed.
func (d editor) rows(class string) *[]schema.Row {
	c, ok := d.e.schema.Class(class)
	if !ok {
		panic("class " + class + " was resolved before")
	}
	at := 0
	for at < len(d.r.Classes) && d.r.Classes[at].Class < c.Index {
		at++
	}
	if at == len(d.r.Classes) || d.r.Classes[at].Class != c.Index {
		d.r.Classes = append(d.r.Classes, schema.ClassRows{})
		copy(d.r.Classes[at+1:], d.r.Classes[at:])
		d.r.Classes[at] = schema.ClassRows{Class: c.Index}
	}
	return &d.r.Classes[at].Rows
}

// clear takes all rows of a class away.
func (d editor) clear(class string) { *d.rows(class) = nil }

// An entry is a property and its value.
type entry struct {
	property string
	value    schema.Value
}

// row makes a row of a class.
func (d editor) row(class string, entries ...entry) schema.Row {
	var row schema.Row
	for _, x := range entries {
		row = d.put(row, class, x)
	}
	return row
}

func (d editor) put(row schema.Row, class string, x entry) schema.Row {
	p, ok := d.e.places[class+"."+x.property]
	if !ok {
		panic("property " + class + "." + x.property + " is not in the list")
	}
	for len(row) <= p.property {
		row = append(row, schema.Value{})
	}
	row[p.property] = x.value
	return row
}

// set changes properties of a class that has one row.
func (d editor) set(class string, entries ...entry) {
	rows := d.rows(class)
	if len(*rows) == 0 {
		*rows = []schema.Row{nil}
	}
	for _, x := range entries {
		(*rows)[0] = d.put((*rows)[0], class, x)
	}
}

// add adds a row.
func (d editor) add(class string, entries ...entry) {
	rows := d.rows(class)
	*rows = append(*rows, d.row(class, entries...))
}

func textOf(property, s string) entry {
	return entry{property, schema.Value{Set: true, Text: s}}
}

func numberOf(property string, n int64) entry {
	return entry{property, schema.Value{Set: true, Number: n}}
}

func boolOf(property string, b bool) entry {
	if b {
		return numberOf(property, 1)
	}
	return numberOf(property, 0)
}

func listOf(property string, texts ...string) entry {
	return entry{property, schema.Value{Set: len(texts) > 0, List: texts}}
}
