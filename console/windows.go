package console

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-fleet/bugle/console/definitions"
)

// Paths of the maintenance windows of collections.
const (
	PathWindows        = Base + "/windows"                     // GET ?collection= or ?device= → [WindowList]
	PathWindow         = Base + "/windows/{collection}/{name}" // GET → [WindowReply]; PUT [WindowRequest] → [WindowsReply]; DELETE → [WindowsReply]
	PathWindowsApply   = Base + "/windows/apply"               // POST [WindowsRequest] → [WindowsReply]
	PathWindowNext     = Base + "/windows/next"                // GET ?device= or ?collection= → [WindowNext]
	PathWindowCalendar = Base + "/windows/calendar"            // GET ?device= or ?collection= &from= &to= → [WindowCalendar]
	PathWindowWhy      = Base + "/windows/why"                 // GET ?device= &kind= &minutes= → [WindowWhy]
)

// maxCalendar is how long a calendar may be.
const maxCalendar = 400 * 24 * time.Hour

// WindowReply is one maintenance window.
type WindowReply struct {
	Collection     string          `json:"collection,omitempty" doc:"id of the collection; without it the window is in the policy of the site and counts for all devices"`
	CollectionName string          `json:"collectionName,omitempty"`
	Window         json.RawMessage `json:"window" doc:"as package agent/window defines it"`
	Changed        *time.Time      `json:"changed,omitempty"`
	Event          uint64          `json:"event" doc:"that set it"`
}

// WindowList is maintenance windows: those in the policy of the site first, then by
// collection and name.
type WindowList struct {
	Items   []WindowReply `json:"items"`
	LeftOut int           `json:"leftOut,omitempty" doc:"windows of a device that it does not get, because it has more than it takes"`
	Event   uint64        `json:"event"`
}

// WindowRequest sets a window.
type WindowRequest struct {
	Window json.RawMessage `json:"window" doc:"as package agent/window defines it; its name may be left out"`
	Reason string          `json:"reason,omitempty" maxLength:"4096" doc:"why, for the history"`
	DryRun bool            `json:"dryRun,omitempty" doc:"change nothing, only say what would change"`
}

// WindowsRequest sets windows of any collections, all or none.
type WindowsRequest struct {
	Windows []definitions.Windows `json:"windows" maxItems:"1000" doc:"windows by collection"`
	Prune   bool                  `json:"prune,omitempty" doc:"delete the other windows of the collections that are named"`
	Reason  string                `json:"reason,omitempty" maxLength:"4096" doc:"why, for the history"`
	DryRun  bool                  `json:"dryRun,omitempty" doc:"change nothing, only say what would change"`
}

// WindowsReply is what became, or would become, of windows.
type WindowsReply struct {
	Changes   []WindowChange `json:"changes" doc:"by collection and name"`
	Unchanged int            `json:"unchanged" doc:"windows that were as they should be"`
	DryRun    bool           `json:"dryRun,omitempty"`
	Event     uint64         `json:"event" doc:"the last event that it became, or that the answer is as of if nothing changed"`
}

// WindowChange is the change of one window.
type WindowChange struct {
	Collection     string          `json:"collection"`
	CollectionName string          `json:"collectionName"`
	Name           string          `json:"name"`
	Before         json.RawMessage `json:"before,omitempty" doc:"absent if it is new"`
	After          json.RawMessage `json:"after,omitempty" doc:"absent if it is deleted"`
	Advice         []string        `json:"advice,omitempty" doc:"what is worth a second look, for people"`
}

// WindowRef names a window.
type WindowRef struct {
	Collection     string `json:"collection,omitempty" doc:"id; without it the window is in the policy of the site"`
	CollectionName string `json:"collectionName,omitempty"`
	Name           string `json:"name"`
	Kind           string `json:"kind" enum:"general,updates,task-sequences"`
}

// WindowSpan is a time in which windows are open, without a break.
type WindowSpan struct {
	Open    time.Time   `json:"open" doc:"in the zone of the answer"`
	Close   time.Time   `json:"close" doc:"in the zone of the answer; one that never comes is cut 31 days and more after the opening"`
	Minutes int64       `json:"minutes"`
	Windows []WindowRef `json:"windows" doc:"that are open in it"`
}

// WindowsFor says whose windows an answer is about, and in which zone local ones
// were reckoned.
type WindowsFor struct {
	Device         uint32 `json:"device,omitempty"`
	DeviceName     string `json:"deviceName,omitempty"`
	Collection     string `json:"collection,omitempty"`
	CollectionName string `json:"collectionName,omitempty"`
	Zone           string `json:"zone"`
	ZoneFrom       string `json:"zoneFrom" doc:"where the zone comes from: asked for, reported by the device, or assumed"`
	LeftOut        int    `json:"leftOut,omitempty" doc:"windows that the device does not get, because it has more than it takes"`
	Event          uint64 `json:"event"`
}

// WindowNext is when the windows of a device or of a collection are open next.
type WindowNext struct {
	WindowsFor
	Kind   string      `json:"kind,omitempty" doc:"only windows that count for this; absent: all"`
	Now    time.Time   `json:"now" doc:"the moment in question"`
	Any    bool        `json:"any,omitempty" doc:"no window counts: any time is good"`
	IsOpen bool        `json:"isOpen"`
	Span   *WindowSpan `json:"span,omitempty" doc:"absent if none opens ever again"`
}

// WindowCalendar is when windows are open within some weeks.
type WindowCalendar struct {
	WindowsFor
	Kind  string       `json:"kind,omitempty" doc:"only windows that count for this; absent: all"`
	From  time.Time    `json:"from"`
	To    time.Time    `json:"to"`
	Any   bool         `json:"any,omitempty" doc:"no window counts: any time is good"`
	Spans []WindowSpan `json:"spans"`
}

// WindowWhy says whether work may begin on a device, and why not.
type WindowWhy struct {
	WindowsFor
	Kind        string      `json:"kind"`
	Minutes     int64       `json:"minutes" doc:"the longest run time of the work"`
	Needs       int64       `json:"needs" doc:"minutes of which a window must have more left"`
	Now         time.Time   `json:"now" doc:"the moment in question"`
	Run         bool        `json:"run"`
	Why         string      `json:"why" doc:"for people"`
	Current     *WindowSpan `json:"current,omitempty" doc:"that is open now"`
	Next        *WindowSpan `json:"next,omitempty" doc:"the next that is long enough; absent if there is none, or if it may run now"`
	Windows     []WindowRef `json:"windows" doc:"that count for the kind; none: any time is good"`
	OtherKinds  int         `json:"otherKinds,omitempty" doc:"windows of the device that do not count for the kind"`
	SwitchedOff int         `json:"switchedOff,omitempty" doc:"windows of its collections that are disabled"`
}

func (c *Console) registerWindows(api huma.API) {
	get := func(id, path, summary string) huma.Operation { return call(http.MethodGet, id, path, summary) }
	huma.Register(api, get("listWindows", PathWindows, "Maintenance windows"), c.listWindows)
	huma.Register(api, get("getWindow", PathWindow, "One maintenance window of a collection"), c.getWindow)
	huma.Register(api, call(http.MethodPut, "putWindow", PathWindow, "Set a maintenance window of a collection"), c.putWindow)
	huma.Register(api, call(http.MethodDelete, "deleteWindow", PathWindow, "Delete a maintenance window of a collection"), c.deleteWindow)
	apply := call(http.MethodPost, "applyWindows", PathWindowsApply, "Set maintenance windows of collections, all or none")
	apply.MaxBodyBytes = definitions.MaxDocument
	huma.Register(api, apply, c.applyWindows)
	huma.Register(api, get("getNextWindow", PathWindowNext, "When windows are open next"), c.getNextWindow)
	huma.Register(api, get("getWindowCalendar", PathWindowCalendar, "When windows are open within some weeks"), c.getWindowCalendar)
	huma.Register(api, get("getWindowWhy", PathWindowWhy, "Whether work may begin on a device now, and why not"), c.getWindowWhy)
}
