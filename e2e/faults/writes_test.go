package faults_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/testenv"
)

// hold lets the store do what it is asked and keeps the answer to itself until the caller has given up.
func hold(_ http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), r.WithContext(r.Context()))
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

func creates(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploads")
}

func sendsPart(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("partNumber")
}

// TestUncertainWrites: one write takes effect and nobody hears of it. The push gets there by itself, or is taken when it
// is made again.
func TestUncertainWrites(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		match func(*http.Request) bool
		fault testenv.Fault
		again bool // the push may fail once
	}{
		{"PUT of a client", func(r *http.Request) bool { return ofBlob(http.MethodPut)(r) && signed(r) && !sendsPart(r) }, testenv.DropAnswer, true},
		{"part", sendsPart, testenv.DropAnswer, true},
		{"create", creates, testenv.DropAnswer, true},
		{"complete", completes, testenv.DropAnswer, false},
		{"manifest", func(r *http.Request) bool { return ofBlob(http.MethodPut)(r) && !signed(r) }, testenv.DropAnswer, true},
		{"record", isRecord, testenv.DropAnswer, false},
		{"record that times out", isRecord, hold, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s *testenv.Store) {
				w := newWorld(t, s)
				var hits strikes
				w.front.Add(c.match, 1, hits.of(c.fault))
				m := newModel()
				dir, attempts := m.write(t), t.TempDir()
				err := w.pushFrom("new:1", dir, attempts)
				if err != nil {
					if !c.again || ballast.CodeOf(err) != ballast.CodeUnavailable {
						t.Errorf("push: %v", err)
					}
					check(t, w.pushFrom("new:1", dir, attempts))
				}
				hits.want(t)
				w.kept["new:1"] = m
				w.after()
			})
		})
	}
}

// vanish drops every multipart of the bucket behind the service's back, as MinIO does after 24 hours.
func (w *world) vanish() (dropped int) {
	core := minio.Core{Client: w.store.Client(w.t, w.store.Root)}
	// By its exact key: MinIO lists none by the beginning of one.
	for _, body := range w.half.files {
		dropped += w.drop(core, ballast.BlobKey(ref("acme::x").Scope, ballast.DigestOf(body)))
	}
	return dropped
}

func (w *world) drop(core minio.Core, key string) (dropped int) {
	open, err := core.ListMultipartUploads(w.t.Context(), w.store.Bucket, key, "", "", "", 100)
	if err != nil {
		w.t.Errorf("listing uploads: %v", err)
	}
	for _, u := range open.Uploads {
		if err := core.AbortMultipartUpload(w.t.Context(), w.store.Bucket, u.Key, u.UploadID); err != nil {
			w.t.Errorf("aborting: %v", err)
		}
		dropped++
	}
	return dropped
}

// TestVanishedMultipart: a multipart is gone before its parts are sent, before the commit, and while an accepted commit
// completes it. What was lost is asked for again, and nothing becomes ready without it.
func TestVanishedMultipart(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"between parts", "before the commit", "after the commit was accepted"} {
		t.Run(moment, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s *testenv.Store) {
				w := newWorld(t, s)
				dropped := 0
				switch moment {
				case "between parts":
					dropped = w.vanish()
				case "before the commit":
					dropped = w.vanish()
					if done, err := w.commit(w.half); done || ballast.CodeOf(err) != ballast.CodeMissing {
						t.Errorf("committed without its bytes: %t, %v", done, err)
					}
				case "after the commit was accepted":
					var once sync.Once
					w.front.Add(completes, 1, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
						once.Do(func() { dropped = w.vanish() })
						next.ServeHTTP(rw, r)
					})
					if done, err := w.commit(w.half); done || ballast.CodeOf(err) != ballast.CodeMissing {
						t.Errorf("done without its bytes: %t, %v", done, err)
					}
				}
				if dropped == 0 {
					t.Fatal("nothing vanished")
				}
				check(t, w.shown())
				if moment == "between parts" {
					check(t, w.sendBlobs(w.half))
					if done, err := w.commit(w.half); err != nil {
						t.Errorf("%t, %v", done, err)
					}
				}
				w.after()
			})
		})
	}
}
