package wire

// What an agent collected goes to the HTTPS port, beside the session: PUT
// [LogsPath] and the id of the operation, with the device's certificate, a
// Content-Length, and the body's SHA-256 in [HeaderSHA256]. 204 says that it is
// durable; anything else is a problem as for joining ([JoinError]), of which 429 and
// 503 mean "again later".
const (
	LogsPath     = "/agent/logs/"
	HeaderSHA256 = "Bugle-SHA256" // 64 hexadecimal digits
	MaxLogs      = 64 << 20       // bytes of one upload
)
