package schema

// tables are the classes of the standard schema. Places are kept in memory only, so
// the order may change from one version to the next; System stays the first.
var tables = []table{
	{System, "", `
		Name NetbiosName Active# ADSiteName AADDeviceID AADTenantID AgentName[] AgentSite[] AlwaysInternet#
		Build Build01 BuildExt Client# ClientEdition# ClientType# ClientVersion CPUType CreationDate@
		Decommissioned# DeviceOwner# DistinguishedName FullDomainName HardwareID InternetEnabled#
		IPAddresses[] IPSubnets[] IPv6Addresses[] IPv6Prefixes[] IsAOACCapable? IsAssignedToUser?
		IsMachineChangesPersisted? IsPortableOperatingSystem? IsVirtualMachine? IsWriteFilterCapable?
		LastLogonTimestamp@ LastLogonUserDomain LastLogonUserName MACAddresses[] ManagementAuthority
		MDMComplianceStatus# ObjectGUID Obsolete# OperatingSystem OperatingSystemNameandVersion
		OperatingSystemServicePack OperatingSystemVersion OSBranch# OSBranch01
		PreviousSMSUUID PrimaryGroupID# ResourceDomainORWorkgroup ResourceNames[] ResourceType#
		SecurityGroupName[] SerialNumber SID SMBIOSGUID SMSAssignedSites[] SMSInstalledSites[]
		SMSResidentSites[] SMSUniqueIdentifier SMSUUIDChangeDate@ SNMPCommunityName
		SystemContainerName[] SystemGroupName[] SystemOUName[] SystemRoles[] Unknown#
		UserAccountControl# VirtualMachineHostName VirtualMachineType# WipeStatus# WTGUniqueKey`},

	// Operating system.
	{"SMS_G_System_OPERATING_SYSTEM", "", `
		BootDevice BuildNumber BuildType Caption CodeSet CountryCode CSDVersion CurrentTimeZone# Description
		Distributed? FreePhysicalMemory# FreeVirtualMemory# InstallDate@ LastBootUpTime@ Locale Manufacturer
		MaxNumberOfProcesses# Name NumberOfLicensedUsers# NumberOfUsers# OperatingSystemSKU# Organization
		OSArchitecture OSLanguage# OSProductSuite# OSType# ProductType# RegisteredUser SerialNumber
		ServicePackMajorVersion# ServicePackMinorVersion# Status SystemDirectory SystemDrive
		TotalSwapSpaceSize# TotalVirtualMemorySize# TotalVisibleMemorySize# Version WindowsDirectory`},
	{"SMS_G_System_WORKSTATION_STATUS", "", `
		DefaultLocaleID# LastHardwareScan@ LastReportVersion# TimezoneOffset#`},
	{"SMS_G_System_LastSoftwareScan", "", `
		LastCollectedFileScanDate@ LastScanDate@`},
	{"SMS_G_System_SYSTEM", "", `
		Domain Name SMSID SystemRole SystemType UserName`},
	{"SMS_G_System_QUICK_FIX_ENGINEERING", "", `
		*HotFixID Caption CSName Description FixComments InstallDate@ InstalledBy InstalledOn Name
		ServicePackInEffect Status`},
	{"SMS_G_System_SERVICE", "", `
		*Name Caption Description DisplayName ErrorControl ExitCode# PathName ProcessId# ServiceType Started?
		StartMode StartName State Status`},
	{"SMS_G_System_WINDOWSUPDATEAGENTVERSION", "", `Version`},
	{"SMS_G_System_OPTIONAL_FEATURE", "", `*Name Caption InstallState#`},
	{"SMS_G_System_SERVER_FEATURE", "", `*ID Name ParentID#`},
	{"SMS_G_System_SHARE", "", `*Name AllowMaximum? Caption Description Path Status Type#`},
	{"SMS_G_System_TIME_ZONE", "", `*StandardName Bias# Caption DaylightName Description`},
	{"SMS_G_System_ENVIRONMENT", "", `*Name *UserName Caption Description SystemVariable? VariableValue`},

	// The machine.
	{"SMS_G_System_COMPUTER_SYSTEM", "", `
		CurrentTimeZone# Description DNSHostName Domain DomainRole# HypervisorPresent? Manufacturer Model Name
		NumberOfLogicalProcessors# NumberOfProcessors# PartOfDomain? PCSystemType# PrimaryOwnerName Roles
		Status SystemFamily SystemSKUNumber SystemType TotalPhysicalMemory# UserName Workgroup`},
	{"SMS_G_System_COMPUTER_SYSTEM_PRODUCT", "", `
		Caption Description IdentifyingNumber Name SKUNumber UUID Vendor Version`},
	{"SMS_G_System_SYSTEM_ENCLOSURE", "", `
		*Tag ChassisTypes Caption Description LockPresent? Manufacturer Model Name PartNumber SerialNumber SKU
		SMBIOSAssetTag Version`},
	{"SMS_G_System_BASEBOARD", "", `
		*Tag Manufacturer Model Name Product SerialNumber Version`},
	{"SMS_G_System_PC_BIOS", "", `
		BIOSVersion BuildNumber Caption Description EmbeddedControllerMajorVersion#
		EmbeddedControllerMinorVersion# Manufacturer Name ReleaseDate@ SerialNumber SMBIOSBIOSVersion
		SMBIOSMajorVersion# SMBIOSMinorVersion# SMBIOSPresent? SoftwareElementID Version`},
	{"SMS_G_System_FIRMWARE", "", `SecureBoot# UEFI# BIOSMode`},
	{"SMS_G_System_TPM", "", `
		IsActivated_InitialValue# IsEnabled_InitialValue# IsOwned_InitialValue# ManufacturerId#
		ManufacturerIdTxt ManufacturerVersion ManufacturerVersionFull20 ManufacturerVersionInfo
		PhysicalPresenceVersionInfo SpecVersion`},
	{"SMS_G_System_TPM_STATUS", "", `IsApplicable# IsReady# Information#`},
	{"SMS_G_System_PROCESSOR", "", `
		*DeviceID AddressWidth# Architecture# Caption CPUHash CPUKey CurrentClockSpeed# DataWidth# Description
		Family# Is64Bit# IsHyperthreadCapable# IsHyperthreadEnabled# IsMobile# IsMulticore# IsTrustedExecutionCapable# IsVitualizationCapable# Manufacturer
		MaxClockSpeed# Name NormSpeed# NumberOfCores# NumberOfLogicalProcessors# PCache# ProcessorId
		ProcessorType# Revision# SocketDesignation Status SystemName Version`},
	{"SMS_G_System_X86_PC_MEMORY", "", `
		AvailableVirtualMemory# TotalPageFileSpace# TotalPhysicalMemory# TotalVirtualMemory#`},
	{"SMS_G_System_PHYSICAL_MEMORY", "", `
		*Tag *CreationClassName BankLabel Capacity# Caption DeviceLocator FormFactor# Manufacturer MemoryType#
		PartNumber SerialNumber Speed#`},
	{"SMS_G_System_BATTERY", "", `
		*DeviceID BatteryStatus# Caption Chemistry# DesignVoltage# EstimatedChargeRemaining# Name Status`},
	{"SMS_G_System_VIDEO_CONTROLLER", "", `
		*DeviceID AdapterCompatibility AdapterRAM# AdapterDACType Caption CurrentBitsPerPixel#
		CurrentHorizontalResolution# CurrentRefreshRate# CurrentVerticalResolution# Description DriverDate@
		DriverVersion InstalledDisplayDrivers Name VideoModeDescription VideoProcessor`},
	{"SMS_G_System_DESKTOP_MONITOR", "", `
		*DeviceID Caption Description MonitorManufacturer MonitorType Name ScreenHeight# ScreenWidth#`},
	{"SMS_G_System_SOUND_DEVICE", "", `*DeviceID Caption Manufacturer Name ProductName Status`},
	{"SMS_G_System_USB_DEVICE", "", `*DeviceID Caption Description Manufacturer Name Service Status`},
	{"SMS_G_System_PNP_DEVICE_DRIVER", "", `*DeviceID ClassGuid ConfigManagerErrorCode# Name Status`},
	{"SMS_G_System_PRINTER_DEVICE", "", `*DeviceID Caption DriverName Location Name PortName ShareName Status`},
	{"SMS_G_System_VIRTUAL_MACHINE", "", `
		InstanceKey PhysicalHostName PhysicalHostNameFullyQualified`},

	// Disks.
	{"SMS_G_System_LOGICAL_DISK", "", `
		*DeviceID Access# Availability# Caption Compressed? Description DriveType# FileSystem FreeSpace# Name
		Size# Status SystemName VolumeName VolumeSerialNumber`},
	{"SMS_G_System_DISK", "", `
		*DeviceID Caption Description Index# InterfaceType Manufacturer MediaType Model Name Partitions#
		SCSIBus# SCSILogicalUnit# SCSIPort# SCSITargetId# SerialNumber Size# Status SystemName`},
	{"SMS_G_System_PARTITION", "", `
		*DeviceID BlockSize# Bootable? BootPartition? Caption Description Name PrimaryPartition? Size# Type`},
	{"SMS_G_System_ENCRYPTABLE_VOLUME", "", `
		*DeviceID DriveLetter PersistentVolumeID ProtectionStatus#`},
	{"SMS_G_System_BITLOCKER_DETAILS", "", `
		*DeviceId BitlockerPersistentVolumeId Compliant# ConversionStatus# DriveLetter EncryptionMethod#
		EnforcePolicyDate@ IsAutoUnlockEnabled# KeyProtectorTypes MbamPolicyEnforced# MbamVolumeType#
		ProtectionStatus# ReasonsForNonCompliance`},

	// Network.
	{"SMS_G_System_NETWORK_ADAPTER", "", `
		*DeviceID AdapterType Description MACAddress Manufacturer Name NetConnectionID NetConnectionStatus#
		PhysicalAdapter? ProductName ServiceName Speed# Status`},
	{"SMS_G_System_NETWORK_ADAPTER_CONFIGURATION", "", `
		*Index# DatabasePath DefaultIPGateway Description DHCPEnabled? DHCPServer DNSDomain DNSHostName
		DNSServerSearchOrder IPAddress IPEnabled? IPSubnet MACAddress ServiceName WINSPrimaryServer`},
	{"SMS_G_System_NETWORK_CLIENT", "", `*Name Caption Description Manufacturer Status`},
	{"SMS_G_System_PROTOCOL", "", `*Name Caption Description Status`},

	// Software.
	{"SMS_G_System_ADD_REMOVE_PROGRAMS", "", `*ProdID DisplayName InstallDate Publisher Version`},
	{"SMS_G_System_ADD_REMOVE_PROGRAMS_64", "", `*ProdID DisplayName InstallDate Publisher Version`},
	{"SMS_G_System_INSTALLED_SOFTWARE", "", `
		*SoftwareCode ARPDisplayName ChannelCode EvidenceSource InstallDate@ InstalledLocation InstallSource
		InstallType# Language# LocalPackage MPC OsComponent# PackageCode ProductID ProductName ProductVersion
		Publisher RegisteredUser ServicePack SoftwarePropertiesHash UninstallString UpgradeCode VersionMajor#
		VersionMinor#`},
	{"SMS_G_System_SoftwareFile", "", `
		*FileName *FilePath CreationDate@ FileCount# FileDescription FileId# FileSize# FileVersion
		ModifiedDate@ ProductId#`},
	{"SMS_G_System_SoftwareProduct", "", `*ProductName *ProductVersion CompanyName ProductID# ProductLanguage#`},
	{"SMS_G_System_CCM_RECENTLY_USED_APPS", "", `
		*ExplorerFileName *FolderPath *LastUserName AdditionalProductCodes CompanyName FileDescription FileSize#
		FileVersion LastUsedTime@ LaunchCount# msiDisplayName msiPublisher msiVersion OriginalFileName
		ProductLanguage# ProductName ProductVersion SoftwarePropertiesHash`},
	{"SMS_G_System_AUTOSTART_SOFTWARE", "", `
		*FileName *StartupType Description FileVersion Location Product ProductVersion Publisher StartupValue`},
	{"SMS_G_System_BROWSER_USAGE", "", `*BrowserName UsagePercentage#`},
	{"SMS_G_System_OFFICE365PROPLUSCONFIGURATIONS", "", `
		AutoUpgrade CCMManaged cfgUpdateChannel CDNBaseUrl ClientCulture ClientFolder InstallationPath
		LastScenario LastScenarioResult OfficeMgmtCOM Platform SharedComputerLicensing UpdateChannel
		UpdatePath UpdatesEnabled UpdateUrl VersionToReport`},

	// Users of the machine.
	{"SMS_G_System_SYSTEM_CONSOLE_USAGE", "", `
		SecurityLogStartDate@ TopConsoleUser TotalConsoleTime# TotalConsoleUsers# TotalSecurityLogTime#`},
	{"SMS_G_System_SYSTEM_CONSOLE_USER", "", `
		*SystemConsoleUser LastConsoleUse@ NumberOfConsoleLogons# TotalUserConsoleMinutes#`},

	// The client and what is known of it.
	{"SMS_G_System_CH_ClientSummary", "", `
		ClientActiveStatus# ClientState# ClientStateDescription ClientRemediationSuccess# IsActiveDDR#
		IsActiveHW# IsActivePolicyRequest# IsActiveStatusMessages# IsActiveSW# LastActiveTime@ LastDDR@
		LastEvaluationHealthy# LastHealthEvaluation@ LastHealthEvaluationResult# LastHW@ LastMPServerName
		LastOnline@ LastPolicyRequest@ LastStatusMessage@ LastSW@`},
	{"SMS_G_System_SMS_ADVANCED_CLIENT_STATE", "", `*Name DisplayName Version`},
	{"SMS_G_System_ADVANCED_CLIENT_PORTS", "", `InstanceKey HttpsPortName PortName`},
	{"SMS_G_System_DCMDeploymentState", "", `
		*BaselineID AssignmentID# BaselineContentVersion# BaselineName BaselinePolicyModelID CollectionID ComplianceState#
		CountNoncompliant# IsApplicable# LastComplianceMessageTime@ MaxNoncomplianceCriticality#`},
	{"SMS_G_System_CI_ComplianceState", "", `
		*CI_ID# AppliesStatus# CI_UniqueID ComplianceState# ComplianceStateName ComplianceStatusDetails IsApplicable#
		IsDetected# IsEnforced# LocalizedDisplayName`},
	{"SMS_G_System_AppClientState", "", `
		*AppName *AppId AppEnforcementState# ComplianceState# DeploymentType`},
	{"SMS_G_System_AntimalwareHealthStatus", "", `
		AntispywareEnabled? AntispywareSignatureAge# AntispywareSignatureVersion AntivirusEnabled?
		AntivirusSignatureAge# AntivirusSignatureUpdateDateTime@ AntivirusSignatureVersion
		BehaviorMonitorEnabled? Enabled? EngineVersion LastFullScanDateTimeEnd@ LastQuickScanDateTimeEnd@
		ProductStatus# RealTimeProtectionEnabled? Version`},
	{"SMS_G_System_EndpointProtectionStatus", "", `
		DefinitionAge# DeploymentState# EpEnabled# EpInstalled# PendingReboot# PolicyName Unhealthy#`},
	{"SMS_UpdateComplianceStatus", "MachineID", `
		*CI_ID# LastEnforcementMessageID# LastEnforcementMessageTime@ LastErrorCode# LastStatusChangeTime@
		LastStatusCheckTime@ Status#`},
	{"SMS_WindowsServicingStates", implied, `*Branch *Build Name State#`},
	{"SMS_Client_ComanagementState", "MachineID", `
		Authority ComgmtPolicyPresent# EnrollmentErrorDetail EnrollmentStatusCode# HybridAADJoined#
		MDMEnrolled# MDMProvisioned# MDMWorkloads# AADJoined# WorkloadFlags#`},
}
