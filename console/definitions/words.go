package definitions

import "strconv"

// quoted is a name as texts for people have it.
func quoted(name string) string { return strconv.Quote(name) }
