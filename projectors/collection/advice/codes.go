package advice

import "slices"

// The codes, as the package's documentation lists them.
const (
	sameMinute    = "A101"
	beforeParent  = "A102"
	deepTooOften  = "A103"
	staleParent   = "A104"
	longCycle     = "A105"
	tooMany       = "A106"
	unused        = "A107"
	noMoreTurns   = "A108"
	outsideLimit  = "A201"
	removesNobody = "A202"
	addsNobody    = "A203"
	emptyLimit    = "A204"
	tooDeep       = "A205"
	missing       = "A206"
	cannot        = "A207"
	sameAs        = "A208"
	someOther     = "A301"
	orBesideJoin  = "A302"
	textOrder     = "A303"
	wildcard      = "A304"
	sameRule      = "A305"
	never         = "A306"
	absent        = "A307"
	tooShort      = "A401"
	disabled      = "A402"
	over          = "A403"
)

// A kind of advice: how much it matters, why, and what to do about it. Remedies
// that depend on the case are said there.
type kind struct {
	severity    Severity
	why, remedy string
}

var codes = map[string]kind{
	sameMinute: {Note, "One cycle evaluates all of them, and whatever comes due meanwhile waits until it has ended.",
		"Stagger their schedules, limiting collections first."},
	beforeParent: {Warning, "It is evaluated from members that are as old as they can be, and once more when the other one is.",
		"Evaluate it after what it depends on."},
	deepTooOften: {Note, "A full evaluation takes all that the collection limits with it, down to the last level.",
		"Evaluate it incrementally, and in full less often."},
	staleParent: {Warning, "However often it is evaluated, whoever is missing in that one is missing here, and whoever left stays.",
		"Give that one a schedule or evaluate it incrementally."},
	longCycle: {Warning, "What comes due while a cycle runs waits; members are older than the schedule promises.",
		"Evaluate it less often, or incrementally."},
	tooMany: {Warning, "Cycles overrun, and members follow changes of devices later and later.",
		"Turn incremental evaluation off where nobody needs it."},
	unused: {Note, "Each incremental cycle asks its rules for each device that changed, and nobody needs the answer at once.",
		"Turn incremental evaluation off and give it a schedule."},
	noMoreTurns: {Warning, "It is evaluated only when another collection takes it along, which is not what its definition says.",
		"Give it a schedule that comes again."},
	outsideLimit: {Note, "They do not count as members until they enter the limiting collection.",
		"Take them out of the rules, or choose a wider limiting collection."},
	removesNobody: {Note, "The rule costs evaluations and hides what the collection is made of.",
		"Take the rule away, unless it is meant for later."},
	addsNobody: {Note, "The rule costs evaluations and hides what the collection is made of.",
		"Take the rule away, unless it is meant for later."},
	emptyLimit: {Warning, "A limiting collection without members leaves everything below it empty, whatever its rules are.",
		"See why it has no members, or limit the others to another one."},
	tooDeep: {Note, "A change at the top goes through all levels, and nobody sees at a glance who is a member and why.",
		"Limit a collection on the way to one nearer to All Systems."},
	missing: {Warning, "It cannot be evaluated and keeps the members that it had.",
		"Take the reference away, or name a collection that is there."},
	cannot: {Warning, "It keeps the members that it had, whatever happens to devices.",
		"Correct the definition."},
	sameAs: {Note, "Each is evaluated, and a change of one is easily forgotten in the other.",
		"Keep one, and let whatever uses the others use it."},
	someOther: {Warning, "One row is enough: almost every device has another product, another disk, another value, and is selected.",
		"Ask for devices that have no such row or value."},
	orBesideJoin: {Warning, "An inner join drops devices without such a row before the condition is asked, also those for which the other side of or holds.",
		"Join it with left join."},
	textOrder: {Warning, "Texts are compared character by character: \"9600\" is above \"19045\", and \"10.2\" above \"10.10\".",
		"Compare by patterns that know the number of digits."},
	wildcard: {Note, "An underscore stands for any one character; the pattern selects more than it seems to.",
		"Write [_] for an underscore."},
	sameRule: {Note, "The second one adds nobody.",
		"Take one of them away."},
	never: {Warning, "No device can ever be selected by it.",
		"Correct the conditions: or may have been meant."},
	absent: {Note, "A value that no device has may be a slip of the pen, or what was meant is gone.",
		"Compare it with what devices report."},
	tooShort: {Warning, "Work only begins if what is left of a window is more than its longest run time and 5 minutes for a restart.",
		"Open it for longer."},
	disabled: {Note, "It counts for nobody; its devices may be interrupted at any time if they have no other window.",
		"Turn it on, or delete it."},
	over: {Warning, "It never opens again; work for devices that have no other window of its kind never begins.",
		"Give it a recurrence or a later start, or delete it."},
}

// Codes returns the codes of all advice, rising.
func Codes() []string {
	all := make([]string, 0, len(codes))
	for c := range codes {
		all = append(all, c)
	}
	slices.Sort(all)
	return all
}
