package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal"
)

// A Problem is what the API answers when it does not do what was asked (RFC 9457):
// Title names the kind of problem, Detail is one sentence about this one.
type Problem = huma.ErrorModel

func problem(status int, title, format string, args ...any) error {
	return &Problem{Status: status, Title: title, Detail: fmt.Sprintf(format, args...)}
}

func badRequest(title, format string, args ...any) error {
	return problem(http.StatusUnprocessableEntity, title, format, args...)
}

func notFound(format string, args ...any) error {
	return problem(http.StatusNotFound, "There is no such thing", format, args...)
}

func conflict(format string, args ...any) error {
	return problem(http.StatusConflict, "It cannot be done now", format, args...)
}

// fail turns the error of what a call rests on into what is answered. What is not
// foreseen is logged, and the answer names no innards.
func (c *Console) fail(ctx context.Context, doing string, err error) error {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if r, ok := errors.AsType[*authority.Refusal](err); ok {
		return &Problem{Status: r.Status, Title: r.Title, Detail: r.Detail}
	}
	log := c.cfg.Log.With("doing", doing, "err", err)
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return problem(499, "The caller went away", "The call was ended before its answer.")
	case errors.Is(err, journal.ErrRefused):
		log.Warn("journal refused events")
		return problem(http.StatusRequestEntityTooLarge, "The journal does not take this",
			"Cannot %s: what it would have to keep is too large for one event; ask for fewer devices or say less.", doing)
	case errors.Is(err, journal.ErrUnavailable):
		log.Error("journal is not available")
		return problem(http.StatusServiceUnavailable, "The journal is not available",
			"Cannot %s: nothing was stored; look at the server's disk and its log, and try again.", doing)
	case isRead(ctx) && errors.Is(err, context.DeadlineExceeded):
		log.Warn("read took too long")
		return problem(http.StatusServiceUnavailable, "It took too long",
			"Cannot %s within %s: ask for less, or as of an event that is not so long ago; for one that is, use bugle replay.", doing, callTime)
	case errors.Is(err, journal.ErrUnknown), errors.Is(err, context.DeadlineExceeded), errors.Is(err, journal.ErrClosed):
		log.Error("outcome of an append is unknown")
		return problem(http.StatusServiceUnavailable, "It is not known whether it was done",
			"Cannot tell whether it was possible to %s: send it again with the same Idempotency-Key, or look at what is there.", doing)
	}
	log.Error("call failed")
	return problem(http.StatusInternalServerError, "The server failed",
		"Cannot %s: see the server's log, component console.", doing)
}

// sentences makes one sentence of what the schema's check found.
func sentences(_ huma.Context, _ string, v any) (any, error) {
	p, ok := v.(*Problem)
	if !ok || len(p.Errors) == 0 {
		return v, nil
	}
	var found []string
	for _, e := range p.Errors[:min(len(p.Errors), 5)] {
		if e == nil {
			continue
		}
		if e.Location != "" {
			found = append(found, e.Location+": "+e.Message)
		} else {
			found = append(found, e.Message)
		}
	}
	if more := len(p.Errors) - len(found); more > 0 {
		found = append(found, fmt.Sprintf("and %d more", more))
	}
	q := *p
	q.Title = "The request cannot be taken as it is"
	q.Detail = "The request does not fit the API: " + strings.Join(found, "; ") + "."
	return &q, nil
}

// writeProblem answers outside of huma's handlers.
func writeProblem(w http.ResponseWriter, err error) {
	p, ok := errors.AsType[*Problem](err)
	if !ok {
		p = &Problem{Status: http.StatusInternalServerError, Title: "The server failed"}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

func isNotFound(err error) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Status == http.StatusNotFound
}
