package console

import (
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/schema"
)

// kinds is the table of what can be pushed. Adding a kind is one entry here and
// one action on the agent.
//
// Why each is delivered as it is:
//
//   - scans go over the channel only, as in the original: a scan is asked for
//     because of something that is known now, and many that come back together
//     must not all begin to scan.
//   - what protects (definitions, threat.*) and what a device has to reach once, however late
//     (application.evaluate, update.*) stands in policy too.
//   - policy.* asks for the policy: standing in it would say nothing.
//   - discovery, inventory and health answer a question that was asked now. A
//     device that returns much later is asked again by its own schedule; deliver-by
//     of any length asks those that are away.
//   - restart: weeks later nobody would expect it.
//   - wake goes to neighbours that are awake; a later packet helps nobody.
//   - logs.*: whoever looks for a fault looks now.
var kinds = map[string]*kind{
	"policy.machine": channel(5*time.Minute, 1, 8, "fetch the machine's policy now", none),
	"policy.user":    channel(5*time.Minute, 1, 9, "fetch the policy of the people who are signed in, or of one", userParams),

	"scan.quick":           channel(time.Hour, 1, 2, "look for malware in the usual places", scanParams),
	"scan.full":            channel(24*time.Hour, 2, 1, "look for malware everywhere", scanParams),
	"definitions.download": policy(30*time.Minute, 1, 3, "fetch the newest definitions of malware", none),
	"threat.exclude":       policy(5*time.Minute, 1, 5, "leave folders or files out of scans, or look at them again", excludeParams),
	"threat.allow":         policy(5*time.Minute, 1, 0, "take a threat for harmless, or no longer", allowParams),
	"threat.override":      policy(5*time.Minute, 1, 6, "say what is done with a threat when it is found", overrideParams),
	"threat.restore":       policy(15*time.Minute, 1, 7, "put files back that were quarantined", restoreParams),

	"discovery.collect":  channel(5*time.Minute, 3, 10, "report facts about the machine", none),
	"inventory.hardware": channel(10*time.Minute, 3, 12, "report processors, memory, disks, network and firmware", none),
	"inventory.software": channel(15*time.Minute, 3, 11, "report what is installed", none),
	"health.attest":      channel(10*time.Minute, 3, 16, "report secure boot, TPM, disk encryption, firewall and the agent's own state", none),

	"application.evaluate": policy(15*time.Minute, 2, 13, "check that applications are installed, in at least a version", applicationParams),
	"update.evaluate":      policy(30*time.Minute, 2, 14, "report which updates the machine still needs", none),
	"update.install":       intrusive(policy(time.Hour, 2, 0, "install updates, all or the named ones", updateParams)),

	"restart": barrier(channel(30*time.Minute, 2, 17, "restart the machine after a warning", restartParams)),
	"wake":    channel(2*time.Minute, 1, 150, "wake machines up by those of their neighbours that are online", none),

	"logs.collect":     channel(15*time.Minute, 3, 22, "fetch the agent's logs", collectParams),
	"logs.verbose.on":  channel(time.Minute, 1, 20, "let the agent log in detail for a while", verboseParams),
	"logs.verbose.off": channel(time.Minute, 1, 21, "let the agent log as usual", none),
}

func channel(timeout time.Duration, priority uint8, product int, about string, params *schema.Schema) *kind {
	return &kind{class: "normal", contract: onChannel, timeout: timeout, priority: priority, product: product,
		about: about, params: params, deliverBy: defaultDeliverBy}
}

func policy(timeout time.Duration, priority uint8, product int, about string, params *schema.Schema) *kind {
	k := channel(timeout, priority, product, about, params)
	k.contract, k.deliverBy = inPolicy, durableDeliverBy
	return k
}

// intrusive kinds obey the maintenance windows of their devices.
func intrusive(k *kind) *kind { k.class = "intrusive"; return k }

// barrier kinds do too, and run alone and last.
func barrier(k *kind) *kind { k.class = "barrier"; return k }
