package authority

import (
	"fmt"
	"net/http"
)

// A Refusal is what the authority does not do, and why.
type Refusal struct {
	Status int    // of HTTP
	Title  string // what was refused, the same for every occurrence
	Detail string // one plain sentence: what does not hold, and what to do
}

func (r *Refusal) Error() string { return r.Title + ": " + r.Detail }

func refuse(status int, title, format string, args ...any) error {
	return &Refusal{status, title, fmt.Sprintf(format, args...)}
}

const (
	titleJoin     = "The device cannot join"
	titleToken    = "The token cannot be changed"
	titleDevice   = "The device cannot be changed"
	titleListener = "The listener cannot be admitted"
	titleKeys     = "The keys cannot be changed"
	titleImport   = "The devices cannot be imported"
	titleRenew    = "The certificate cannot be renewed"
)

func refuseJoin(status int, format string, args ...any) error {
	return refuse(status, titleJoin, format, args...)
}

func refuseListener(status int, format string, args ...any) error {
	return refuse(status, titleListener, format, args...)
}

var (
	errTokenWrong   = refuseJoin(http.StatusForbidden, "The token is unknown or its secret is wrong; ask for a new one.")
	errTokenRevoked = refuseJoin(http.StatusForbidden, "The token was revoked; ask for a new one.")
	errTokenUsedUp  = refuseJoin(http.StatusForbidden, "The token was used as often as it may be; ask for a new one.")
)
