package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/weights/weightstest"
	"github.com/ballast-registry/ballast/testenv"
	"github.com/ballast-registry/ballast/testenv/canary"
)

// newRegistry is the face before a real engine on a real store, with the first admin's token.
func newRegistry(t *testing.T, s *testenv.Store) *face {
	t.Helper()
	db, err := index.OpenBolt(filepath.Join(t.TempDir(), "index.db"), index.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(t.Context(), db, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	store, err := objstore.Open(t.Context(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	e := enginetest.Open(t, engine.Options{
		Index: x, Bucket: store, Signer: store, RecordKey: engine.NewRecordKey(make([]byte, sha256.Size)),
		Logger: canary.Log(t, slog.LevelInfo),
	})
	f := newFace(t, e)
	if _, err := e.EnsureAdmin(t.Context(), func(token string) error { f.token = token; return nil }); err != nil {
		t.Fatal(err)
	}
	return f
}

// as is the same face with a new token of these grants.
func (f *face) as(t *testing.T, grants ...string) *face {
	t.Helper()
	var req ballast.CreateToken
	for _, g := range grants {
		req.Grants = append(req.Grants, must(ballast.ParseGrant(g)))
	}
	made := decode[ballast.IssuedToken](t, f.send("POST", "/v1/tokens", encodeText(t, req)).wantStatus(t, http.StatusCreated))
	other := *f
	other.token = made.Token
	return &other
}

func decode[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v
}

func encodeText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// follow sends a signed request as a client does.
func follow(t *testing.T, r ballast.SignedRequest, body []byte) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, got
}

// publish pushes files with nothing but the API and signed requests, and returns the version.
func (f *face) publish(t *testing.T, target string, files map[string][]byte) ballast.VersionInfo {
	t.Helper()
	ref := must(ballast.ParseRef(target))
	create := ballast.CreateUpload{Scope: ref.Scope, Name: ref.Name, Version: ref.Version, Attempt: "0123456789abcdef"}
	a := f.send("POST", "/v1/uploads", encodeText(t, create)).wantStatus(t, http.StatusCreated)
	at := a.Header.Get("Location")
	f.send("POST", "/v1/uploads", encodeText(t, create)).wantStatus(t, http.StatusOK)

	var commit ballast.CommitRequest
	for path, body := range files {
		d := ballast.DigestOf(body)
		commit.Files = append(commit.Files, ballast.File{Path: path, Size: int64(len(body)), Digest: d})
		if len(body) > 0 {
			f.sendBlob(t, at, body)
		}
	}
	commit.Metadata.Task = "text-generation"
	a = f.send("POST", at+"/commit", encodeText(t, commit))
	for a.StatusCode == http.StatusAccepted || decode[ballast.Upload](t, a).Status == ballast.UploadVerifying {
		a = f.send("GET", at+"?wait=10s", "").wantStatus(t, http.StatusOK)
	}
	a.wantStatus(t, http.StatusOK)
	if u := decode[ballast.Upload](t, a); u.Result != nil {
		return *u.Result
	}
	return decode[ballast.VersionInfo](t, a)
}

func (f *face) sendBlob(t *testing.T, at string, body []byte) {
	t.Helper()
	const size = ballast.MinPartSize
	want := ballast.BlobRequest{Digest: ballast.DigestOf(body), Size: int64(len(body))}
	if len(body) > size {
		want.Method, want.PartSize = ballast.MethodMultipart, size
		for n := 1; n <= ballast.PartCount(want.Size, size); n++ {
			want.Parts = append(want.Parts, ballast.PartDigest{Number: n, SHA256: ballast.DigestOf(part(body, n)).Encoded()})
		}
	}
	a := f.send("POST", at+"/blobs", encodeText(t, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{want}})).wantStatus(t, http.StatusOK)
	got := decode[ballast.BlobsResponse](t, a).Blobs[0]
	if got.Request != nil {
		if status, text := follow(t, *got.Request, body); status != http.StatusOK {
			t.Fatalf("PUT: %d %s", status, text)
		}
	}
	for _, p := range got.Parts {
		if status, text := follow(t, p.Request, part(body, p.Number)); status != http.StatusOK {
			t.Fatalf("part %d: %d %s", p.Number, status, text)
		}
	}
}

func part(body []byte, n int) []byte {
	from := (n - 1) * ballast.MinPartSize
	return body[from:min(from+ballast.MinPartSize, len(body))]
}

// TestThePath publishes and reads with plain HTTP on both real stores, every answer held to docs/openapi.yaml.
func TestThePath(t *testing.T) {
	files := map[string][]byte{
		"config.json": []byte(`{"a":1}`), "a b/weights%.bin": []byte("weights"), "empty": nil,
		"model.safetensors": weightstest.Safetensors(weightstest.Tensor("w", "F32", 6<<20, 3<<10, 512), weightstest.Tensor("b", "BF16", 8, 4)),
	}
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		root := newRegistry(t, s)
		acme, them := root.as(t, "acme=writer"), root.as(t, "them=admin")
		v := acme.publish(t, "llama/tiny:1.0.0", files)
		if v.Key != "acme::llama/tiny::1.0.0" || v.Files != len(files) || v.Assurance != ballast.AssuranceReread {
			t.Errorf("published %+v", v)
		}
		acme.readBack(t, files)
		acme.listTensors(t, v)
		acme.moveAlias(t)
		if again := acme.publish(t, "llama/tiny", files); again.Key != v.Key {
			t.Errorf("the same files again made %s", again.Key)
		}
		for _, path := range []string{"", "/versions/1.0.0", "/versions/latest/files?urls=true", "/versions/1.0.0/files/config.json", "/versions/1.0.0/tensors/model.safetensors", "/aliases"} {
			them.send("GET", "/v1/models/llama/tiny"+path, "").problem(t, ballast.CodeNotFound)
			them.send("GET", "/v1/models/acme::llama/tiny"+path, "").problem(t, ballast.CodeNotFound)
		}
	})
}

func (f *face) readBack(t *testing.T, files map[string][]byte) {
	t.Helper()
	page := decode[ballast.FilesPage](t, f.send("GET", "/v1/models/llama/tiny/versions/1.0.0/files?urls=true&parts=true", "").wantStatus(t, http.StatusOK))
	if len(page.Files) != len(files) {
		t.Errorf("%d files listed, want %d", len(page.Files), len(files))
	}
	for _, file := range page.Files {
		if file.Request == nil {
			continue
		}
		if status, got := follow(t, *file.Request, nil); status != http.StatusOK || !bytes.Equal(got, files[file.Path]) {
			t.Errorf("%s: %d, %d bytes", file.Path, status, len(got))
		}
	}
	for path, body := range files {
		at := "/v1/models/llama/tiny/versions/latest/files/" + strings.NewReplacer(" ", "%20", "%", "%25").Replace(path)
		head := f.send("HEAD", at, "").wantStatus(t, http.StatusOK)
		if head.ContentLength != int64(len(body)) || head.Header.Get("ETag") != `"`+ballast.DigestOf(body).Encoded()+`"` {
			t.Errorf("HEAD %s: %d bytes, ETag %s", path, head.ContentLength, head.Header.Get("ETag"))
		}
		get := f.send("GET", at, "")
		if len(body) == 0 {
			get.wantStatus(t, http.StatusOK)
			continue
		}
		to := ballast.SignedRequest{Method: "GET", URL: get.wantStatus(t, http.StatusTemporaryRedirect).Header.Get("Location")}
		if status, got := follow(t, to, nil); status != http.StatusOK || !bytes.Equal(got, body) {
			t.Errorf("%s by redirect: %d, %d bytes", path, status, len(got))
		}
	}
}

// listTensors reads what is inside, page by page.
func (f *face) listTensors(t *testing.T, v ballast.VersionInfo) {
	t.Helper()
	want := &ballast.Weights{Format: "safetensors", Files: 1, Tensors: 2, Parameters: 3<<19 + 4, DTypes: map[string]int64{"F32": 3 << 19, "BF16": 4}}
	if diff := cmp.Diff(want, v.Weights); diff != "" {
		t.Errorf("weights of the version: want (-), got (+):\n%s", diff)
	}
	const at = "/v1/models/llama/tiny/versions/1.0.0/tensors/"
	first := decode[ballast.TensorsPage](t, f.send("GET", at+"model.safetensors?limit=1", "").wantStatus(t, http.StatusOK))
	second := decode[ballast.TensorsPage](t, f.send("GET", at+"model.safetensors?limit=1&cursor="+first.Cursor, "").wantStatus(t, http.StatusOK))
	if len(first.Tensors) != 1 || first.Tensors[0].Name != "w" || first.Total != 2 || len(second.Tensors) != 1 || second.Tensors[0].Name != "b" || second.Cursor != "" {
		t.Errorf("pages %+v and %+v", first, second)
	}
	if end := second.Tensors[0].Offset + second.Tensors[0].Size; first.Tensors[0].Size != 6<<20 || second.Tensors[0].Offset != first.Tensors[0].Offset+6<<20 || end >= v.Size {
		t.Errorf("they lie at %+v and %+v", first.Tensors, second.Tensors)
	}
	f.send("GET", at+"config.json", "").problem(t, ballast.CodePrecondition)
	f.send("GET", at+"nothing.safetensors", "").problem(t, ballast.CodeNotFound)
	f.send("GET", at+"model.safetensors?cursor=YQ", "").problem(t, ballast.CodeInvalid)
}

func (f *face) moveAlias(t *testing.T) {
	t.Helper()
	const version, alias = "/v1/models/llama/tiny/versions/1.0.0", "/v1/models/llama/tiny/aliases/champion"
	before := f.send("GET", version, "").Header.Get("ETag")
	etag := f.send("PUT", alias, `{"version":"1.0.0"}`).wantStatus(t, http.StatusOK).Header.Get("ETag")
	f.send("GET", version, "", "If-None-Match", before).wantStatus(t, http.StatusOK)
	f.send("GET", "/v1/models/llama/tiny/versions/@champion", "").wantStatus(t, http.StatusOK)
	f.send("PUT", alias, `{"version":"1.0.0"}`, "If-Match", `"999"`).problem(t, ballast.CodePrecondition)
	f.send("DELETE", alias, "", "If-Match", `"999"`).problem(t, ballast.CodePrecondition)
	f.send("DELETE", alias, "", "If-Match", etag).wantStatus(t, http.StatusNoContent)
	f.send("GET", "/v1/models/llama/tiny/versions/@champion", "").problem(t, ballast.CodeNotFound)
}

// TestRefusals: what the engine refuses arrives typed and as described.
func TestRefusals(t *testing.T) {
	root := newRegistry(t, testenv.Embedded(t))
	writer, reader := root.as(t, "acme=writer"), root.as(t, "acme=reader")
	create := `{"name":"tiny","version":"1","attempt":"0123456789abcdef"}`
	reader.send("POST", "/v1/uploads", create).problem(t, ballast.CodeDenied)
	reader.send("POST", "/v1/uploads", `{"scope":"other","name":"tiny","attempt":"0123456789abcdef"}`).problem(t, ballast.CodeNotFound)

	at := writer.send("POST", "/v1/uploads", create).wantStatus(t, http.StatusCreated).Header.Get("Location")
	taken := writer.send("POST", "/v1/uploads", strings.Replace(create, "0123", "4567", 1)).problem(t, ballast.CodeConflict)
	if taken.Holder == nil || !strings.HasSuffix(at, taken.Holder.Upload) {
		t.Errorf("holder %+v of %s", taken.Holder, at)
	}
	missing := writer.send("POST", at+"/commit", bodies["POST /v1/uploads/{id}/commit"]).problem(t, ballast.CodeMissing)
	if len(missing.Missing) != 1 {
		t.Errorf("missing %v", missing.Missing)
	}
	writer.send("POST", at+"/blobs", `{"blobs":[{"digest":"md5:abc","size":1}]}`).problem(t, ballast.CodeInvalid)
	writer.send("DELETE", at, "").wantStatus(t, http.StatusNoContent)
	if u := decode[ballast.Upload](t, writer.send("GET", at, "")); u.Status != ballast.UploadAborted {
		t.Errorf("status %s", u.Status)
	}
	writer.send("POST", "/v1/tokens", bodies["POST /v1/tokens"]).problem(t, ballast.CodeDenied)

	made := decode[ballast.IssuedToken](t, root.send("POST", "/v1/tokens", bodies["POST /v1/tokens"]))
	listed := root.send("GET", "/v1/tokens", "").wantStatus(t, http.StatusOK)
	if !bytes.Contains(listed.body, []byte(made.ID)) || bytes.Contains(listed.body, []byte(made.Token)) {
		t.Errorf("listed %s", listed.body)
	}
	root.send("DELETE", "/v1/tokens/"+made.ID, "").wantStatus(t, http.StatusNoContent)
	root.send("GET", "/v1/whoami", "", "Authorization", "Bearer "+made.Token).problem(t, ballast.CodeUnauthenticated)
	root.send("GET", "/readyz", "").wantStatus(t, http.StatusOK)
	if strings.Contains(root.log.String(), made.Token) {
		t.Error("the log holds a token")
	}
}
