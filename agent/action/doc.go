// Package action is what a task does on this machine.
//
// A kind of task ([Description]) names its [Action], how often it may start, how
// long it may run, and whether others may run beside it. [Table] returns the
// kinds that this machine has, [Find] those that administrators added:
//
//	policy.machine        fetch the device's policy now
//	policy.user           fetch the policy of who is signed in, or of one of them
//	discovery.collect     find out what this machine is, and send it
//	inventory.hardware    processors, memory, disks, network cards, firmware
//	inventory.software    what is installed, from the package database
//	application.evaluate  check that packages are installed, in at least a version
//	scan.quick, scan.full look for malware in some folders, or everywhere
//	definitions.download  fetch what the scanner knows of malware
//	threat.exclude        leave paths out of scans
//	threat.allow          take a threat for none
//	threat.override       report, quarantine or remove what a threat is found in
//	threat.restore        put back what is in quarantine
//	update.evaluate       list the updates that are pending
//	update.install        install them, all or the named ones
//	health.attest         secure boot, TPM, disk encryption, firewall, the agent itself
//	restart               restart after a warning
//	wake                  wake machines of the same subnets
//	logs.collect          send the agent's logs, and files that policy allows
//	logs.verbose.on, .off log in detail for a while
//	command.NAME          an executable of the administrators
//
// An action is given its parameters as the JSON object that the site signed. It
// reads them strictly: a field that it does not know fails the task, for it may
// be the one that mattered. It ends when its context ends. It reports an [Outcome]
// and never panics on what it finds. What the machine has no way to do is
// not-applicable, with a sentence that says what is missing.
//
// # Programs
//
// Whatever is started is started in one way: a full path, looked for in the folders
// of the system and not by the agent's environment; fixed arguments, in which a
// task's words stand only where they cannot be options and after their form was
// checked; no shell; a clean environment; at most 64 KiB of output kept (4 MiB of
// lists of packages). When the context ends the program is killed with all that
// stayed in its group (Unix) or job (Windows), and what it leaves behind when it
// ends by itself is killed too, but for the services of packages that it installed.
// A process that leaves its group on purpose is not followed.
//
// # Facts
//
// What discovery, inventories, update.evaluate and health.attest find out are facts: a
// name and a value. Each of these is a topic, of which the agent sends what the site
// does not have as it is, and what is gone without a value; all of it once a week, and
// when it does not know what the site has. A list, such as the installed packages, is
// sent in parts that one package more or less changes little of. That somebody looked
// is always sent: inventory.discovery, inventory.hardware, inventory.software,
// updates.checked, health.checked.
//
// # Threats
//
// A scan is done by the machine's own scanner if there is one: ClamAV
// (clamdscan, clamscan) on Linux and macOS, Microsoft Defender (MpCmdRun.exe) on
// Windows. Without one the built-in scanner compares the SHA-256 of every regular file
// in the folders with the indicators of the task and of policy. It follows no
// symbolic link and reads no faster than its rate.
//
// What is excluded, allowed and overridden is kept in protection.json in
// [Config.State], and quarantined files in the folder quarantine beside it. These
// rules hold for the built-in scanner, whose threats are SHA-256, and for ClamAV,
// whose threats are names too: clamscan is told what to leave out; what clamd finds in
// excluded paths is not reported. ClamAV's own on-access scanner does not know the
// rules. With Defender names and paths go to Defender's own settings, by PowerShell,
// and it keeps its own quarantine; there a threat is a number.
//
// A finding is dealt with through the open file and the folder in which it lies, and
// only if it still is what was found: its SHA-256, or what ClamAV finds in that one
// file when asked again. Nothing is restored through a link.
//
// # Kinds of administrators
//
// NAME.json in the folder that [Find] is given makes the executable NAME beside it the kind
// command.NAME. The manifest is version 1:
//
//	version         1
//	about           for people
//	class           normal (default), intrusive or barrier
//	timeoutSeconds  how long it may run, default 3600, at most 86400; a task may say less
//	atLeastOnce     it may start again after a crash of the agent; not for a barrier
//	parameters      a schema of its parameters (package schema); without one there are none
//
// The folder, the manifest and the executable must belong to root, or to whoever runs
// the agent, and nobody else may write them; no part of the folder's path and none of the
// two files is a link. All that is checked on the open files each time, and on Linux
// the file that was checked is the one that runs, as /proc/self/fd/3: a script does not
// find its neighbours by its own name, BUGLE_KINDS names the folder. BUGLE_KIND
// and BUGLE_OPERATION say what it runs for. The parameters come as one JSON object on
// standard input. Code 0 is succeeded, 77 not-applicable, any other failed; what it
// writes is the detail, cut to what a result holds. On Windows the rights of the
// folder are the only lock.
//
// # Deadlines
//
// The agent looks at the site's time before it runs an action, and once more right
// before the first program of the task starts ([Begin]): a busy machine may hold it
// up in between. What a task starts after that is its own affair.
package action
