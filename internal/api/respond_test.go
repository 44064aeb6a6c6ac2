package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

func TestEveryCodeReachesTheClient(t *testing.T) {
	s := &stub{}
	f := newFace(t, s)
	for _, code := range ballast.Codes() {
		s.err = fmt.Errorf("engine: commit: %w", ballast.Errorf(code, "say what to do").Because(errors.New("s3cr3t cause")))
		a := f.send("POST", "/v1/uploads/u1/commit", bodies["POST /v1/uploads/{id}/commit"], "X-Request-Id", "my-id.1")
		e := a.problem(t, code)
		if e.Detail != "say what to do" || e.Title != http.StatusText(e.Status) || e.RequestID != "my-id.1" || a.Header.Get("X-Request-Id") != "my-id.1" {
			t.Errorf("%s: %s", code, a.body)
		}
		if strings.Contains(string(a.body), "s3cr3t") {
			t.Errorf("%s: the cause is on the wire: %s", code, a.body)
		}
		if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: headers %v", code, a.Header)
		}
	}
	if !strings.Contains(f.log.String(), "s3cr3t cause") {
		t.Errorf("the cause is not in the log:\n%s", f.log)
	}
}

func TestUnknownErrorsAreInternal(t *testing.T) {
	s := &stub{err: errors.New("open /data/index.db: disk on fire")}
	f := newFace(t, s)
	a := f.send("GET", "/v1/models", "")
	e := a.problem(t, ballast.CodeInternal)
	if strings.Contains(string(a.body), "disk") || e.RequestID == "" {
		t.Errorf("answer: %s", a.body)
	}
	line := f.lastLog(t)
	if !strings.Contains(fmt.Sprint(line["error"]), "disk on fire") || line["request_id"] != e.RequestID || line["level"] != "ERROR" {
		t.Errorf("log: %v", line)
	}
}

func TestErrorExtensions(t *testing.T) {
	e := ballast.Errorf(ballast.CodeBusy, "being removed")
	e.RetryAfter = 1.2
	e.Missing = append(e.Missing, ballast.EmptyDigest)
	e.Holder = &ballast.Holder{Upload: "u1", CreatedBy: "ci@acme", ExpiresAt: sampleTime}
	e.References = []ballast.Reference{{Kind: ballast.ReferenceProduction}, {Kind: ballast.ReferenceAlias, Name: "champion"}, {Kind: ballast.ReferenceChild, Name: "m::1"}}
	e.Cursor = "1-7"
	e.Expected, e.Actual = ballast.EmptyDigest, sampleVersion.Digest
	f := newFace(t, &stub{err: e})
	a := f.send("POST", "/v1/uploads", bodies["POST /v1/uploads"])
	got := a.problem(t, ballast.CodeBusy)
	if a.Header.Get("Retry-After") != "2" || got.RetryAfter != 1.2 || got.Holder == nil || len(got.Missing) != 1 || len(got.References) != 3 || got.Cursor != "1-7" || got.Expected == "" || got.Actual == "" {
		t.Errorf("Retry-After %q, %s", a.Header.Get("Retry-After"), a.body)
	}
	if e.RequestID != "" || e.Status != 0 {
		t.Errorf("the service's own error was changed: %+v", e)
	}
}

func TestPanicCostsOneAnswer(t *testing.T) {
	s := &stub{panics: "index out of range"}
	f := newFace(t, s)
	f.send("GET", "/v1/models", "").problem(t, ballast.CodeInternal)
	line := f.lastLog(t)
	if !strings.Contains(fmt.Sprint(line["error"]), "index out of range") || !strings.Contains(fmt.Sprint(line["stack"]), "stub_test.go") {
		t.Errorf("log: %v", line)
	}
	s.panics = nil
	f.send("GET", "/v1/models", "").wantStatus(t, http.StatusOK)
}

func TestValidators(t *testing.T) {
	s := &stub{}
	f := newFace(t, s)
	for _, path := range []string{
		"/v1/models", "/v1/models/llama/tiny", "/v1/models/tiny/versions", "/v1/models/tiny/versions/1", "/v1/uploads/u1",
		"/v1/models/tiny/versions/1/files", "/v1/models/tiny/versions/1/tensors/a.gguf", "/v1/models/tiny/aliases", "/v1/tokens",
		"/v1/models/tiny/versions/1?include=retired", "/v1/models/tiny/versions/1/children", "/v1/models/tiny/production", "/v1/events",
	} {
		etag := f.send("GET", path, "").wantStatus(t, http.StatusOK).Header.Get("ETag")
		for _, held := range []string{etag, `"other", ` + etag, "W/" + etag, "*"} {
			a := f.send("GET", path, "", "If-None-Match", held).wantStatus(t, http.StatusNotModified)
			if len(a.body) != 0 || a.Header.Get("ETag") != etag {
				t.Errorf("%s with %s: %v %q", path, held, a.Header, a.body)
			}
		}
		f.send("GET", path, "", "If-None-Match", `"other"`).wantStatus(t, http.StatusOK)
	}
}

// TestVersionETagCoversAliases: an alias is no change of the version's revision, and still a change of its answer.
func TestVersionETagCoversAliases(t *testing.T) {
	f := newFace(t, &stub{})
	g := newFace(t, otherAliases{&stub{}})
	const path = "/v1/models/tiny/versions/1"
	if a, b := f.send("GET", path, "").Header.Get("ETag"), g.send("GET", path, "").Header.Get("ETag"); a == b {
		t.Errorf("both %s", a)
	}
}

type otherAliases struct{ *stub }

func (otherAliases) Version(ctx, principal, ballast.Ref) (ballast.VersionInfo, error) {
	v := sampleVersion
	v.Aliases = nil
	return v, nil
}

func TestSecretsAreNotKept(t *testing.T) {
	f := newFace(t, &stub{created: true})
	for _, r := range [][2]string{
		{"POST", "/v1/uploads/u1/blobs"}, {"GET", "/v1/models/tiny/versions/1/files?urls=true"},
		{"GET", "/v1/models/tiny/versions/1/files/a/model.safetensors"}, {"POST", "/v1/tokens"}, {"GET", "/v1/whoami"},
	} {
		template := strings.Replace(r[1], "u1", "{id}", 1)
		a := f.send(r[0], r[1], bodies[r[0]+" "+template])
		if a.StatusCode >= 400 || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("ETag") != "" {
			t.Errorf("%v: %d %v", r, a.StatusCode, a.Header)
		}
	}
	for _, secret := range []string{goodToken, "X-Amz-Signature", "bal_3f9c2a71_secret"} {
		if strings.Contains(f.log.String(), secret) {
			t.Errorf("the log holds %s:\n%s", secret, f.log)
		}
	}
}

func TestFileIsARedirect(t *testing.T) {
	s := &stub{}
	f := newFace(t, s)
	const path = "/v1/models/llama/tiny/versions/1/files/a/model.safetensors"
	a := f.send("GET", path, "", "Range", "bytes=0-1").wantStatus(t, http.StatusTemporaryRedirect)
	if a.Header.Get("Location") != signedURL {
		t.Errorf("Location %q", a.Header.Get("Location"))
	}
	a = f.send("HEAD", path, "").wantStatus(t, http.StatusOK)
	if a.ContentLength != 4096 || a.Header.Get("ETag") != `"`+fileSum+`"` || a.Header.Get("Accept-Ranges") != "bytes" || a.Header.Get("Location") != "" {
		t.Errorf("HEAD: %d %v", a.ContentLength, a.Header)
	}
	f.send("HEAD", path, "", "If-None-Match", `"`+fileSum+`"`).wantStatus(t, http.StatusNotModified)

	s.empty = true
	for _, method := range []string{"GET", "HEAD"} {
		a = f.send(method, path, "", "Range", "bytes=0-").wantStatus(t, http.StatusOK)
		if a.ContentLength != 0 || len(a.body) != 0 || a.Header.Get("ETag") != `"`+ballast.EmptyDigest.Encoded()+`"` {
			t.Errorf("%s of an empty file: %d %v", method, a.ContentLength, a.Header)
		}
	}
}

// TestFileWithoutRequest: a file with bytes and no signed request must not read as empty.
func TestFileWithoutRequest(t *testing.T) {
	f := newFace(t, unsigned{&stub{}})
	f.send("GET", "/v1/models/tiny/versions/1/files/a", "").problem(t, ballast.CodeInternal)
}

type unsigned struct{ *stub }

func (u unsigned) File(ctx, principal, ballast.Ref, string) (ballast.FileInfo, error) {
	return u.sampleFile(false), nil
}

func TestCommitAnswers(t *testing.T) {
	s := &stub{status: ballast.UploadVerifying}
	f := newFace(t, s)
	body := bodies["POST /v1/uploads/{id}/commit"]
	a := f.send("POST", "/v1/uploads/u1/commit", body).wantStatus(t, http.StatusAccepted)
	if a.Header.Get("Location") != "/v1/uploads/u1" || !strings.Contains(string(a.body), `"progress"`) {
		t.Errorf("%v %s", a.Header, a.body)
	}
	s.status = ballast.UploadDone
	a = f.send("POST", "/v1/uploads/u1/commit", body).wantStatus(t, http.StatusOK)
	var v ballast.VersionInfo
	if err := json.Unmarshal(a.body, &v); err != nil || v.Key != sampleVersion.Key {
		t.Errorf("%v %s", err, a.body)
	}
}

func TestCreateUploadAnswers(t *testing.T) {
	s := &stub{created: true}
	f := newFace(t, s)
	for _, want := range []int{http.StatusCreated, http.StatusOK} {
		a := f.send("POST", "/v1/uploads", bodies["POST /v1/uploads"]).wantStatus(t, want)
		if a.Header.Get("Location") != "/v1/uploads/u1" {
			t.Errorf("Location %q", a.Header.Get("Location"))
		}
		s.created = false
	}
}

func TestReadiness(t *testing.T) {
	s := &stub{err: errors.New("bucket ballast at 10.0.0.7 is gone")}
	f := newFace(t, s)
	f.send("GET", "/healthz", "", "Authorization", "").wantStatus(t, http.StatusOK)
	if a := f.send("GET", "/readyz", "", "Authorization", ""); strings.Contains(string(a.body), "10.0.0.7") {
		t.Errorf("readiness tells strangers about the inside: %s", a.body)
	} else {
		a.problem(t, ballast.CodeUnavailable)
	}
	s.err = nil
	f.send("GET", "/readyz", "", "Authorization", "").wantStatus(t, http.StatusOK)
	if a := f.send("GET", "/openapi.yaml", "", "Authorization", ""); !strings.HasPrefix(string(a.body), "openapi: 3.1.") {
		t.Errorf("%.40s", a.body)
	}
}

// blocked is a service whose calls all wait for the lock of somebody who never lets go.
type blocked struct {
	*stub
	entered, held chan struct{}
}

func (b blocked) Authenticate(context.Context, ballast.Secret) (engine.Principal, error) {
	close(b.entered)
	<-b.held
	return engine.Principal{}, nil
}

func (b blocked) Ready(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestHealthTakesNoLock: it answers while nothing else does.
func TestHealthTakesNoLock(t *testing.T) {
	b := blocked{&stub{}, make(chan struct{}), make(chan struct{})}
	f := newFace(t, b)
	stuck := make(chan answer, 1)
	go func() { stuck <- f.send("GET", "/v1/models", "") }()
	<-b.entered
	f.send("GET", "/healthz", "").wantStatus(t, http.StatusOK)
	f.send("GET", "/healthz", "", "Authorization", "Bearer of nothing").wantStatus(t, http.StatusOK)
	select {
	case a := <-stuck:
		t.Errorf("the control was answered: %d", a.StatusCode)
	default:
	}
	close(b.held)
	<-stuck
}
