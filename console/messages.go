package console

import "github.com/bugle-fleet/bugle/journal/event"

// A MessageInfo explains a status message. Its number means the same in every
// version; one that is not said any more stays in the catalogue.
type MessageInfo struct {
	Message   uint32 `json:"message"`
	Component string `json:"component"`
	Severity  string `json:"severity" enum:"info,warning,error"`
	Meaning   string `json:"meaning"`
	Advice    string `json:"advice" doc:"what to do"`
}

// catalogue is every status message of every component, by number: 1 to 999 the
// inbox, 1000 the journal, 1100 the views, 1200 the site's clock and the devices that join, 1300 the evaluator
// of collections, 1400 the logs that agents send, 3000 the listeners, 3100 those of
// them that run apart.
var catalogue = []MessageInfo{
	message(1, "inbox", event.Warning, "Files of a listener are missing in the sequence of their numbers.",
		"The next full report heals presence. If the listener runs apart, look whether its box still holds the files; if they were put aside, 'bugle inbox status' lists them and 'bugle inbox requeue' puts them back."),
	message(2, "inbox", event.Error, "Two different files of a listener have the same number: one of them is put aside.",
		"Two listeners may run with one identity, or a listener's folder was copied back from a backup. Let only one run; start it again, which begins a new epoch."),
	message(3, "inbox", event.Error, "The journal refuses what a file says: it is put aside.",
		"Look at the file with 'bugle inbox status'. A listener of a later version may say what this site cannot read: bring the site up to date, then 'bugle inbox requeue'."),
	message(4, "inbox", event.Error, "A listener speaks for devices that are not its own; what it said of them is put aside.",
		"Compare its scope with 'bugle listeners'. If the scope is right, treat the listener as taken over: revoke it."),

	message(1001, "journal", event.Error, "A check found the history damaged.",
		"Nothing was changed. 'bugle journal verify' names the first bad event; bring the page back from an archive or a backup, and find out what happened to the disk."),
	message(1002, "journal", event.Info, "A check found the history whole, after one that did not.", "Nothing."),
	message(1003, "journal", event.Warning, "A sealed part of the history could not be archived; it stays where it is and is tried again.",
		"Look at room and rights of the archive folder."),
	message(1004, "journal", event.Info, "Archiving works again.", "Nothing."),
	message(1005, "journal", event.Error, "A page of the history is damaged on the disk, which was noticed when it was read.",
		"What is before it, and new events, are well. As for 1001."),

	message(1101, "views", event.Error, "A view has stopped at an event and shows what was before.",
		"The text says why. 'bugle views list' shows where it stands; 'bugle views rebuild NAME' folds it anew."),
	message(1102, "views", event.Warning, "A view is more than 30 seconds behind the journal.", "If it goes on, look at disk and processor of the site."),
	message(1103, "views", event.Info, "A view goes on, or has caught up.", "Nothing."),
	message(1104, "views", event.Error, "A view was damaged on the disk and is folded anew.", "Nothing now; look after the disk if it happens again."),
	message(1105, "views", event.Info, "A view was folded anew and serves.", "Nothing."),
	message(1106, "views", event.Error, "A view that was damaged could not be folded anew.", "The text says why. The other views serve; 'bugle views rebuild NAME' tries again."),

	message(MessageFlapping, "clock", event.Warning, "A device comes and goes: it changed ten times within ten minutes. Said once an hour.",
		"'bugle devices history DEVICE' shows reasons and listeners. Often it is a bad link, a firewall that cuts idle connections (set a shorter keepAliveSeconds), or two machines with one identity (reason replaced: a cloned disk)."),
	message(1202, "authority", event.Warning, "A device has joined as a new record, though one of its name was imported and has no agent: its token did not name that. Said at most a hundred times an hour.",
		"If they are the same machine, remove one of the two. To keep the imported one, remove the new one, make a token with 'bugle token create --device NUMBER', and let the agent join with that and an empty folder."),

	message(1301, "evaluator", event.Warning, "An evaluation of collections took longer than it is until the next one. Said once an hour for each queue.",
		"'bugle collections stats --sort length' shows what takes long. Give full evaluations other times or longer intervals, or the site more processors."),
	message(1302, "evaluator", event.Error, "A collection cannot be evaluated. It keeps its members, but for devices that are removed.",
		"The text says why: a query that this version does not know, a class that is not defined, or a collection that is missing. Define the collection anew, or what it lacks."),
	message(1303, "evaluator", event.Error, "Collections are not evaluated any more. Their members stay as they are; pushes and results go on.",
		"The text says why. Mend what it names, a view that has stopped for instance, and start the site again."),

	message(1401, "logs", event.Warning, "Logs that an agent had sent were removed to make room for newer ones.", "Fetch logs sooner, or give the store more room."),

	message(3001, "listener", event.Error, "Files cannot be dropped into the box: results and presence wait in memory.", "Look at room and rights of the box; the text has the cause."),
	message(3002, "listener", event.Info, "Files can be dropped again.", "Nothing."),
	message(3003, "listener", event.Warning, "The feed of the site broke and is read again.", "If it goes on, look whether the site runs and can be reached."),
	message(3004, "listener", event.Error, "An operation is not served here.", "The text says why. A listener of an earlier version may not know the kind of signature: bring it up to date."),
	message(3005, "listener", event.Warning, "Tasks were sent of which no file says so, for too much waited for the disk.", "Their results still count. Look at the disk of the listener."),
	message(3006, "listener", event.Info, "A session ended because its device was blocked.", "Nothing."),
	message(3007, "listener", event.Warning, "A session ended because the agent did not read.", "The device reconnects by itself. If it goes on, look at the device: it may be overloaded or suspended."),
	message(3008, "listener", event.Warning, "An agent broke the protocol.", "The text says how. If it is not an agent of a later version, find out who holds that device's certificate."),
	message(3009, "listener", event.Warning, "As many devices are signed in as the listener takes.", "Add a listener, or raise its limit of sessions."),
	message(3010, "listener", event.Error, "A keyring is not handed out: it does not follow the one before.", "Start the listener again, so that it reads all of the feed."),
	message(3011, "listener", event.Error, "Certificates cannot be renewed at present.", "The text has the cause. Devices go on with those that they have for a few days."),
	message(3012, "listener", event.Warning, "An agent asks for a new certificate again and again.", "Look at the agent's log: it may be unable to keep the certificate."),
	message(3013, "listener", event.Warning, "An address connects again and again and nobody signs in.", "Find out who is there; if it is a whole fleet behind one address, look at why its agents are refused."),
	message(3014, "listener", event.Warning, "More agents come than can sign in before they give up.", "They come back, spread over a longer time; if it goes on, give the listener more processors or add one."),
	message(3015, "listener", event.Error, "The process has no file descriptors left for newcomers.", "Raise its limit of open files (LimitNOFILE); it needs one for each agent and some more."),

	message(3101, "relay", event.Error, "A listener that runs apart has put a file aside, for the site refuses it for good; agents may have been told that what it holds is safe.",
		"The text names the file and the reason. Once the cause is gone, move the file from box/bad back to box in the listener's folder: it is sent within seconds."),
	message(3102, "relay", event.Warning, "Files of a listener that runs apart got new numbers, for the site had others with theirs.",
		"Its folder was probably copied back from a backup, or two run with one identity: let only one run. Nothing is lost; some may be told twice."),
}

// MessageFlapping is the number of the status message about a device that comes
// and goes.
const MessageFlapping = 1201

func message(number uint32, component string, severity event.Severity, meaning, advice string) MessageInfo {
	return MessageInfo{number, component, severity.String(), meaning, advice}
}

// Messages returns the catalogue of status messages, by number. Nobody changes it.
func Messages() []MessageInfo { return catalogue }

// ExplainMessage returns what a status message means; ok is false if no component
// has one of that number.
func ExplainMessage(number uint32) (m MessageInfo, ok bool) {
	for _, m := range catalogue {
		if m.Message == number {
			return m, true
		}
	}
	return m, false
}
