// Package action is what a task does on this machine.
//
// A kind of task ([Description]) names its [Action], how often it may start, how
// long it may run, and whether others may run beside it. [Table] returns the
// kinds that this machine has:
//
//	policy.machine     fetch the device's policy now
//	discovery.collect  find out what this machine is, and send it
//	scan.quick         look for malware in the folders that policy names
//	scan.full          look for malware everywhere
//
// An action is given its parameters as the JSON object that the site signed. It
// reads them strictly: a field that it does not know fails the task, for it may
// be the one that mattered. It ends when its context ends, and leaves no process
// behind. It reports an [Outcome] and never panics on what it finds.
//
// # Scanners
//
// A scan is done by the machine's own scanner if there is one: ClamAV
// (clamdscan, clamscan) on Linux and macOS, Microsoft Defender (MpCmdRun.exe) on
// Windows. The command line is fixed by the kind and the configuration, no shell
// reads it, and nothing of a task gets into it. Without a scanner the built-in
// one compares the SHA-256 of every regular file in the folders with the
// indicators of the task and of policy. It follows no symbolic link and reads no
// faster than its rate.
package action
