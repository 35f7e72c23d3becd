package console

import "encoding/json"

// PolicyRequest replaces the site's policy, the settings of every agent.
type PolicyRequest struct {
	Policy PolicyBody `json:"policy"`
	Reason string     `json:"reason,omitempty" maxLength:"4096"`
}

// PolicyReply is the site's policy.
type PolicyReply struct {
	Policy PolicyBody `json:"policy"`
	ETag   string     `json:"etag" doc:"names the settings, for agents"`
	Event  uint64     `json:"event" doc:"the event that set it, 0 for the built-in one"`
	// Version is for If-Match.
	Version uint64 `json:"version" doc:"how many policies were set until this one, 0 for the built-in one"`
}

// UserPolicyRequest replaces the policy of a person, or of all who have none of
// their own.
type UserPolicyRequest struct {
	Settings json.RawMessage `json:"settings" doc:"a JSON object, which agents hand to those who ask for it"`
	Reason   string          `json:"reason,omitempty" maxLength:"4096"`
}

// UserPolicyReply is the policy that counts for a person.
type UserPolicyReply struct {
	User     string          `json:"user"`
	Settings json.RawMessage `json:"settings"`
	From     string          `json:"from,omitempty" doc:"whose it is: the person's own, or * if it is that of all; absent if there is none"`
	Version  uint64          `json:"version" doc:"of the person's own: how often it was set or removed"`
	Event    uint64          `json:"event" doc:"that set or removed the person's own, 0 if there never was one"`
}

// UserPolicyList is who has a policy of their own, in order, * among them.
type UserPolicyList struct {
	Items []UserPolicyReply `json:"items"`
	Event uint64            `json:"event"`
}

// PolicyBody is the document that agents fetch.
type PolicyBody struct {
	KeepAliveSeconds  int64    `json:"keepAliveSeconds,omitempty" minimum:"1" maximum:"86400" doc:"how often an idle agent says that it lives"`
	PolicyPollSeconds int64    `json:"policyPollSeconds,omitempty" minimum:"1" maximum:"604800" doc:"how often an agent asks for policy"`
	Indicators        []string `json:"indicators,omitempty" maxItems:"800" doc:"SHA-256 of files that the built-in scanner looks for, in hexadecimal"`
	ScanFolders       []string `json:"scanFolders,omitempty" maxItems:"100" doc:"absolute folders that the built-in scanner reads"`
	LogFiles          []string `json:"logFiles,omitempty" maxItems:"100" doc:"absolute files that logs.collect takes along with the agent's own"`
	// Windows is as package agent/window defines it.
	Windows json.RawMessage `json:"windows,omitempty" doc:"a list of maintenance windows, which intrusive tasks keep to"`
}
