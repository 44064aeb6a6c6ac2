package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
)

// CreateUpload opens an upload, or returns the open one of the same principal and attempt.
// Errors: conflict with Error.Holder when another upload holds the label, already_exists.
func (c *Client) CreateUpload(ctx context.Context, in ballast.CreateUpload) (ballast.Upload, error) {
	return fetch[ballast.Upload](ctx, c, call{method: http.MethodPost, path: "/v1/uploads", in: in})
}

// Blobs asks which blobs are there, pins them to the upload and gets signed requests for those that are not.
func (c *Client) Blobs(ctx context.Context, upload string, in ballast.BlobsRequest) (ballast.BlobsResponse, error) {
	return fetch[ballast.BlobsResponse](ctx, c, call{method: http.MethodPost, path: uploadPath(upload) + "/blobs", in: in})
}

// Commit hands in the list of files. The upload it returns is done, with a Result, or verifying: wait with Upload.
// Errors: missing with Error.Missing, the digests to send again; already_exists; lease_lost.
func (c *Client) Commit(ctx context.Context, upload string, in ballast.CommitRequest) (ballast.Upload, error) {
	return c.outcome(ctx, upload, call{method: http.MethodPost, path: uploadPath(upload) + "/commit", in: in})
}

// CopyVersion publishes the files of a version, and what is said of it, under another name or in another scope; the store
// moves the bytes. The upload it returns is done, with a Result, or verifying: wait with Upload. The same call again
// joins a copy that is under way. Errors: those of CreateUpload and Commit; precondition when the base model cannot be
// seen from there.
func (c *Client) CopyVersion(ctx context.Context, from ballast.Ref, in ballast.CopyVersion) (ballast.Upload, error) {
	return c.outcome(ctx, "", call{method: http.MethodPost, path: versionPath(from) + "/copy", in: in})
}

// outcome makes a call that is answered with an upload under way, or with the version that it has become.
func (c *Client) outcome(ctx context.Context, upload string, call call) (ballast.Upload, error) {
	a, err := c.do(ctx, call)
	if err != nil {
		return ballast.Upload{}, err
	}
	if a.status == http.StatusAccepted {
		return decode[ballast.Upload](c, a)
	}
	v, err := decode[ballast.VersionInfo](c, a)
	if err != nil {
		return ballast.Upload{}, err
	}
	return ballast.Upload{ID: upload, Scope: v.Scope, Name: v.Name, Version: v.Version, Key: v.Key, Status: ballast.UploadDone, Result: &v}, nil
}

// Upload returns the state of an upload. With wait > 0 the registry holds the answer that long at most, until the
// upload is settled.
func (c *Client) Upload(ctx context.Context, upload string, wait time.Duration) (ballast.Upload, error) {
	q := url.Values{}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	return fetch[ballast.Upload](ctx, c, call{method: http.MethodGet, path: uploadPath(upload), query: q, wait: wait})
}

// Abort gives an upload up, whoever opened it; writers of its scope may. Errors: conflict once it is sealed.
func (c *Client) Abort(ctx context.Context, upload string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: uploadPath(upload)})
	return err
}

// ListModels narrows Models.
type ListModels struct {
	Scope  ballast.Scope // zero: the principal's own and global
	Prefix string        // of the name, compared without case
}

// Models yields the models that the principal may read. An error ends the sequence.
func (c *Client) Models(ctx context.Context, o ListModels) iter.Seq2[ballast.ModelInfo, error] {
	q := url.Values{}
	if o.Prefix != "" {
		q.Set("prefix", o.Prefix)
	}
	if !o.Scope.IsZero() {
		q.Set("scope", o.Scope.String())
	}
	return list(ctx, c, "/v1/models", q, func(p ballast.ModelsPage) ([]ballast.ModelInfo, string) { return p.Models, p.Cursor })
}

// Model returns one model; of ref only the scope and the name count.
func (c *Client) Model(ctx context.Context, ref ballast.Ref) (ballast.ModelInfo, error) {
	return fetch[ballast.ModelInfo](ctx, c, call{method: http.MethodGet, path: modelPath(ref)})
}

// Versions yields the versions of a model that the filter admits, the highest first; of ref only the scope and the name
// count. The zero filter admits what is ready.
func (c *Client) Versions(ctx context.Context, ref ballast.Ref, f ballast.VersionFilter) iter.Seq2[ballast.VersionInfo, error] {
	return list(ctx, c, modelPath(ref)+"/versions", filterQuery(f), versionsOf)
}

// ListVersions narrows AllVersions.
type ListVersions struct {
	Scope  ballast.Scope        // zero: the principal's own and global, where an own name hides the global one
	Prefix string               // of the name, compared without case
	Order  ballast.VersionOrder // zero: by name
	Filter ballast.VersionFilter
}

// AllVersions yields the versions of all models that the principal may read and the filter admits.
func (c *Client) AllVersions(ctx context.Context, o ListVersions) iter.Seq2[ballast.VersionInfo, error] {
	q := filterQuery(o.Filter)
	for key, value := range map[string]string{"scope": o.Scope.String(), "prefix": o.Prefix, "order": string(o.Order)} {
		if value != "" {
			q.Set(key, value)
		}
	}
	return list(ctx, c, "/v1/versions", q, versionsOf)
}

func versionsOf(p ballast.VersionsPage) ([]ballast.VersionInfo, string) { return p.Versions, p.Cursor }

func filterQuery(f ballast.VersionFilter) url.Values {
	q := url.Values{}
	for key, value := range map[string]string{"status": string(f.Status), "stage": string(f.Stage), "task": f.Task, "creator": f.Creator} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if f.Base != (ballast.Ref{}) {
		q.Set("base", f.Base.String())
	}
	for _, tag := range f.Tags {
		q.Add("tag", tag)
	}
	for _, m := range f.Metrics {
		q.Add("metric."+m.Metric+"."+string(m.Bound), strconv.FormatFloat(m.Value, 'g', -1, 64))
	}
	return q
}

// Version resolves a reference.
func (c *Client) Version(ctx context.Context, ref ballast.Ref) (ballast.VersionInfo, error) {
	return fetch[ballast.VersionInfo](ctx, c, call{method: http.MethodGet, path: versionPath(ref)})
}

// ListFiles says what FilesPage and Files return of each file.
type ListFiles struct {
	URLs   bool // a signed request for its bytes
	Parts  bool // the digests of its parts, where they are known
	Limit  int  // files a page; 0 leaves it to the registry
	Cursor string
}

// FilesPage returns one page of a version's files in the order of their paths.
func (c *Client) FilesPage(ctx context.Context, ref ballast.Ref, o ListFiles) (ballast.FilesPage, error) {
	page, _, err := c.filesPage(ctx, ref, o, c.tries)
	return page, err
}

// filesPage also returns the registry's time.
func (c *Client) filesPage(ctx context.Context, ref ballast.Ref, o ListFiles, tries int) (page ballast.FilesPage, now time.Time, err error) {
	a, err := c.do(ctx, call{method: http.MethodGet, path: versionPath(ref) + "/files", query: o.query(), tries: tries})
	if err == nil {
		page, err = decode[ballast.FilesPage](c, a)
	}
	return page, dateOf(a.header), err
}

func (o ListFiles) query() url.Values {
	q := url.Values{}
	if o.URLs {
		q.Set("urls", "true")
	}
	if o.Parts {
		q.Set("parts", "true")
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.Cursor != "" {
		q.Set("cursor", o.Cursor)
	}
	return q
}

// Files yields the files of a version, page by page. Signed requests age while the caller works on a page.
func (c *Client) Files(ctx context.Context, ref ballast.Ref, o ListFiles) iter.Seq2[ballast.FileInfo, error] {
	return list(ctx, c, versionPath(ref)+"/files", o.query(), func(p ballast.FilesPage) ([]ballast.FileInfo, string) { return p.Files, p.Cursor })
}

// ListTensors says which page TensorsPage returns.
type ListTensors struct {
	Limit  int // tensors a page; 0 leaves it to the registry
	Cursor string
}

// TensorsPage returns one page of what the header of a weight file says, in the order of the tensors' bytes.
// Errors: precondition for a file that is neither safetensors nor GGUF.
func (c *Client) TensorsPage(ctx context.Context, ref ballast.Ref, path string, o ListTensors) (ballast.TensorsPage, error) {
	return fetch[ballast.TensorsPage](ctx, c, call{method: http.MethodGet, path: tensorsPath(ref, path), query: ListFiles{Limit: o.Limit, Cursor: o.Cursor}.query()})
}

// Tensors yields the tensors of a weight file, page by page.
func (c *Client) Tensors(ctx context.Context, ref ballast.Ref, path string) iter.Seq2[ballast.TensorInfo, error] {
	return list(ctx, c, tensorsPath(ref, path), url.Values{"limit": {"1000"}}, func(p ballast.TensorsPage) ([]ballast.TensorInfo, string) { return p.Tensors, p.Cursor })
}

func tensorsPath(ref ballast.Ref, path string) string {
	return versionPath(ref) + "/tensors/" + escape(strings.Split(path, "/")...)
}

// FileRequest returns a fresh signed request for the bytes of one file. Its ExpiresAt is zero where its URL does not say.
func (c *Client) FileRequest(ctx context.Context, ref ballast.Ref, path string) (ballast.SignedRequest, error) {
	sr, _, err := c.fileRequest(ctx, ref, path, c.tries, nil)
	return sr, err
}

// signedAnew asks the registry for a URL that it has not given out before.
var signedAnew = map[string]string{"Cache-Control": "no-cache"}

// fileRequest also returns the registry's time.
func (c *Client) fileRequest(ctx context.Context, ref ballast.Ref, path string, tries int, header map[string]string) (sr ballast.SignedRequest, now time.Time, err error) {
	a, err := c.do(ctx, call{method: http.MethodGet, path: versionPath(ref) + "/files/" + escape(strings.Split(path, "/")...), tries: tries, header: header})
	if err != nil {
		return sr, now, err
	}
	where := a.header.Get("Location")
	if where == "" {
		return sr, now, ballast.Errorf(ballast.CodeUnavailable, "%s gave no URL for %q: check the registry's URL and version", c.base, path)
	}
	sr = ballast.SignedRequest{Method: http.MethodGet, URL: where}
	if signed, life := signedAt(sr); !signed.IsZero() {
		sr.ExpiresAt = ballast.At(signed.Add(life))
	}
	return sr, dateOf(a.header), nil
}

// Aliases returns the aliases of a model, sorted; of ref only the scope and the name count.
func (c *Client) Aliases(ctx context.Context, ref ballast.Ref) ([]ballast.AliasInfo, error) {
	page, err := fetch[ballast.AliasesPage](ctx, c, call{method: http.MethodGet, path: modelPath(ref) + "/aliases"})
	return page.Aliases, err
}

// SetAlias points an alias at a version. With revision > 0 it moves only from that revision: precondition otherwise.
func (c *Client) SetAlias(ctx context.Context, ref ballast.Ref, alias ballast.Alias, version ballast.Version, revision int64) (ballast.AliasInfo, error) {
	return fetch[ballast.AliasInfo](ctx, c, call{
		method: http.MethodPut, path: aliasPath(ref, alias), header: ifMatch(revision),
		in: ballast.SetAlias{Version: version}, once: revision > 0,
	})
}

// DeleteAlias removes an alias. With revision > 0 only while it has that revision: precondition otherwise.
func (c *Client) DeleteAlias(ctx context.Context, ref ballast.Ref, alias ballast.Alias, revision int64) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: aliasPath(ref, alias), header: ifMatch(revision), once: revision > 0})
	return err
}

func ifMatch(revision int64) map[string]string {
	if revision <= 0 {
		return nil
	}
	return map[string]string{"If-Match": fmt.Sprintf(`"%d"`, revision)}
}

// CreateToken mints a token; TokenInfo.Token is shown this once. It is sent once: after unavailable look at Tokens.
func (c *Client) CreateToken(ctx context.Context, in ballast.CreateToken) (ballast.TokenInfo, error) {
	return fetch[ballast.TokenInfo](ctx, c, call{method: http.MethodPost, path: "/v1/tokens", in: in, once: true})
}

// Tokens yields the tokens that the principal may see, without their secrets.
func (c *Client) Tokens(ctx context.Context) iter.Seq2[ballast.TokenInfo, error] {
	return list(ctx, c, "/v1/tokens", nil, func(p ballast.TokensPage) ([]ballast.TokenInfo, string) { return p.Tokens, p.Cursor })
}

// Token returns a token that the principal holds or administers, without its secret.
func (c *Client) Token(ctx context.Context, id string) (ballast.TokenInfo, error) {
	return fetch[ballast.TokenInfo](ctx, c, call{method: http.MethodGet, path: "/v1/tokens/" + escape(id)})
}

// RotateToken gives a token another secret; TokenInfo.Token is shown this once. Those before it stay good for the overlap,
// in whole seconds. It is sent once: after unavailable call it again, within the overlap with the secret of before.
func (c *Client) RotateToken(ctx context.Context, id string, overlap time.Duration) (ballast.TokenInfo, error) {
	in := ballast.RotateToken{Overlap: int64(overlap / time.Second)}
	return fetch[ballast.TokenInfo](ctx, c, call{method: http.MethodPost, path: "/v1/tokens/" + escape(id) + "/rotate", in: in, once: true})
}

// RevokeToken ends a token at once.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: "/v1/tokens/" + escape(id)})
	return err
}

// Tasks returns the tasks that versions can be for, sorted.
func (c *Client) Tasks(ctx context.Context) ([]ballast.TaskInfo, error) {
	page, err := fetch[ballast.TasksPage](ctx, c, call{method: http.MethodGet, path: "/v1/tasks"})
	return page.Tasks, err
}

// AddTask adds a task for all scopes, which takes an admin of global; one that is known stays as it is.
func (c *Client) AddTask(ctx context.Context, task string) (ballast.TaskInfo, error) {
	return fetch[ballast.TaskInfo](ctx, c, call{method: http.MethodPut, path: "/v1/tasks/" + escape(task)})
}

// RemoveTask removes a task that was added; an absent one is success.
func (c *Client) RemoveTask(ctx context.Context, task string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: "/v1/tasks/" + escape(task)})
	return err
}

// Whoami tells whom the registry takes the caller for.
func (c *Client) Whoami(ctx context.Context) (ballast.Whoami, error) {
	return fetch[ballast.Whoami](ctx, c, call{method: http.MethodGet, path: "/v1/whoami"})
}

// Store tells where the registry's objects lie, for programs that read them with an identity of their own.
func (c *Client) Store(ctx context.Context) (ballast.StoreInfo, error) {
	store, err := fetch[ballast.StoreInfo](ctx, c, call{method: http.MethodGet, path: "/v1/store"})
	if err != nil {
		return store, err
	}
	return store, c.checkStore(store)
}

// Health asks once, without a token, whether the registry answers.
func (c *Client) Health(ctx context.Context) error {
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/healthz", public: true, tries: 1})
	return err
}

func uploadPath(id string) string { return "/v1/uploads/" + escape(id) }

func modelPath(ref ballast.Ref) string {
	return "/v1/models/" + escape(strings.Split(ref.QualifiedName(), "/")...)
}

func versionPath(ref ballast.Ref) string {
	return modelPath(ref) + "/versions/" + escape(ref.Selector())
}

func aliasPath(ref ballast.Ref, alias ballast.Alias) string {
	return modelPath(ref) + "/aliases/" + escape(alias.String())
}

func escape(segments ...string) string {
	out := make([]string, len(segments))
	for i, s := range segments {
		out[i] = url.PathEscape(s)
	}
	return strings.Join(out, "/")
}

// list yields the entries of all pages. A cursor that stands still is an error: the same page would come for ever.
func list[P, E any](ctx context.Context, c *Client, path string, q url.Values, open func(P) ([]E, string)) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		query := url.Values{}
		for k, v := range q {
			query[k] = v
		}
		for {
			page, err := fetch[P](ctx, c, call{method: http.MethodGet, path: path, query: query})
			if err != nil {
				yield(*new(E), err)
				return
			}
			entries, cursor := open(page)
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			if cursor == "" {
				return
			}
			if cursor == query.Get("cursor") {
				yield(*new(E), ballast.Errorf(ballast.CodeInternal, "%s repeats a page of %s: report this defect of the registry", c.base, path))
				return
			}
			query.Set("cursor", cursor)
		}
	}
}
