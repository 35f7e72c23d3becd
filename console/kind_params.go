package console

import "github.com/bugle-fleet/bugle/listener/wire/schema"

// Forms of texts that several kinds take. Agents hold parameters against their own
// rules again; nothing here reaches a shell there.
const (
	pathForm   = `"type": "string", "title": "a full path", "maxLength": 1024, "pattern": "(?:/|[A-Za-z]:\\\\)[^\\x00-\\x1f\\x7f]*"`
	threatForm = `"type": "string", "title": "a SHA-256, or the name or number of a threat", "maxLength": 128,
		"pattern": "[A-Za-z0-9][A-Za-z0-9._:/!-]*"`
	ignoreWindows = `"ignoreWindows": {"type": "boolean", "default": false, "description": "run outside maintenance windows too"}`
)

// What kinds take.
var (
	none = schema.Must(`{"type": "object"}`)

	userParams = schema.Must(`{"type": "object", "properties": {
		"user": {"type": "string", "title": "a user's name", "minLength": 1, "maxLength": 256, "pattern": "[^\\x00-\\x1f\\x7f/]+",
			"description": "whose policy; default everybody's who is signed in"}}}`)

	scanParams = schema.Must(`{"type": "object", "properties": {
		"sha256": {"type": "array", "maxItems": 100, "description": "files to look for besides those that policy names",
			"items": {"type": "string", "title": "a SHA-256 of 64 hexadecimal digits", "pattern": "[0-9a-fA-F]{64}"}}}}`)

	excludeParams = schema.Must(`{"type": "object", "required": ["paths"], "properties": {
		"paths": {"type": "array", "minItems": 1, "maxItems": 100, "uniqueItems": true, "items": {` + pathForm + `},
			"description": "folders with all that is in them, or files"},
		"remove": {"type": "boolean", "default": false, "description": "look at them again"}}}`)

	allowParams = schema.Must(`{"type": "object", "required": ["threats"], "properties": {
		"threats": {"type": "array", "minItems": 1, "maxItems": 100, "uniqueItems": true, "items": {` + threatForm + `}},
		"remove": {"type": "boolean", "default": false, "description": "allow them no longer"}}}`)

	overrideParams = schema.Must(`{"type": "object", "required": ["threats", "action"], "properties": {
		"threats": {"type": "array", "minItems": 1, "maxItems": 100, "uniqueItems": true, "items": {` + threatForm + `}},
		"action": {"type": "string", "enum": ["report", "quarantine", "remove", "default"],
			"description": "what is done when one is found; default takes an earlier override back"}}}`)

	restoreParams = schema.Must(`{"type": "object", "required": ["threats"], "properties": {
		"threats": {"type": "array", "minItems": 1, "maxItems": 100, "uniqueItems": true, "items": {` + threatForm + `}},
		"allow": {"type": "boolean", "default": false, "description": "and allow the threats, so that the next scan leaves the files alone"}}}`)

	applicationParams = schema.Must(`{"type": "object", "required": ["applications"], "properties": {
		"applications": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"type": "object", "required": ["name"], "properties": {
			"name": {"type": "string", "title": "the name of a package or program", "minLength": 1, "maxLength": 256, "pattern": "[^\\x00-\\x1f\\x7f-][^\\x00-\\x1f\\x7f]*"},
			"version": {"type": "string", "title": "a version", "maxLength": 64, "pattern": "[0-9A-Za-z][0-9A-Za-z.+:~_-]*", "description": "the least one; default any"}}}}}}`)

	updateParams = schema.Must(`{"type": "object", "properties": {
		"packages": {"type": "array", "maxItems": 100, "uniqueItems": true, "description": "which ones; default all that there are",
			"items": {"type": "string", "title": "the name of a package, or a KB number", "maxLength": 128, "pattern": "[A-Za-z0-9](?:[A-Za-z0-9+._-]*[A-Za-z0-9+])?"}},
		` + ignoreWindows + `}}`)

	restartParams = schema.Must(`{"type": "object", "properties": {
		"warningMinutes": {"type": "integer", "minimum": 1, "maximum": 1440, "default": 10, "description": "from the warning to the restart"},
		"message": {"type": "string", "title": "a line of text", "maxLength": 256, "pattern": "[^\\x00-\\x1f\\x7f]*", "description": "what people at the machine read"},
		` + ignoreWindows + `}}`)

	collectParams = schema.Must(`{"type": "object", "properties": {
		"files": {"type": "array", "maxItems": 32, "uniqueItems": true, "items": {` + pathForm + `},
			"description": "besides the agent's own logs; policy must allow them"},
		"maxBytes": {"type": "integer", "minimum": 65536, "maximum": 67108864, "default": 16777216, "description": "of the archive; what does not fit is left out"}}}`)

	verboseParams = schema.Must(`{"type": "object", "properties": {
		"minutes": {"type": "integer", "minimum": 1, "maximum": 1440, "default": 60, "description": "after which it ends by itself"}}}`)
)
