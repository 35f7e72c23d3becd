// Command bugle-agent makes this machine a device of a bugle site and keeps it
// one.
//
//	--site, --token-file           listener                 site
//	      │                           ▲  ▲                    ▲
//	      ▼                   TLS 1.3 │  │ keep-alive, results │ HTTPS, once
//	┌───────────┐  identity  ┌────────┴──┴──┐                 │
//	│   join    ├───────────▶│     run      │   tasks         │
//	└─────┬─────┘            └──┬────────┬──┘                 │
//	      └─────────────────────┼────────┼─── token, key ─────┘
//	                            ▼        ▼
//	                     record, policy  actions
//
// Usage:
//
//	bugle-agent run     join if that was not done, then serve until SIGTERM
//	bugle-agent join    join and end
//	bugle-agent status  where the agent stands
//	bugle-agent service install, uninstall, status, print: from boot on
//	bugle-agent version
//
// Every flag can be set by the environment: --token-file by
// BUGLE_AGENT_TOKEN_FILE. A flag wins. It ends with 0 if all went well, 1 if
// something failed, 2 if it was called wrongly.
package main
