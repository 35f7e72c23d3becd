// Package demo is a whole site with real agents on one machine, and a push that
// goes through all of it: each agent has its own folder, key, record and
// connection, and every act is a command that an administrator would give.
package demo
