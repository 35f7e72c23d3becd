package event

// A Kind names what happened: "device.joined". Names never change their meaning.
type Kind string

const maxKindName = 64

// An Appender is the one component that may append a kind.
type Appender string

// The components that append. A listener never does: it drops files.
const (
	ByInbox     Appender = "inbox"     // what files say, and what it quarantined
	ByConsole   Appender = "console"   // what administrators do
	ByAuthority Appender = "authority" // devices, tokens, certificates, listeners
	BySite      Appender = "site"      // the site's clock and its own upkeep
	ByEvaluator Appender = "evaluator" // what collections became
)

// The kinds, each with its payload.
const (
	KindDeviceJoined         Kind = "device.joined"         // [DeviceJoined]
	KindDeviceDiscovered     Kind = "device.discovered"     // [DeviceDiscovered]
	KindDeviceBlocked        Kind = "device.blocked"        // [DeviceBlocked]
	KindDeviceUnblocked      Kind = "device.unblocked"      // [DeviceUnblocked]
	KindDevicesImported      Kind = "devices.imported"      // [DevicesImported]
	KindDeviceRemoved        Kind = "device.removed"        // [DeviceRemoved]
	KindClassesDefined       Kind = "classes.defined"       // [ClassesDefined]
	KindTokenCreated         Kind = "token.created"         // [TokenCreated]
	KindTokenRevoked         Kind = "token.revoked"         // [TokenRevoked]
	KindCertificateIssued    Kind = "certificate.issued"    // [CertificateIssued]
	KindKeysChanged          Kind = "keys.changed"          // [KeysChanged]
	KindListenerGranted      Kind = "listener.granted"      // [ListenerGranted]
	KindListenerRevoked      Kind = "listener.revoked"      // [ListenerRevoked]
	KindListenerStarted      Kind = "listener.started"      // [ListenerStarted]
	KindListenerStopped      Kind = "listener.stopped"      // [ListenerStopped]
	KindListenerLost         Kind = "listener.lost"         // [ListenerLost]
	KindPresenceSnapshot     Kind = "presence.snapshot"     // [PresenceSnapshot]
	KindPresenceDelta        Kind = "presence.delta"        // [PresenceDelta]
	KindResultsReported      Kind = "results.reported"      // [ResultsReported]
	KindOperationRequest     Kind = "operation.requested"   // [OperationRequested]
	KindOperationCancel      Kind = "operation.cancelled"   // [OperationCancelled]
	KindOperationExpired     Kind = "operation.expired"     // [OperationExpired]
	KindOperationClosed      Kind = "operation.closed"      // [OperationClosed]
	KindOperationReleased    Kind = "operation.released"    // [OperationReleased]
	KindOperationStopped     Kind = "operation.stopped"     // [OperationStopped]
	KindPolicyChanged        Kind = "policy.changed"        // [PolicyChanged]
	KindCollectionChanged    Kind = "collection.changed"    // [CollectionChanged]
	KindWindowChanged        Kind = "window.changed"        // [WindowChanged]
	KindEvaluationRequested  Kind = "evaluation.requested"  // [EvaluationRequested]
	KindCollectionsEvaluated Kind = "collections.evaluated" // [CollectionsEvaluated]
	KindFileQuarantined      Kind = "file.quarantined"      // [FileQuarantined]
	KindFileRequeued         Kind = "file.requeued"         // [FileRequeued]
	KindRecordQuarantined    Kind = "record.quarantined"    // [RecordQuarantined]
	KindStatusMessage        Kind = "status.message"        // [StatusMessage]
	KindViewRebuilt          Kind = "view.rebuilt"          // [ViewRebuilt]
	KindLoginFailed          Kind = "login.failed"          // [LoginFailed]
	KindSignInFailed         Kind = "signin.failed"         // [SignInFailed]
	KindCheckpointSigned     Kind = "checkpoint.signed"     // [CheckpointSigned]
	KindJournalChecked       Kind = "journal.checked"       // [JournalChecked]
	KindGenerationSealed     Kind = "generation.sealed"     // [GenerationSealed]
	KindGenerationArchived   Kind = "generation.archived"   // [GenerationArchived]
	KindEventLost            Kind = "event.lost"            // [EventLost]
	KindJournalSalvaged      Kind = "journal.salvaged"      // [JournalSalvaged]
	KindJournalExported      Kind = "journal.exported"      // [JournalExported]
	KindViewRolledBack       Kind = "view.rolled-back"      // [ViewRolledBack]
	KindSiteMessage          Kind = "site.message"          // [SiteMessage]
)

type entry struct {
	appender Appender
	version  uint64 // newest version of the payload
	new      func() Payload
}

// table is the one list of kinds: who appends it, its newest version, its type.
var table = map[Kind]entry{
	KindDeviceJoined:         {ByAuthority, 1, func() Payload { return new(DeviceJoined) }},
	KindDeviceDiscovered:     {ByInbox, 1, func() Payload { return new(DeviceDiscovered) }},
	KindDeviceBlocked:        {ByAuthority, 1, func() Payload { return new(DeviceBlocked) }},
	KindDeviceUnblocked:      {ByAuthority, 1, func() Payload { return new(DeviceUnblocked) }},
	KindDevicesImported:      {ByAuthority, 1, func() Payload { return new(DevicesImported) }},
	KindDeviceRemoved:        {ByAuthority, 1, func() Payload { return new(DeviceRemoved) }},
	KindClassesDefined:       {ByConsole, 1, func() Payload { return new(ClassesDefined) }},
	KindTokenCreated:         {ByAuthority, 2, func() Payload { return new(TokenCreated) }},
	KindTokenRevoked:         {ByAuthority, 1, func() Payload { return new(TokenRevoked) }},
	KindCertificateIssued:    {ByAuthority, 1, func() Payload { return new(CertificateIssued) }},
	KindKeysChanged:          {ByAuthority, 1, func() Payload { return new(KeysChanged) }},
	KindListenerGranted:      {ByAuthority, 2, func() Payload { return new(ListenerGranted) }},
	KindListenerRevoked:      {ByAuthority, 1, func() Payload { return new(ListenerRevoked) }},
	KindListenerStarted:      {ByInbox, 1, func() Payload { return new(ListenerStarted) }},
	KindListenerStopped:      {ByInbox, 1, func() Payload { return new(ListenerStopped) }},
	KindListenerLost:         {BySite, 1, func() Payload { return new(ListenerLost) }},
	KindPresenceSnapshot:     {ByInbox, 1, func() Payload { return new(PresenceSnapshot) }},
	KindPresenceDelta:        {ByInbox, 1, func() Payload { return new(PresenceDelta) }},
	KindResultsReported:      {ByInbox, 1, func() Payload { return new(ResultsReported) }},
	KindOperationRequest:     {ByConsole, 3, func() Payload { return new(OperationRequested) }},
	KindOperationCancel:      {ByConsole, 2, func() Payload { return new(OperationCancelled) }},
	KindOperationExpired:     {BySite, 1, func() Payload { return new(OperationExpired) }},
	KindOperationClosed:      {BySite, 1, func() Payload { return new(OperationClosed) }},
	KindOperationReleased:    {BySite, 1, func() Payload { return new(OperationReleased) }},
	KindOperationStopped:     {BySite, 1, func() Payload { return new(OperationStopped) }},
	KindPolicyChanged:        {ByConsole, 2, func() Payload { return new(PolicyChanged) }},
	KindCollectionChanged:    {ByConsole, 1, func() Payload { return new(CollectionChanged) }},
	KindWindowChanged:        {ByConsole, 1, func() Payload { return new(WindowChanged) }},
	KindEvaluationRequested:  {ByConsole, 1, func() Payload { return new(EvaluationRequested) }},
	KindCollectionsEvaluated: {ByEvaluator, 1, func() Payload { return new(CollectionsEvaluated) }},
	KindFileQuarantined:      {ByInbox, 1, func() Payload { return new(FileQuarantined) }},
	KindFileRequeued:         {ByConsole, 1, func() Payload { return new(FileRequeued) }},
	KindRecordQuarantined:    {ByInbox, 1, func() Payload { return new(RecordQuarantined) }},
	KindStatusMessage:        {ByInbox, 1, func() Payload { return new(StatusMessage) }},
	KindViewRebuilt:          {ByConsole, 1, func() Payload { return new(ViewRebuilt) }},
	KindLoginFailed:          {ByConsole, 1, func() Payload { return new(LoginFailed) }},
	KindSignInFailed:         {ByInbox, 1, func() Payload { return new(SignInFailed) }},
	KindCheckpointSigned:     {BySite, 1, func() Payload { return new(CheckpointSigned) }},
	KindJournalChecked:       {BySite, 1, func() Payload { return new(JournalChecked) }},
	KindGenerationSealed:     {BySite, 1, func() Payload { return new(GenerationSealed) }},
	KindGenerationArchived:   {BySite, 1, func() Payload { return new(GenerationArchived) }},
	KindEventLost:            {BySite, 1, func() Payload { return new(EventLost) }},
	KindJournalSalvaged:      {BySite, 1, func() Payload { return new(JournalSalvaged) }},
	KindJournalExported:      {ByConsole, 1, func() Payload { return new(JournalExported) }},
	KindViewRolledBack:       {ByConsole, 1, func() Payload { return new(ViewRolledBack) }},
	KindSiteMessage:          {BySite, 2, func() Payload { return new(SiteMessage) }},
}

var interned = func() map[string]Kind {
	m := make(map[string]Kind, len(table))
	for k := range table {
		m[string(k)] = k
	}
	return m
}()

func versionOf(k Kind) uint64 { return table[k].version }

// Kinds returns every kind that this bugle knows, in no particular order.
func Kinds() []Kind {
	all := make([]Kind, 0, len(table))
	for k := range table {
		all = append(all, k)
	}
	return all
}

// AppenderOf returns the component that appends k; ok is false for a kind that
// this bugle does not know.
func AppenderOf(k Kind) (a Appender, ok bool) {
	e, ok := table[k]
	return e.appender, ok
}

func validKind(k Kind) bool {
	if k == "" {
		return false
	}
	for _, c := range []byte(k) {
		if (c < 'a' || c > 'z') && c != '.' && c != '-' {
			return false
		}
	}
	return true
}
