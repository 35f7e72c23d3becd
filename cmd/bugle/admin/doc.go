// Package admin is the administrator's side of the command line: what "bugle"
// does at a site that runs. [Commands] are its commands, [Options] the flags that
// they share; the root command and the site's own commands are package main's.
//
// # Which site
//
// A site on this machine is found by its folder (--data, BUGLE_DATA, else
// ./bugle-data): run/addresses.json says where its console listens,
// keys/admin.token holds the administrator's token, keys/ca.crt the CA. A remote
// one is found by --url or BUGLE_URL, with --token-file or BUGLE_TOKEN_FILE, and
// --ca-file or BUGLE_CA_FILE unless the system trusts its certificate. A flag wins
// over the environment, a remote address there over a folder there. Tokens are
// sent over TLS only, and never to where an answer redirects.
//
// # What is written where
//
// Results go to stdout: as a table, or with --output as JSON, as one JSON object
// per line, or as CSV. JSON has every field of the API; a list is an array, and
// stays open if it was cut short by an error. CSV has a row of names first and one
// row for each item, and a text that a spreadsheet would take for a formula begins
// with an apostrophe there. Times are local in tables and UTC elsewhere.
//
// Progress, notes and questions go to stderr. On a terminal progress is a bar,
// elsewhere a line for every change ([Progress]). Colours are for terminals, and
// NO_COLOR turns them off. What devices say cannot steer the terminal: control
// characters are shown as question marks. --quiet leaves results and errors, and
// of what was created only its id.
//
// # The past
//
// --at shows what a command shows as of an event: its number, an instant by
// RFC 3339, or a time back from now such as 2h or 7d. All pages of one answer are
// as of the same event, which is noted on stderr. --from and --to of the journal's
// commands take the same words.
//
// "journal export" writes a file beside (FILE.part) and renames it once it is whole;
// if it breaks off, the part stays and the error says where to go on. There, and in
// "journal consistency", --output (-o) is a file and no format.
//
// # Questions
//
// "push --all", a push or a retry for more than 50 devices, and "devices block" ask on a
// terminal, with the number of devices and how many are online, unless --yes is
// given. Without a terminal nothing is asked, and what is for more than 50 devices
// is refused without --yes.
//
// # Codes
//
// A command ends with code 0 if all is well, 1 if it failed, 2 if it was called
// wrongly, and 3 if it was done in part: an operation that was watched ended with
// devices that failed, refused, timed out, expired or were lost. [ExitCode] is the
// code of an error.
//
// # Trying again
//
// A push carries an idempotency key, one per call of the command, and is sent again
// if no answer came: it cannot happen twice. So does the announcement of an export.
// Watching, following and reading events go on where they were when the connection
// comes back. Nothing else is sent twice.
package admin
