package faults_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/testenv"
)

// flip changes one bit of each body that is as long as the model's large file or one of its parts.
func flip(body []byte) []byte {
	if len(body) < 100 {
		return body
	}
	bad := bytes.Clone(body)
	bad[50] ^= 1
	return bad
}

// otherBytes passes an answer on with a bit of its body flipped.
func otherBytes(w http.ResponseWriter, r *http.Request, next http.Handler) {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(flip(answer.Body.Bytes()))
}

// garbled passes a request on with a bit of its body flipped.
func garbled(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(flip(body)))
	next.ServeHTTP(w, r)
}

// vouchesFor passes an answer on as if the store had seen the SHA-256 of other bytes.
func vouchesFor(sum string) testenv.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		if w.Header().Get("X-Amz-Checksum-Sha256") != "" {
			w.Header().Set("X-Amz-Checksum-Sha256", sum)
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}
}

func ofBlob(method string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, "/blobs/") }
}

// TestLies: the store or the way to it does not give back, or keep, what it was given. Nobody gets other bytes than a
// version has, and none but true bytes become one.
func TestLies(t *testing.T) {
	t.Parallel()
	sum := ballast.ChecksumHeader(ballast.DigestOf([]byte("others")))
	for _, c := range []struct {
		name  string
		match func(*http.Request) bool
		fault testenv.Fault
	}{
		{"about the checksum", ofBlob(http.MethodHead), vouchesFor(sum)},
		{"no checksum", ofBlob(http.MethodHead), vouchesFor("")},
		{"other bytes read", ofBlob(http.MethodGet), otherBytes},
		{"other bytes sent", func(r *http.Request) bool { return ofBlob(http.MethodPut)(r) && signed(r) }, garbled},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s *testenv.Store) {
				w := newWorld(t, s)
				var hits strikes
				w.front.Add(c.match, -1, hits.of(c.fault))
				if err := w.during(ballast.CodeIntegrity, ballast.CodeUnavailable, ballast.CodeBusy); err != nil {
					t.Error(err)
				}
				w.front.Clear()
				hits.want(t)
				w.renewHalf()
				w.after()
			})
		})
	}
}

// renewHalf has another upload in the place of one that a lie ended, or whose lease a wrong clock did.
func (w *world) renewHalf() {
	w.t.Helper()
	u := must[ballast.Upload](w.t)(w.c.Upload(w.t.Context(), w.half.id, 0))
	switch u.Status {
	case ballast.UploadFailed:
		if ballast.CodeOf(u.Error) != ballast.CodeIntegrity {
			w.t.Errorf("the upload failed with %v", u.Error)
		}
		fallthrough
	case ballast.UploadExpired:
		w.half = w.open(w.half.target, w.half.files)
	}
}

// TestLiesByCommand: what a lie costs shows in the exit code.
func TestLiesByCommand(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		w := newWorld(t, s)
		w.front.Add(ofBlob(http.MethodGet), -1, otherBytes)
		w.wantExit(6, "pull", "kept:1", t.TempDir())
		w.front.Clear()
		w.wantExit(0, "pull", "kept:1", t.TempDir())
		w.front.Add(nil, -1, testenv.Drop)
		w.wantExit(7, "pull", "kept:1", t.TempDir())
		w.wantExit(0, "show", "kept:1")
		dir := newModel().write(t)
		w.wantExit(7, "push", dir, "new:1")
		w.front.Clear()
		w.wantExit(0, "push", dir, "new:1")
		w.after()
	})
}

// wantExit runs a command to its exit code.
func (w *world) wantExit(code int, args ...string) {
	w.t.Helper()
	end := w.run(w.t, w.bearer, args...)
	if end.code != code {
		w.t.Errorf("ballast %s: exit code %d, want %d: %s", args[0], end.code, code, end.said)
	}
	words := inspector{secrets: []string{string(w.bearer)}} // the store's host name is no secret
	if err := words.leaks(end.said); err != nil {
		w.t.Errorf("ballast %s: %v", args[0], err)
	}
}
