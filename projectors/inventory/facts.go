package inventory

import (
	"strconv"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// A target is where a fact goes: a property of a class, and how its text is read.
type target struct {
	class    string
	property string
	read     reading
}

// A reading makes a value of a fact's text; seen is when the fact was, in Unix
// nanoseconds. What cannot be read is no value.
type reading func(text string, seen int64) event.Value

// targets is the table of the facts that agents report and the classes that these
// are: # stands for the place of a thing of which a machine has several, each a row.
// Facts that are not in it are known of a device, and are not in its inventory.
var targets = map[string][]target{
	"agent.version": {{systemClass, "ClientVersion", text}},

	"host.name":   {{"SMS_G_System_COMPUTER_SYSTEM", "Name", text}},
	"host.booted": {{osClass, "LastBootUpTime", date}},
	"os.platform": {{osClass, "Caption", text}},
	"os.version": {{osClass, "Version", text}, {osClass, "BuildNumber", numberOf(2)},
		{systemClass, "Build", firstNumbers(3)}, {systemClass, "BuildExt", firstNumbers(4)}},
	"os.arch": {{"SMS_G_System_COMPUTER_SYSTEM", "SystemType", systemType}, {"SMS_G_System_SYSTEM", "SystemType", systemType}},

	"cpu.model":   {{"SMS_G_System_PROCESSOR", "Name", text}},
	"cpu.vendor":  {{"SMS_G_System_PROCESSOR", "Manufacturer", text}},
	"cpu.mhz":     {{"SMS_G_System_PROCESSOR", "MaxClockSpeed", number}},
	"cpu.cores":   {{"SMS_G_System_PROCESSOR", "NumberOfCores", number}},
	"cpu.threads": {{"SMS_G_System_PROCESSOR", "NumberOfLogicalProcessors", number}, {"SMS_G_System_COMPUTER_SYSTEM", "NumberOfLogicalProcessors", number}},

	"memory.bytes": {{"SMS_G_System_X86_PC_MEMORY", "TotalPhysicalMemory", divided(1 << 10)},
		{"SMS_G_System_COMPUTER_SYSTEM", "TotalPhysicalMemory", divided(1 << 10)}, {osClass, "TotalVisibleMemorySize", divided(1 << 10)}},
	"memory.swap": {{osClass, "TotalSwapSpaceSize", divided(1 << 10)}},

	"system.vendor": {{"SMS_G_System_COMPUTER_SYSTEM", "Manufacturer", text}, {"SMS_G_System_COMPUTER_SYSTEM_PRODUCT", "Vendor", text}},
	"system.model":  {{"SMS_G_System_COMPUTER_SYSTEM", "Model", text}, {"SMS_G_System_COMPUTER_SYSTEM_PRODUCT", "Name", text}},
	"system.serial": {{systemClass, "SerialNumber", text}, {"SMS_G_System_PC_BIOS", "SerialNumber", text},
		{"SMS_G_System_SYSTEM_ENCLOSURE", "SerialNumber", text}, {"SMS_G_System_COMPUTER_SYSTEM_PRODUCT", "IdentifyingNumber", text}},
	"system.uuid":  {{systemClass, "SMBIOSGUID", upper}, {"SMS_G_System_COMPUTER_SYSTEM_PRODUCT", "UUID", upper}},
	"bios.vendor":  {{"SMS_G_System_PC_BIOS", "Manufacturer", text}},
	"bios.version": {{"SMS_G_System_PC_BIOS", "SMBIOSBIOSVersion", text}},
	"bios.date":    {{"SMS_G_System_PC_BIOS", "ReleaseDate", date}},
	"board.vendor": {{"SMS_G_System_BASEBOARD", "Manufacturer", text}},
	"board.model":  {{"SMS_G_System_BASEBOARD", "Product", text}},
	"chassis.type": {{"SMS_G_System_SYSTEM_ENCLOSURE", "ChassisTypes", text}},

	"health.secureboot": {{"SMS_G_System_FIRMWARE", "SecureBoot", isOn}},

	"disk.#.mount": {{"SMS_G_System_LOGICAL_DISK", "DeviceID", text}},
	"disk.#.type":  {{"SMS_G_System_LOGICAL_DISK", "FileSystem", text}},
	"disk.#.bytes": {{"SMS_G_System_LOGICAL_DISK", "Size", divided(1 << 20)}},
	"disk.#.free":  {{"SMS_G_System_LOGICAL_DISK", "FreeSpace", divided(1 << 20)}},

	"net.#.name":      {{networkClass, "Description", text}},
	"net.#.mac":       {{networkClass, "MACAddress", upper}},
	"net.#.addresses": {{networkClass, "IPAddress", addresses}},
	"net.#.subnets":   {{networkClass, "IPSubnet", addresses}},

	// What is the same as before is not reported again, but that somebody looked is.
	"inventory.discovery": {{"SMS_G_System_CH_ClientSummary", "LastDDR", whenSeen}},
	"inventory.hardware":  {{"SMS_G_System_WORKSTATION_STATUS", "LastHardwareScan", whenSeen}, {"SMS_G_System_CH_ClientSummary", "LastHW", whenSeen}},
	"inventory.software":  {{"SMS_G_System_LastSoftwareScan", "LastScanDate", whenSeen}, {"SMS_G_System_CH_ClientSummary", "LastSW", whenSeen}},
}

// rowKeys are the keys of rows of which no fact says them, by class.
var rowKeys = map[string]rowKey{
	"SMS_G_System_PROCESSOR":        {"DeviceID", func(string) event.Value { return textValue("CPU0") }},
	"SMS_G_System_BASEBOARD":        {"Tag", func(string) event.Value { return textValue("Base Board") }},
	"SMS_G_System_SYSTEM_ENCLOSURE": {"Tag", func(string) event.Value { return textValue("System Enclosure 0") }},
	networkClass:                    {"Index", slotNumber},
}

// A rowKey is a property, and what it is in the row of a slot.
type rowKey struct {
	property string
	of       func(slot string) event.Value
}

func slotNumber(slot string) event.Value {
	_, n, _ := strings.Cut(slot, ".")
	return number(n, 0)
}

// lists is the table of the lists that come in parts, such as software.000 with
// software.parts, and the class of which each line is a row.
var lists = map[string]listTarget{
	"software": {"SMS_G_System_ADD_REMOVE_PROGRAMS", []string{"DisplayName", "Version"}, "ProdID"},
}

// A listTarget is the class of a list, the properties that the fields of a line are,
// which tabulators part, and the key, which is the first field once more.
type listTarget struct {
	class  string
	fields []string
	key    string
}

// Classes of which others say something once more.
const (
	systemClass  = schema.System
	osClass      = "SMS_G_System_OPERATING_SYSTEM"
	networkClass = "SMS_G_System_NETWORK_ADAPTER_CONFIGURATION"
)

// Mapped tells whether a fact is in the inventory of the device that reports it.
func Mapped(fact string) bool {
	if _, _, ok := listOf(fact); ok {
		return true
	}
	found, _ := targetsOf(fact)
	return len(found) > 0
}

// targetsOf returns where a fact goes, and the slot of the row if its class can have
// several.
func targetsOf(fact string) (found []target, slot string) {
	kind, rest, _ := strings.Cut(fact, ".")
	if found = targets[fact]; found != nil {
		return found, kind
	}
	place, field, ok := strings.Cut(rest, ".")
	if !ok || !digits(place) {
		return nil, ""
	}
	return targets[kind+".#."+field], kind + "." + place
}

// listOf returns the list that a fact is a part of, and which: partCount is the one
// that says how many there are.
func listOf(fact string) (name string, part int, ok bool) {
	name, rest, _ := strings.Cut(fact, ".")
	if _, ok := lists[name]; !ok {
		return "", 0, false
	}
	if rest == "parts" {
		return name, partCount, true
	}
	if !digits(rest) || len(rest) < 3 {
		return "", 0, false
	}
	part, _ = strconv.Atoi(rest)
	return name, part, true
}

const partCount = -1

// digits tells whether s is a small number.
func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 4
}

func textValue(s string) event.Value {
	if s == "" {
		return event.Value{}
	}
	return event.Value{Type: event.TextValue, Text: s}
}

func text(s string, _ int64) event.Value { return textValue(s) }

func upper(s string, _ int64) event.Value { return textValue(strings.ToUpper(s)) }

func number(s string, _ int64) event.Value {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return event.Value{}
	}
	return event.Value{Type: event.NumberValue, Number: n}
}

// divided reads a number of bytes as one of larger units.
func divided(unit int64) reading {
	return func(s string, seen int64) event.Value {
		v := number(s, seen)
		v.Number /= unit
		return v
	}
}

func date(s string, _ int64) event.Value {
	ms, err := schema.ParseDate(s)
	if err != nil {
		return event.Value{}
	}
	return event.Value{Type: event.DateValue, Number: ms}
}

func isOn(s string, _ int64) event.Value {
	switch s {
	case "on":
		return numberValue(1)
	case "off", "no UEFI":
		return numberValue(0)
	}
	return event.Value{}
}

func whenSeen(s string, seen int64) event.Value {
	if s == "" {
		return event.Value{}
	}
	return event.Value{Type: event.DateValue, Number: time.Unix(0, seen).UnixMilli()}
}

// firstNumbers are the first n numbers of a version such as 10.0.22631.4317.
func firstNumbers(n int) reading {
	return func(s string, _ int64) event.Value {
		version, _, _ := strings.Cut(s, " ")
		parts := strings.Split(version, ".")
		return textValue(strings.Join(parts[:min(n, len(parts))], "."))
	}
}

// numberOf is one of the numbers of a version.
func numberOf(place int) reading {
	return func(s string, _ int64) event.Value {
		version, _, _ := strings.Cut(s, " ")
		if parts := strings.Split(version, "."); place < len(parts) {
			return textValue(parts[place])
		}
		return event.Value{}
	}
}

// systemType is an architecture in the words of Windows.
func systemType(arch string, _ int64) event.Value {
	switch arch {
	case "amd64":
		arch = "x64-based PC"
	case "386":
		arch = "X86-based PC"
	case "arm64":
		arch = "ARM64-based PC"
	}
	return textValue(arch)
}

func listValue(all []string) event.Value {
	if len(all) == 0 {
		return event.Value{}
	}
	return event.Value{Type: event.ListValue, List: all[:min(len(all), event.MaxList)]}
}

// addresses are texts that spaces part, without the lengths of their networks.
func addresses(s string, _ int64) event.Value {
	all := strings.Fields(s)
	for i := range all {
		all[i], _, _ = strings.Cut(all[i], "/")
	}
	return listValue(all)
}
