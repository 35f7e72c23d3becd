package console

// ShowEvent is how the API shows an event.
var ShowEvent = eventJSON
