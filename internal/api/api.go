// Package api is the registry's native HTTP face: it turns requests under /v1 into calls of the engine, and the
// engine's answers and errors into HTTP.
//
// It decides nothing. Who may see what, and whether bytes may be handed out, is the engine's to say; this package owns
// routes, decoding, limits of requests, validators (ETag, If-Match), problem documents, the access log and metrics.
// docs/openapi.yaml describes it, and the tests hold every route and every response to that page.
package api

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/engine"
)

// Service is what the face needs of the engine. Every error that a caller should read is a [ballast.Error], or one that
// [engine.AsError] knows; anything else is answered as internal and shown only in the log.
type Service interface {
	// Authenticate returns the holder of a token, or unauthenticated.
	Authenticate(ctx context.Context, token ballast.Secret) (engine.Principal, error)

	// CreateUpload opens an upload; created is false when the same attempt's open upload is the answer.
	CreateUpload(ctx context.Context, p engine.Principal, req ballast.CreateUpload) (u ballast.Upload, created bool, err error)
	// CheckUpload returns nil for an upload that the principal may write to, and otherwise what Blobs and Commit would.
	CheckUpload(ctx context.Context, p engine.Principal, id string) error
	Blobs(ctx context.Context, p engine.Principal, id string, req ballast.BlobsRequest) (ballast.BlobsResponse, error)
	// Commit returns the upload done, with its Result, or verifying.
	Commit(ctx context.Context, p engine.Principal, id string, req ballast.CommitRequest) (ballast.Upload, error)
	// Upload returns the upload, after at most wait while it is not settled.
	Upload(ctx context.Context, p engine.Principal, id string, wait time.Duration) (ballast.Upload, error)
	AbortUpload(ctx context.Context, p engine.Principal, id string) error
	// Copy returns the upload done, with its Result, or verifying.
	Copy(ctx context.Context, p engine.Principal, from ballast.Ref, req ballast.CopyVersion) (ballast.Upload, error)

	// CreateImport begins an import; created is false when the same one, which is under way, is the answer.
	CreateImport(ctx context.Context, p engine.Principal, req ballast.CreateImport) (m ballast.Import, created bool, err error)
	// Import returns the import, after at most wait while it is not settled or still moves its sources.
	Import(ctx context.Context, p engine.Principal, id string, wait time.Duration) (ballast.Import, error)
	Imports(ctx context.Context, p engine.Principal, list engine.ListImports) (ballast.ImportsPage, error)
	CancelImport(ctx context.Context, p engine.Principal, id string) error
	// ImportSources are the places that the principal may import from, scope by scope.
	ImportSources(p engine.Principal) ([]ballast.ImportSources, error)

	Models(ctx context.Context, p engine.Principal, list engine.ListModels) (ballast.ModelsPage, error)
	Model(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name) (ballast.ModelInfo, error)
	Versions(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name, list engine.ListVersions) (ballast.VersionsPage, error)
	AllVersions(ctx context.Context, p engine.Principal, list engine.ListAllVersions) (ballast.VersionsPage, error)
	Version(ctx context.Context, p engine.Principal, ref ballast.Ref) (ballast.VersionInfo, error)
	// Provenance is Version that also shows what is retired, or whose base is.
	Provenance(ctx context.Context, p engine.Principal, ref ballast.Ref) (ballast.VersionInfo, error)
	Children(ctx context.Context, p engine.Principal, ref ballast.Ref, limit int, cursor string) (ballast.ChildrenPage, error)
	Files(ctx context.Context, p engine.Principal, ref ballast.Ref, list engine.ListFiles) (ballast.FilesPage, error)
	// File returns one file with its Request, which is nil only for an empty file.
	File(ctx context.Context, p engine.Principal, ref ballast.Ref, path string) (ballast.FileInfo, error)
	Tensors(ctx context.Context, p engine.Principal, ref ballast.Ref, list engine.ListTensors) (ballast.TensorsPage, error)

	Patch(ctx context.Context, p engine.Principal, own engine.Own, req ballast.PatchVersion) (ballast.VersionInfo, error)
	Promote(ctx context.Context, p engine.Principal, own engine.Own, reason string) (ballast.VersionInfo, error)
	Rollback(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name, reason string) (ballast.VersionInfo, error)
	Production(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name, limit int, cursor string) (ballast.ProductionPage, error)
	// Retire and Delete hold from their return on; recorded is false while the bucket does not say so yet.
	Retire(ctx context.Context, p engine.Principal, own engine.Own) (v ballast.VersionInfo, recorded bool, err error)
	Restore(ctx context.Context, p engine.Principal, own engine.Own) (v ballast.VersionInfo, recorded bool, err error)
	Delete(ctx context.Context, p engine.Principal, own engine.Own) (v ballast.VersionInfo, recorded bool, err error)

	Aliases(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name) (ballast.AliasesPage, error)
	// SetAlias and DeleteAlias act only on the revision in ifMatch when it is given; another one is precondition.
	SetAlias(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name, alias ballast.Alias, v ballast.Version, ifMatch *int64) (ballast.AliasInfo, error)
	DeleteAlias(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name, alias ballast.Alias, ifMatch *int64) error

	CreateToken(ctx context.Context, p engine.Principal, req ballast.CreateToken) (ballast.TokenInfo, error)
	Tokens(ctx context.Context, p engine.Principal, limit int, cursor string) (ballast.TokensPage, error)
	Token(ctx context.Context, p engine.Principal, id string) (ballast.TokenInfo, error)
	// CreateToken and RotateToken return the token with its secret.
	RotateToken(ctx context.Context, p engine.Principal, id string, req ballast.RotateToken) (ballast.TokenInfo, error)
	RevokeToken(ctx context.Context, p engine.Principal, id string) error

	Tasks(ctx context.Context) (ballast.TasksPage, error)
	AddTask(ctx context.Context, p engine.Principal, task string) (ballast.TaskInfo, error)
	RemoveTask(ctx context.Context, p engine.Principal, task string) error

	// A zero scope is every tenant without its own quota.
	Quota(ctx context.Context, p engine.Principal, scope ballast.Scope) (ballast.QuotaInfo, error)
	Quotas(ctx context.Context, p engine.Principal, limit int, cursor string) (ballast.QuotasPage, error)
	SetQuota(ctx context.Context, p engine.Principal, scope ballast.Scope, q ballast.Quota) (ballast.QuotaInfo, error)
	UnsetQuota(ctx context.Context, p engine.Principal, scope ballast.Scope) error
	StartFsck(ctx context.Context, p engine.Principal, want ballast.StartFsck) (ballast.Fsck, error)
	Fsck(ctx context.Context, p engine.Principal, limit int, cursor string, wait time.Duration) (ballast.Fsck, error)

	// StartGC starts a run of gc or answers the one under way; GC answers it, after at most wait while it runs.
	StartGC(ctx context.Context, p engine.Principal, req ballast.GCRequest) (ballast.GCRun, error)
	GC(ctx context.Context, p engine.Principal, wait time.Duration) (ballast.GCRun, error)

	// Events returns what happened after a cursor, after at most wait while there is nothing.
	Events(ctx context.Context, p engine.Principal, after string, limit int, wait time.Duration) (ballast.EventsPage, error)

	// Audit returns what was asked for, refused and changed in the scopes that the principal administers, the newest first.
	Audit(ctx context.Context, p engine.Principal, list engine.ListAudit) (ballast.AuditPage, error)

	// Ready returns nil when requests can be served.
	Ready(ctx context.Context) error
}

// Options of the face. The zero value works.
type Options struct {
	Logger     *slog.Logger          // of the access log; nil discards
	Audit      *audit.Log            // of byte requests and refusals; nil writes none
	Registerer prometheus.Registerer // of the metrics; nil keeps them unregistered
	Version    string                // of the service, as whoami shows it
	Store      ballast.StoreInfo     // as /v1/store shows it
	Clock      func() time.Time      // nil: time.Now
	Guest      Guest                 // nil: paths that are not this face's own are not found
	Identity   Identity              // nil: the service's own tokens alone are taken
	Limits     Limits                // of what a principal may ask
	// Changes refuses what would change something, for as long as it returns an error. Nil refuses nothing.
	Changes func(context.Context) error
	// AnonymousRead lets who sends no credentials at all read what is global.
	AnonymousRead bool
}

// Guest is a face in another protocol on the same listener. It gets the requests whose path is none of this face's own,
// and shares the request ids, the authentication, the log and the metrics.
type Guest interface {
	// Serve answers a request of p. An error that it returns before it has written anything is answered by Refuse.
	Serve(w http.ResponseWriter, r *http.Request, p engine.Principal) error
	// Refuse answers a request that Serve, or the authentication before it, refused.
	Refuse(w http.ResponseWriter, r *http.Request, e *ballast.Error)
	// Template is the route of a request, for labels and logs: never what a client made up.
	Template(r *http.Request) string
}

type server struct {
	service   Service
	log       *slog.Logger
	audit     *audit.Log
	metrics   *metrics
	version   string
	store     ballast.StoreInfo
	now       func() time.Time
	guest     Guest
	identity  Identity
	limiter   *limiter          // nil: nobody is limited
	held      held              // answers that wait
	bodies    *engine.Turns     // bytes of long bodies
	decoding  *engine.Turns     // long bodies
	answers   *engine.Turns     // long answers
	versions  versionBodies     // as they were answered
	templates map[string]string // echo's pattern → the route's path as docs/openapi.yaml writes it

	changes       func(context.Context) error
	anonymousRead bool
}

// New returns the face of a service. It panics when its metrics are already on the registerer.
func New(service Service, opt Options) http.Handler {
	s := &server{
		service:   service,
		log:       cmp.Or(opt.Logger, slog.New(slog.DiscardHandler)),
		audit:     opt.Audit,
		metrics:   newMetrics(opt.Registerer),
		version:   opt.Version,
		store:     opt.Store,
		now:       opt.Clock,
		guest:     opt.Guest,
		identity:  opt.Identity,
		bodies:    engine.NewTurns(maxBodies, maxBodiesOfScope),
		decoding:  engine.NewTurns(decodesAtOnce, decodesOfScope),
		answers:   engine.NewTurns(maxAnswers, maxAnswersOfScope),
		versions:  newVersionBodies(),
		templates: make(map[string]string),

		changes:       opt.Changes,
		anonymousRead: opt.AnonymousRead,
	}
	if s.now == nil {
		s.now = time.Now
	}
	e := echo.New()
	e.Pre(routeEscaped)
	if opt.Limits.Rate > 0 {
		s.limiter = newLimiter(opt.Limits, s.now)
		e.Use(s.observe, s.limitStrangers, s.authenticate, s.limit, s.hand)
	} else {
		e.Use(s.observe, s.authenticate, s.hand)
	}
	if s.changes != nil {
		e.Use(s.mayChange)
	}
	for _, r := range s.routes() {
		s.register(e, r)
	}
	return e
}

// Limits of a connection. A request's context is cancelled when its read deadline passes, so readTimeout is longer
// than the longest wait that a request may ask for.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = maxWait + time.Minute // the whole request, and with it the handler
	writeTimeout      = readTimeout + 10*time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10

	// of HTTP/2
	maxStreams   = 128              // at once on a connection
	pingAfter    = 30 * time.Second // of silence
	pongTimeout  = 15 * time.Second
	stallTimeout = 30 * time.Second // of a connection that takes no byte of what is to be sent
)

// NewServer returns a server for h that bounds what a client may cost: headers of 64 KiB within 10 seconds, a whole
// request within 2 minutes, an idle connection 2 minutes, 128 requests at once on a connection of HTTP/2. What net/http
// itself says goes to log.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           endAfterChunks(h),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pongTimeout, WriteByteTimeout: stallTimeout},
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
