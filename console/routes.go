package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of bodies in bytes.
const (
	maxBody     = 256 << 10
	maxPushBody = 8 << 20 // 100,000 devices by name
)

// Path fills the parts in braces of one of the Path constants, in order, each
// escaped for its place.
func Path(pattern string, parts ...string) string {
	for _, p := range parts {
		from := strings.IndexByte(pattern, '{')
		to := strings.IndexByte(pattern, '}')
		if from < 0 || to < from {
			break
		}
		pattern = pattern[:from] + url.PathEscape(p) + pattern[to+1:]
	}
	return pattern
}

// route builds the handler: the API behind the token, the rest beside it.
func (c *Console) route() error {
	mux := http.NewServeMux()
	api := humago.New(mux, c.openAPIConfig())
	api.UseMiddleware(bound)
	c.register(api)
	doc, err := json.Marshal(api.OpenAPI())
	if err != nil {
		return fmt.Errorf("write OpenAPI document: %w", err)
	}
	c.openAPI = doc
	metrics, calls, err := c.metrics()
	if err != nil {
		return err
	}
	top := http.NewServeMux()
	top.Handle(Base+"/", c.gate.guard(plainErrors(mux)))
	top.HandleFunc("GET "+PathOpenAPI, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		w.Write(c.openAPI)
	})
	top.HandleFunc("GET "+PathLive, c.live)
	top.HandleFunc("GET "+PathReady, c.ready)
	top.Handle("GET "+PathMetrics, metrics)
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, problem(http.StatusForbidden, "The call comes from another site",
			"A browser made this call for a page of another origin; nothing was done."))
	}))
	c.handler = count(calls, secure(c.survive(crossOrigin.Handler(plainErrors(top)))))
	return nil
}

// callTime is how long a call that is no stream may take.
const callTime = 45 * time.Second

// streams are the calls that last as long as their caller likes.
var streams = []string{"streamEvents", "rebuildView", "rollbackView", "getArchive", "getLog"}

func bound(hc huma.Context, next func(huma.Context)) {
	if slices.Contains(streams, hc.Operation().OperationID) {
		next(hc)
		return
	}
	ctx, cancel := context.WithTimeout(hc.Context(), callTime)
	defer cancel()
	ctx = context.WithValue(ctx, readKey{}, hc.Method() == http.MethodGet)
	next(huma.WithContext(hc, ctx))
}

type readKey struct{}

// isRead tells whether a call changes nothing.
func isRead(ctx context.Context) bool {
	read, _ := ctx.Value(readKey{}).(bool)
	return read
}

// survive answers a call that panics, and says so in the log.
func (c *Console) survive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			c.cfg.Log.Error("call panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			writeProblem(w, problem(http.StatusInternalServerError, "The server failed",
				"This call met a mistake in the server; see its log, component console."))
		}()
		next.ServeHTTP(w, r)
	})
}

func (c *Console) openAPIConfig() huma.Config {
	cfg := huma.DefaultConfig("bugle site "+c.cfg.Site, c.cfg.Version)
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", "" // the document is served by route; there is no page
	cfg.CreateHooks = nil                                       // no $schema in answers
	cfg.Transformers = []huma.Transformer{sentences}
	cfg.RejectUnknownQueryParameters = true
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	cfg.Security = []map[string][]string{{"token": {}}}
	return cfg
}

func (c *Console) register(api huma.API) {
	get := func(id, path, summary string) huma.Operation { return call(http.MethodGet, id, path, summary) }
	post := func(id, path, summary string) huma.Operation { return call(http.MethodPost, id, path, summary) }

	huma.Register(api, get("listTokens", PathTokens, "Join tokens, newest first"), c.listTokens)
	create := post("createToken", PathTokens, "Make a join token")
	create.MaxBodyBytes = maxPushBody
	huma.Register(api, create, c.createToken)
	huma.Register(api, call(http.MethodDelete, "revokeToken", PathToken, "End a join token before its time"), c.revokeToken)

	huma.Register(api, get("listDevices", PathDevices, "Devices by rising number"), c.listDevices)
	huma.Register(api, get("getDevice", PathDevice, "A device and what is known of it"), c.getDevice)
	huma.Register(api, get("getDeviceHistory", PathDeviceHistory, "The last states of a device, newest first"), c.getDeviceHistory)
	huma.Register(api, post("blockDevice", PathDeviceBlock, "Cut a device off"), c.blockDevice)
	c.registerInventory(api)
	huma.Register(api, post("unblockDevice", PathDeviceUnblock, "Let a blocked device connect again"), c.unblockDevice)

	huma.Register(api, get("listKeys", PathKeys, "The keys that agents are to trust, and how many have them"), c.listKeys)
	huma.Register(api, post("rotateKey", PathKeyRotate, "Make a new key that takes over at once"), c.rotateKey)
	huma.Register(api, post("retireKeys", PathKeyRetire, "Trust the old keys of a sort no more"), c.retireKeys)
	huma.Register(api, get("listListeners", PathListeners, "Listeners that the site has admitted"), c.listListeners)
	huma.Register(api, post("revokeListener", PathListenerRevoke, "End a listener that runs apart, for ever"), c.revokeListener)

	push := post("push", PathOperations, "Push a task to devices")
	push.MaxBodyBytes = maxPushBody
	huma.Register(api, get("listKinds", PathKinds, "What can be pushed"), c.listKinds)
	huma.Register(api, push, c.push)
	huma.Register(api, get("listOperations", PathOperations, "Operations, newest first"), c.listOperations)
	huma.Register(api, get("getOperation", PathOperation, "An operation with its counts and latencies"), c.getOperation)
	huma.Register(api, get("listTargets", PathOperationDevices, "Devices of an operation by rising number"), c.listTargets)
	huma.Register(api, post("cancelOperation", PathOperationCancel, "End an operation for all who have not begun it"), c.cancelOperation)
	huma.Register(api, post("retryOperation", PathOperationRetry, "Push again to the devices of an operation that are in some states"), c.retryOperation)
	huma.Register(api, get("getHistory", PathOperationHistory, "Events that touched an operation"), c.getHistory)
	log := get("getLog", PathOperationLog, "What a device sent for logs.collect")
	log.Responses = logDoc()
	huma.Register(api, get("listLogs", PathOperationLogs, "What devices sent for logs.collect"), c.listLogs)
	huma.Register(api, log, c.getLog)
	huma.Register(api, get("getTrace", PathOperationTrace, "The life of an operation, step by step"), c.getTrace)

	stream := get("streamEvents", PathEventStream, "Events as they happen")
	stream.Responses = eventStream("server-sent events named event, whose id is the event's number and whose data is as in /events/{number}")
	huma.Register(api, get("listEvents", PathEvents, "Events by rising number"), c.listEvents)
	huma.Register(api, stream, c.streamEvents)
	huma.Register(api, get("getEvent", PathEvent, "One event"), c.getEvent)
	huma.Register(api, get("getJournal", PathJournal, "The end of the journal"), c.getJournal)
	huma.Register(api, get("getCheckpoint", PathCheckpoint, "The last signed state of the journal"), c.getCheckpoint)
	history := get("getArchive", PathArchive, "The history itself, page by page")
	history.Responses = archiveDoc()
	huma.Register(api, history, c.getArchive)
	huma.Register(api, get("getConsistency", PathConsistency, "The proof that an older signed history is the beginning of the last one"), c.getConsistency)
	huma.Register(api, post("announceExport", PathExports, "Say that a copy of events will be taken"), c.announceExport)
	huma.Register(api, get("getProof", PathProof, "The proof that an event is in the signed history"), c.getProof)

	huma.Register(api, get("getInbox", PathInbox, "Counters of the inbox and what it put aside"), c.getInbox)
	huma.Register(api, post("requeueFile", PathInboxRequeue, "Put a quarantined file back"), c.requeueFile)

	rebuild := post("rebuildView", PathViewRebuild, "Fold a view anew beside the one that serves")
	rebuild.Responses = eventStream("server-sent events: progress with view, done, total, rate and leftSeconds, and result, for each view; problem at the end if one failed")
	rollback := post("rollbackView", PathViewRollback, "Let the generation of a view serve again that served before its last rebuild")
	rollback.Responses = eventStream("server-sent events: result, or problem")
	huma.Register(api, get("listViews", PathViews, "Where the views stand"), c.listViews)
	huma.Register(api, rebuild, c.rebuildView)
	huma.Register(api, rollback, c.rollbackView)
	huma.Register(api, get("getDigest", PathViewDigest, "The digest of a view"), c.getDigest)

	huma.Register(api, get("listComponents", PathComponents, "Listeners as the site sees them"), c.listComponents)
	huma.Register(api, get("listMessages", PathMessages, "Status messages, newest first"), c.listMessages)
	huma.Register(api, get("listCatalogue", PathCatalogue, "What each status message means"), c.listCatalogue)

	huma.Register(api, get("getPolicy", PathPolicy, "The settings of all agents"), c.getPolicy)
	huma.Register(api, call(http.MethodPut, "putPolicy", PathPolicy, "Replace the settings of all agents"), c.putPolicy)
	huma.Register(api, get("listUserPolicies", PathUserPolicies, "Who has a policy of their own"), c.listUserPolicies)
	huma.Register(api, get("getUserPolicy", PathUserPolicy, "The policy that counts for a person"), c.getUserPolicy)
	huma.Register(api, call(http.MethodPut, "putUserPolicy", PathUserPolicy, "Replace the policy of a person"), c.putUserPolicy)
	c.registerCollections(api)
	c.registerWindows(api)
	huma.Register(api, call(http.MethodDelete, "deleteUserPolicy", PathUserPolicy, "Remove the policy of a person"), c.deleteUserPolicy)
	c.registerEvaluation(api)
	c.registerAdvice(api)
}

func call(method, id, path, summary string) huma.Operation {
	return huma.Operation{Method: method, OperationID: id, Path: path, Summary: summary, MaxBodyBytes: maxBody}
}

// secure sets what every answer says to browsers.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Strict-Transport-Security", "max-age=31536000")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// plainErrors makes problems of the mux's own answers.
func plainErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		own := &headOnly{header: http.Header{}}
		h.ServeHTTP(own, r)
		if allow := own.header.Get("Allow"); own.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", allow)
			writeProblem(w, problem(own.status, "The method is not allowed", "%s does not take %s; it takes %s.",
				clip(r.URL.Path), clip(r.Method), allow))
			return
		}
		writeProblem(w, notFound("Nothing is served at %s; %s lists what is.", clip(r.URL.Path), PathOpenAPI))
	})
}

// headOnly keeps the head of an answer and drops its body.
type headOnly struct {
	header http.Header
	status int
}

func (h *headOnly) Header() http.Header         { return h.header }
func (h *headOnly) WriteHeader(status int)      { h.status = status }
func (h *headOnly) Write(b []byte) (int, error) { return len(b), nil }

// count counts answers by class of status.
func count(calls *prometheus.CounterVec, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(s, r)
		calls.WithLabelValues(strconv.Itoa(s.status/100) + "xx").Inc()
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach what is below.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
