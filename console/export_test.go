package console

import "github.com/bugle-fleet/bugle/projectors/collection/schema"

// ShowEvent is how the API shows an event.
var ShowEvent = eventJSON

// ReadImportLine reads a line of an import by the standard schema and returns how many
// classes it names.
func ReadImportLine(raw []byte) (classes int, err error) {
	l, err := readLine(schema.Standard(), raw)
	if err != nil {
		return 0, err
	}
	importState{}.changes([]*importLine{l, l})
	return len(l.classes), nil
}
