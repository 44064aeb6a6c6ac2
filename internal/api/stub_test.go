package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

const (
	goodToken = "bal_test_token"
	fileSum   = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"
	signedURL = "http://127.0.0.1:9000/ballast/global/blobs/sha256/b5/" + fileSum + "?X-Amz-Expires=3600&X-Amz-Signature=secret"
)

// stub answers every call with a full sample, or with err, and remembers what it was asked. It stands in for the
// engine where only the protocol is tested.
type stub struct {
	err     error
	panics  any
	created bool
	pending bool // records are not in the bucket yet
	status  ballast.UploadStatus
	empty   bool // lists hold nothing, files are empty
	last    []any
}

func (s *stub) call(args ...any) error {
	s.last = args
	if s.panics != nil {
		panic(s.panics)
	}
	return s.err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	acme         = must(ballast.ParseScope("acme"))
	tiny         = must(ballast.ParseName("llama/tiny"))
	two          = must(ballast.ParseVersion("2"))
	one          = must(ballast.ParseVersion("1"))
	sampleSource = must(ballast.ParseSource("s3://ballast/tenants/acme/inbox/tiny/"))
	champion     = must(ballast.ParseAlias("champion"))
	sampleTime   = ballast.At(time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC))
	sampleAlias  = ballast.AliasInfo{Alias: champion, Version: one, UpdatedBy: "ci@acme", UpdatedAt: sampleTime, Revision: 4}
	sampleToken  = ballast.TokenInfo{
		ID: "3f9c2a71", Name: "ci", Grants: samplePrincipal.Grants, CreatedBy: "root@global", CreatedAt: sampleTime, ExpiresAt: sampleTime, LastUsedAt: sampleTime,
		RotatedAt: sampleTime, OverlapUntil: sampleTime,
	}

	sampleLimit = int64(10)
	sampleQuota = ballast.QuotaInfo{Scope: "acme", Quota: ballast.Quota{Versions: &sampleLimit}, Source: ballast.QuotaOwn, SetBy: "root@global", SetAt: sampleTime, Usage: &ballast.Usage{Versions: 1}}

	samplePrincipal = engine.Principal{ID: "3f9c2a71", Name: "ci", ExpiresAt: sampleTime, Grants: []ballast.Grant{
		{Scope: acme, Role: ballast.Writer}, {Scope: acme, Role: ballast.Maintainer, Names: must(ballast.ParseNames("llama-*"))},
	}}
	sampleRequest = ballast.SignedRequest{Method: "GET", URL: signedURL, Headers: map[string]string{}, ExpiresAt: sampleTime}
	sampleModel   = ballast.ModelInfo{Scope: acme, Name: tiny, Latest: one, Versions: 1, UpdatedAt: sampleTime}
	sampleVersion = ballast.VersionInfo{
		Key: "acme::llama/tiny::1", Scope: acme, Name: tiny, Version: one, Status: ballast.StatusReady, Stage: ballast.StageNone,
		Digest: "sha256:" + fileSum, ObjectKey: "tenants/acme/blobs/sha256/b5/" + fileSum, Size: 4096, Files: 1,
		Assurance: ballast.AssuranceStore, Aliases: []ballast.Alias{champion},
		Weights:   &ballast.Weights{Format: ballast.FormatSafetensors, Files: 1, Tensors: 2, Parameters: 18, DTypes: map[string]int64{"BF16": 16, "F32": 2}},
		Metadata:  ballast.Metadata{Task: "text-generation", Metrics: map[string]float64{"loss": 0.5}, Config: []byte(`[1]`)},
		CreatedBy: "ci@acme", CreatedAt: sampleTime, UpdatedAt: sampleTime, Revision: 3,
	}
	samplePromotion = ballast.Promotion{Number: 2, Kind: ballast.RolledBack, From: two, To: one, Reason: "it lies", By: "ci@acme", At: sampleTime}
	sampleChild     = ballast.Child{Key: "acme::llama/tiny::2", Status: ballast.StatusRetired, Stage: ballast.StageArchived}
	sampleEvent     = ballast.Event{
		Cursor: "1-42", At: sampleTime, By: "ci@acme", Kind: ballast.EventPromoted, Scope: acme, Key: "acme::llama/tiny::1", Name: tiny, From: two,
		Before: 3, After: 4, Fields: []string{"stage"}, Source: sampleSource,
	}
	sampleAudit = []ballast.AuditEntry{
		{
			At: sampleTime, Action: ballast.AuditRead, By: "ci@acme", Principal: "3f9c2a71", Scope: acme, Key: "acme::llama/tiny::1", Path: "a/model.safetensors", URLs: 1, Bytes: 4096,
			Request: "GET /v1/models/llama/tiny/versions/latest/files/a/model.safetensors", Status: 307, Remote: "10.0.0.7", RequestID: "r1", Agent: "ballast/1.0",
		},
		{At: sampleTime, Action: ballast.AuditWrite, By: "ci@acme", Scope: acme, Name: tiny, Digest: "sha256:" + fileSum, Status: 404, Code: ballast.CodeNotFound, Request: "POST /v1/uploads/u1/blobs"},
		{At: sampleTime, Action: ballast.AuditAuth, Status: 401, Code: ballast.CodeUnauthenticated, Request: "GET /v1/models", More: 7},
		{At: sampleTime, Action: ballast.AuditLost, Lost: 3},
		{At: sampleTime, Action: ballast.AuditAction(ballast.EventPromoted), By: "ci@acme", Scope: acme, Key: "acme::llama/tiny::1", Name: tiny, Change: &sampleEvent},
	}
	sampleBlobs = ballast.BlobsResponse{ExpiresAt: sampleTime, Blobs: []ballast.BlobAnswer{
		{Digest: "sha256:" + fileSum, Size: 4096, State: ballast.BlobMissing, Method: ballast.MethodPut, Request: &sampleRequest},
		{
			Digest: "sha256:" + fileSum, Size: 6 << 20, State: ballast.BlobMissing, Method: ballast.MethodMultipart, PartSize: 5 << 20,
			Have: []int{1}, Parts: []ballast.PartAnswer{{Number: 2, Request: sampleRequest}},
		},
		{Digest: "sha256:" + fileSum, Size: 7, State: ballast.BlobBusy, RetryAfter: 2},
	}}
)

func (s *stub) upload() ballast.Upload {
	u := ballast.Upload{
		ID: "u1", Scope: acme, Name: tiny, Version: one, Key: "acme::llama/tiny::1", Status: s.status, CreatedBy: "ci@acme",
		CreatedAt: sampleTime, ExpiresAt: sampleTime,
	}
	switch s.status {
	case ballast.UploadVerifying:
		u.Progress = &ballast.Progress{Blobs: 2, BlobsVerified: 1, Bytes: 9, BytesVerified: 4}
	case ballast.UploadDone:
		u.Result = &sampleVersion
	case ballast.UploadFailed:
		u.Error = ballast.Errorf(ballast.CodeIntegrity, "other bytes")
		u.Error.Expected, u.Error.Actual = sampleVersion.Digest, ballast.EmptyDigest
	case "":
		u.Status = ballast.UploadPending
	}
	return u
}

func (s *stub) sampleFile(urls bool) ballast.FileInfo {
	f := ballast.FileInfo{Path: "a/model.safetensors", Size: 4096, SHA256: fileSum, MediaType: "application/vnd.cncf.model.weight.v1.raw"}
	if s.empty {
		f.Size, f.SHA256 = 0, ballast.EmptyDigest.Encoded()
	} else if urls {
		f.Request = &sampleRequest
	}
	return f
}

func (s *stub) Authenticate(_ context.Context, token ballast.Secret) (engine.Principal, error) {
	if token != goodToken {
		return engine.Principal{}, ballast.Errorf(ballast.CodeUnauthenticated, "the token is not known")
	}
	return samplePrincipal, nil
}

func (s *stub) CreateUpload(_ context.Context, _ engine.Principal, req ballast.CreateUpload) (ballast.Upload, bool, error) {
	return s.upload(), s.created, s.call(req)
}

func (s *stub) CheckUpload(context.Context, engine.Principal, string) error { return nil }

func (s *stub) Blobs(_ context.Context, _ engine.Principal, id string, req ballast.BlobsRequest) (ballast.BlobsResponse, error) {
	return sampleBlobs, s.call(id, req)
}

func (s *stub) Commit(_ context.Context, _ engine.Principal, id string, req ballast.CommitRequest) (ballast.Upload, error) {
	return s.upload(), s.call(id, req)
}

func (s *stub) Upload(_ context.Context, _ engine.Principal, id string, wait time.Duration) (ballast.Upload, error) {
	return s.upload(), s.call(id, wait)
}

func (s *stub) Copy(_ context.Context, _ engine.Principal, from ballast.Ref, req ballast.CopyVersion) (ballast.Upload, error) {
	return s.upload(), s.call(from, req)
}

func (s *stub) AbortUpload(_ context.Context, _ engine.Principal, id string) error { return s.call(id) }

func (s *stub) sampleImport() ballast.Import {
	m := ballast.Import{
		ID: "u1", Source: sampleSource, Move: true, Scope: acme, Name: tiny, Version: one, Key: "acme::llama/tiny::1", Status: s.status,
		CreatedBy: "ci@acme", CreatedAt: sampleTime, Skipped: []string{".git"},
		Progress: &ballast.ImportProgress{Files: 3, FilesHashed: 2, Bytes: 9, BytesHashed: 7, BytesCopied: 5, BytesVerified: 4},
	}
	switch s.status {
	case ballast.UploadDone:
		m.Progress, m.Result = nil, &sampleVersion
		m.Moved = &ballast.Moved{Done: true, Files: 2, Left: 1, Kept: []ballast.Kept{{Path: "a", Why: "it was replaced since it was copied"}}}
	case ballast.UploadFailed:
		m.Progress, m.Error = nil, ballast.Errorf(ballast.CodePrecondition, "replaced")
	case "":
		m.Status, m.Waiting = ballast.UploadImporting, ballast.Errorf(ballast.CodeUnavailable, "the store does not answer")
	}
	return m
}

func (s *stub) CreateImport(_ context.Context, _ engine.Principal, req ballast.CreateImport) (ballast.Import, bool, error) {
	return s.sampleImport(), s.created, s.call(req)
}

func (s *stub) Import(_ context.Context, _ engine.Principal, id string, wait time.Duration) (ballast.Import, error) {
	return s.sampleImport(), s.call("import", id, wait)
}

func (s *stub) Imports(_ context.Context, _ engine.Principal, l engine.ListImports) (ballast.ImportsPage, error) {
	return ballast.ImportsPage{Imports: some(s, s.sampleImport()), Cursor: "next"}, s.call(l)
}

func (s *stub) CancelImport(_ context.Context, _ engine.Principal, id string) error {
	return s.call("cancel", id)
}

func (s *stub) ImportSources(engine.Principal) ([]ballast.ImportSources, error) {
	return some(s, ballast.ImportSources{Scope: acme, Sources: []ballast.Source{sampleSource}}), nil
}

func (s *stub) Models(_ context.Context, _ engine.Principal, f engine.ListModels) (ballast.ModelsPage, error) {
	return ballast.ModelsPage{Models: some(s, sampleModel), Cursor: "next"}, s.call(f)
}

func (s *stub) Model(_ context.Context, _ engine.Principal, scope ballast.Scope, name ballast.Name) (ballast.ModelInfo, error) {
	return sampleModel, s.call(scope, name)
}

func (s *stub) Versions(_ context.Context, _ engine.Principal, scope ballast.Scope, name ballast.Name, l engine.ListVersions) (ballast.VersionsPage, error) {
	return ballast.VersionsPage{Versions: some(s, sampleVersion)}, s.call(scope, name, l)
}

func (s *stub) AllVersions(_ context.Context, _ engine.Principal, l engine.ListAllVersions) (ballast.VersionsPage, error) {
	return ballast.VersionsPage{Versions: some(s, sampleVersion), Cursor: "next"}, s.call(l)
}

func (s *stub) Version(_ context.Context, _ engine.Principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	return sampleVersion, s.call(ref)
}

func (s *stub) Provenance(_ context.Context, _ engine.Principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	return s.retired(), s.call("retired", ref)
}

func (s *stub) retired() ballast.VersionInfo {
	v := sampleVersion
	v.Status, v.Stage, v.RetiredBy, v.RetiredAt = ballast.StatusRetired, ballast.StageArchived, "ci@acme", sampleTime
	return v
}

func (s *stub) Children(_ context.Context, _ engine.Principal, ref ballast.Ref, limit int, cursor string) (ballast.ChildrenPage, error) {
	return ballast.ChildrenPage{Key: sampleVersion.Key, Children: some(s, sampleChild)}, s.call(ref, limit, cursor)
}

func (s *stub) Patch(_ context.Context, _ engine.Principal, own engine.Own, req ballast.PatchVersion) (ballast.VersionInfo, error) {
	return sampleVersion, s.call(own, req)
}

func (s *stub) Promote(_ context.Context, _ engine.Principal, own engine.Own, reason string) (ballast.VersionInfo, error) {
	return sampleVersion, s.call(own, reason)
}

func (s *stub) Rollback(_ context.Context, _ engine.Principal, scope ballast.Scope, name ballast.Name, reason string) (ballast.VersionInfo, error) {
	return sampleVersion, s.call(scope, name, reason)
}

func (s *stub) Production(_ context.Context, _ engine.Principal, scope ballast.Scope, name ballast.Name, limit int, cursor string) (ballast.ProductionPage, error) {
	page := ballast.ProductionPage{Scope: acme, Name: tiny, Version: one, Promotions: some(s, samplePromotion), Cursor: "next"}
	if s.empty {
		page.Version = ballast.Version{}
	}
	return page, s.call(scope, name, limit, cursor)
}

func (s *stub) Retire(_ context.Context, _ engine.Principal, own engine.Own) (ballast.VersionInfo, bool, error) {
	return s.retired(), !s.pending, s.call(own)
}

func (s *stub) Restore(_ context.Context, _ engine.Principal, own engine.Own) (ballast.VersionInfo, bool, error) {
	return sampleVersion, !s.pending, s.call(own)
}

func (s *stub) StartGC(_ context.Context, _ engine.Principal, req ballast.GCRequest) (ballast.GCRun, error) {
	return s.gc(), s.call(req)
}

func (s *stub) GC(_ context.Context, _ engine.Principal, wait time.Duration) (ballast.GCRun, error) {
	return s.gc(), s.call(wait)
}

func (s *stub) gc() ballast.GCRun {
	scopes := some(s, ballast.GCScope{Scope: acme, Removed: ballast.GCCounts{Blobs: 1, Bytes: 4096}})
	return ballast.GCRun{State: ballast.GCRunning, By: "ops", StartedAt: sampleVersion.CreatedAt, Scopes: scopes, GraceSeconds: 86400}
}

func (s *stub) Delete(_ context.Context, _ engine.Principal, own engine.Own) (ballast.VersionInfo, bool, error) {
	v := sampleVersion
	v.Status = ballast.StatusDeleted
	return v, !s.pending, s.call(own)
}

func (s *stub) Events(_ context.Context, _ engine.Principal, after string, limit int, wait time.Duration) (ballast.EventsPage, error) {
	return ballast.EventsPage{Events: some(s, sampleEvent), Cursor: "1-42"}, s.call(after, limit, wait)
}

func (s *stub) Audit(_ context.Context, _ engine.Principal, l engine.ListAudit) (ballast.AuditPage, error) {
	return ballast.AuditPage{Entries: some(s, sampleAudit...), Requests: true, Unreadable: 1, Cursor: "next"}, s.call(l)
}

func (s *stub) Files(_ context.Context, _ engine.Principal, ref ballast.Ref, f engine.ListFiles) (ballast.FilesPage, error) {
	return ballast.FilesPage{Key: sampleVersion.Key, Digest: sampleVersion.Digest, Files: some(s, s.sampleFile(f.URLs))}, s.call(ref, f)
}

func (s *stub) File(_ context.Context, _ engine.Principal, ref ballast.Ref, path string) (ballast.FileInfo, error) {
	return s.sampleFile(true), s.call(ref, path)
}

func (s *stub) Tensors(_ context.Context, _ engine.Principal, ref ballast.Ref, l engine.ListTensors) (ballast.TensorsPage, error) {
	return ballast.TensorsPage{
		Key: sampleVersion.Key, Digest: sampleVersion.Digest, Path: l.Path, Format: ballast.FormatSafetensors, Total: 2,
		Tensors: some(s, ballast.TensorInfo{Name: "model.embed_tokens.weight", DType: "BF16", Shape: []int64{2, 8}, Offset: 136, Size: 32}), Cursor: "next",
	}, s.call(ref, l)
}

func (s *stub) Aliases(_ context.Context, _ engine.Principal, scope ballast.Scope, name ballast.Name) (ballast.AliasesPage, error) {
	return ballast.AliasesPage{Aliases: some(s, sampleAlias)}, s.call(scope, name)
}

func (s *stub) SetAlias(_ context.Context, _ engine.Principal, scope ballast.Scope, name ballast.Name, alias ballast.Alias, v ballast.Version, ifMatch *int64) (ballast.AliasInfo, error) {
	return sampleAlias, s.call(scope, name, alias, v, ifMatch)
}

func (s *stub) DeleteAlias(_ context.Context, _ engine.Principal, scope ballast.Scope, name ballast.Name, alias ballast.Alias, ifMatch *int64) error {
	return s.call(scope, name, alias, ifMatch)
}

func (s *stub) CreateToken(_ context.Context, _ engine.Principal, req ballast.CreateToken) (ballast.TokenInfo, error) {
	t := sampleToken
	t.Token = "bal_3f9c2a71_secret"
	return t, s.call(req)
}

func (s *stub) Tokens(_ context.Context, _ engine.Principal, limit int, cursor string) (ballast.TokensPage, error) {
	return ballast.TokensPage{Tokens: some(s, sampleToken)}, s.call(limit, cursor)
}

func (s *stub) Tasks(context.Context) (ballast.TasksPage, error) {
	return ballast.TasksPage{Tasks: some(s, ballast.TaskInfo{Task: "claim-triage", AddedBy: "root@global", AddedAt: sampleTime}, ballast.TaskInfo{Task: "ner"})}, s.call()
}

func (s *stub) AddTask(_ context.Context, _ engine.Principal, task string) (ballast.TaskInfo, error) {
	return ballast.TaskInfo{Task: task, AddedBy: "root@global", AddedAt: sampleTime}, s.call(task)
}

func (s *stub) RemoveTask(_ context.Context, _ engine.Principal, task string) error {
	return s.call(task)
}

func (s *stub) Quota(_ context.Context, _ engine.Principal, scope ballast.Scope) (ballast.QuotaInfo, error) {
	return sampleQuota, s.call(scope)
}

func (s *stub) Quotas(_ context.Context, _ engine.Principal, limit int, cursor string) (ballast.QuotasPage, error) {
	return ballast.QuotasPage{Quotas: some(s, sampleQuota, ballast.QuotaInfo{Scope: ballast.EveryTenant, Source: ballast.QuotaNone})}, s.call(limit, cursor)
}

func (s *stub) SetQuota(_ context.Context, _ engine.Principal, scope ballast.Scope, q ballast.Quota) (ballast.QuotaInfo, error) {
	return sampleQuota, s.call(scope, q)
}

func (s *stub) StartFsck(_ context.Context, _ engine.Principal, want ballast.StartFsck) (ballast.Fsck, error) {
	return ballast.Fsck{ID: "f1", StartFsck: want, State: ballast.FsckRunning, StartedAt: sampleTime, Counts: []ballast.FindingCount{}, Findings: []ballast.Finding{}}, s.call(want)
}

func (s *stub) Fsck(_ context.Context, _ engine.Principal, limit int, cursor string, _ time.Duration) (ballast.Fsck, error) {
	found := ballast.Finding{Kind: ballast.FindingOrphan, Scope: "acme", Object: "tenants/acme/x", What: "it is nobody's", Do: "remove it"}
	return ballast.Fsck{
		ID: "f1", State: ballast.FsckDone, StartedAt: sampleTime, EndedAt: sampleTime, Counts: []ballast.FindingCount{{Kind: ballast.FindingOrphan, Count: 1}}, Findings: some(s, found, found),
	}, s.call(limit, cursor)
}

func (s *stub) UnsetQuota(_ context.Context, _ engine.Principal, scope ballast.Scope) error {
	return s.call(scope)
}

func (s *stub) Token(_ context.Context, _ engine.Principal, id string) (ballast.TokenInfo, error) {
	return sampleToken, s.call(id)
}

func (s *stub) RotateToken(_ context.Context, _ engine.Principal, id string, req ballast.RotateToken) (ballast.TokenInfo, error) {
	t := sampleToken
	t.Token = "bal_3f9c2a71_secret"
	return t, s.call(id, req)
}

func (s *stub) RevokeToken(_ context.Context, _ engine.Principal, id string) error { return s.call(id) }

func (s *stub) Ready(context.Context) error { return s.call() }

// some is a page's items: one, or none when the stub is empty.
func some[T any](s *stub, items ...T) []T {
	if s.empty {
		return nil
	}
	return slices.Clone(items)
}

// fill writes a request path from a route's path.
func fill(template string) string {
	return strings.NewReplacer("{id}", "u1", "{name}", "llama/tiny", "{ref}", "1", "{path}", "a/model.safetensors", "{alias}", "champion", "{task}", "claim-triage", "{scope}", "acme").Replace(template)
}

const versionPath = "/v1/models/{name}/versions/{ref}"

// bodies are a valid body for each operation that takes one.
var bodies = map[string]string{
	"POST /v1/uploads":                      `{"name":"llama/tiny","version":"1","attempt":"0123456789abcdef"}`,
	"POST /v1/uploads/{id}/blobs":           `{"blobs":[{"digest":"sha256:` + fileSum + `","size":4096}]}`,
	"POST /v1/uploads/{id}/commit":          `{"files":[{"path":"a","size":4096,"sha256":"` + fileSum + `"}],"metadata":{"task":"ner"}}`,
	"POST /v1/imports":                      `{"source":"inbox:tiny/","name":"llama/tiny","version":"1","metadata":{"task":"ner"},"move":true}`,
	"PUT /v1/models/{name}/aliases/{alias}": `{"version":"1"}`,
	"PUT /v1/admin/quotas/{scope}":          `{"bytes":10995116277760}`,
	"POST /v1/admin/gc":                     `{"dry_run":true}`,

	"POST /v1/models/{name}/versions/{ref}/copy": `{"scope":"global","name":"llama/tiny","version":"1"}`,
	"POST /v1/tokens":                  `{"name":"ci","grants":[{"scope":"acme","role":"writer","names":"llama-*"}],"expires_in":60}`,
	"POST /v1/tokens/{id}/rotate":      `{"overlap":3600}`,
	"PATCH " + versionPath:             `{"stage":"validated","metadata":{"task":null}}`,
	"POST " + versionPath + "/promote": `{"reason":"better"}`,
	"POST /v1/models/{name}/rollback":  `{"reason":"worse"}`,
}
