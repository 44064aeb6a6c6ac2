package faults_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
)

// world is a registry with a version that is ready and an upload that has sent its bytes and is not committed.
type world struct {
	t     *testing.T
	store *testenv.Store // as nothing hurts it
	front *testenv.Proxy // what the service and the clients go through to the store
	*service
	bearer client.Token

	watch *inspector
	c     *client.Client // gives up soon

	kept map[string]model // ready before, or during, the fault
	half sent
}

// sent is an upload whose bytes are in the store.
type sent struct {
	id     string
	target string
	files  model
}

// newWorld starts a service on a store, behind a proxy.
func newWorld(t *testing.T, s *testenv.Store) *world {
	t.Helper()
	front := testenv.NewProxy(t, s.Endpoint)
	data := t.TempDir()
	w := newWorldOf(t, start(t, data, serveCommand(t, s.Through(front), data)))
	w.store, w.front = s, front
	w.watch.secrets = append(w.watch.secrets, s.Bucket, s.Host(), strings.TrimPrefix(front.URL, "http://"))
	for _, k := range []objstore.Keys{s.Root, s.Service, s.Put, s.Get} {
		w.watch.secrets = append(w.watch.secrets, k.ID, k.Secret)
	}
	return w.filled()
}

// newWorldOf has a running service, and nothing in it yet.
func newWorldOf(t *testing.T, s *service) *world {
	t.Helper()
	w := &world{t: t, service: s, bearer: s.token(t), kept: map[string]model{}}
	w.watch = &inspector{registry: strings.TrimPrefix(s.url, "http://"), secrets: []string{s.data, string(w.bearer)}}
	w.c = must[*client.Client](t)(client.New(client.Options{URL: s.url, Token: w.bearer, Tries: 1, Transport: w.watch}))
	return w
}

func (w *world) filled() *world {
	w.t.Helper()
	w.kept["kept:1"] = newModel()
	check(w.t, w.push("kept:1", w.kept["kept:1"]))
	check(w.t, w.pull("kept:1"))
	w.half = w.send("half:1", newModel())
	return w
}

func (w *world) push(target string, m model) error {
	return w.pushFrom(target, m.write(w.t), w.t.TempDir())
}

// pushFrom pushes a folder. With the same folder for attempts it goes on with what an earlier one began.
func (w *world) pushFrom(target, dir, attempts string) error {
	_, err := w.c.Push(w.t.Context(), client.PushOptions{Path: dir, Target: ref(target), AttemptDir: attempts, PartSize: ballast.MinPartSize})
	return err
}

// pull fetches a version that is kept and compares it.
func (w *world) pull(what string) error {
	dir := must[string](w.t)(os.MkdirTemp(w.t.TempDir(), ""))
	if _, err := w.c.Pull(w.t.Context(), client.PullOptions{Ref: ref(what), Dir: dir}); err != nil {
		return err
	}
	return w.kept[what].equals(dir)
}

// open opens an upload.
func (w *world) open(target string, m model) sent {
	w.t.Helper()
	u := must[ballast.Upload](w.t)(w.c.CreateUpload(w.t.Context(), ballast.CreateUpload{Name: ref(target).Name, Version: ref(target).Version, Attempt: rand.Text()}))
	return sent{u.ID, target, m}
}

// send opens an upload and sends its bytes.
func (w *world) send(target string, m model) sent {
	w.t.Helper()
	s := w.open(target, m)
	check(w.t, w.sendBlobs(s))
	return s
}

// sendBlobs sends what the registry says is missing.
func (w *world) sendBlobs(s sent) error {
	for path, body := range s.files {
		if err := w.sendBlob(s, body); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func (w *world) sendBlob(s sent, body []byte) error {
	want := ballast.BlobRequest{Digest: ballast.DigestOf(body), Size: int64(len(body)), Method: ballast.MethodPut}
	part := func(n int) []byte { return body[(n-1)*ballast.MinPartSize : min(n*ballast.MinPartSize, len(body))] }
	if len(body) > ballast.MinPartSize {
		want.Method, want.PartSize = ballast.MethodMultipart, ballast.MinPartSize
		for n := 1; n <= ballast.PartCount(want.Size, want.PartSize); n++ {
			want.Parts = append(want.Parts, ballast.PartDigest{Number: n, SHA256: ballast.DigestOf(part(n)).Encoded()})
		}
	}
	for {
		answers, err := w.c.Blobs(w.t.Context(), s.id, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{want}})
		if err != nil {
			return err
		}
		a := answers.Blobs[0]
		if a.State == ballast.BlobBusy {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if a.Request != nil {
			return w.follow(*a.Request, body)
		}
		for _, p := range a.Parts {
			err = errors.Join(err, w.follow(p.Request, part(p.Number)))
		}
		return err
	}
}

// follow sends a signed request.
func (w *world) follow(req ballast.SignedRequest, body []byte) error {
	res, err := objstoretest.Send(w.t.Context(), http.DefaultClient, req, body, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusPreconditionFailed {
		return fmt.Errorf("the store answers %d", res.StatusCode)
	}
	return nil
}

// commit commits an upload once. done tells whether it is a version now.
func (w *world) commit(s sent) (done bool, err error) {
	u, err := w.c.Commit(w.t.Context(), s.id, ballast.CommitRequest{Files: s.files.files()})
	if err == nil && u.Error != nil {
		err = u.Error
	}
	return u.Status == ballast.UploadDone, err
}

// finish has an upload become a version, as a client does that goes on after a fault.
func (w *world) finish(s sent) {
	w.t.Helper()
	eventually(w.t, "the accepted upload is finished", func() error {
		done, err := w.commit(s)
		switch {
		case done:
			return nil
		case ballast.CodeOf(err) == ballast.CodeMissing:
			return errors.Join(err, w.sendBlobs(s))
		case err == nil:
			return errors.New("not done yet")
		}
		return err
	})
	w.kept[s.target] = s.files
}

// shown looks for every version that is kept in each way that needs no store.
func (w *world) shown() (err error) {
	for target := range w.kept {
		what := ref(target)
		v, e := w.c.Version(w.t.Context(), what)
		if e == nil && v.Status != ballast.StatusReady {
			e = fmt.Errorf("is %s", v.Status)
		}
		if e == nil {
			e = w.listed(what)
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", target, e))
		}
	}
	return err
}

func (w *world) listed(what ballast.Ref) error {
	for v, err := range w.c.Versions(w.t.Context(), ballast.Ref{Name: what.Name}, ballast.VersionFilter{}) {
		if err != nil {
			return err
		}
		if v.Version == what.Version {
			return nil
		}
	}
	return errors.New("not listed")
}

// during tries everything while a fault lasts, and says what went wrong. The codes are those that may refuse.
func (w *world) during(codes ...ballast.Code) (err error) {
	fail := func(e error) { err = errors.Join(err, e) }
	fail(w.shown())
	for target := range w.kept {
		fail(allow("pull "+target, w.pull(target), codes...))
	}
	fresh := newModel()
	e := w.push("during:1", fresh)
	fail(allow("push", e, codes...))
	if e == nil {
		w.kept["during:1"] = fresh // is held to it from now on
	}
	done, e := w.commit(w.half)
	fail(allow("commit", e, append(codes, ballast.CodeBusy, ballast.CodeMissing)...))
	if done {
		w.kept[w.half.target] = w.half.files
	}
	fail(w.shown())
	fail(w.watch.verdict())
	return err
}

// after wants everything to go on, without a restart, and the invariants to hold.
func (w *world) after() {
	w.t.Helper()
	w.recovered()
	w.stop(w.t)
	w.atRest()
}

func (w *world) recovered() {
	w.t.Helper()
	eventually(w.t, "the service is ready again", func() error { return w.ready(w.t.Context()) })
	w.finish(w.half)
	fresh := newModel()
	eventually(w.t, "a push is taken", func() error { return w.push("after:1", fresh) })
	w.kept["after:1"] = fresh
	check(w.t, w.shown())
	for target := range w.kept {
		if err := w.pull(target); err != nil {
			w.t.Errorf("pull %s: %v", target, err)
		}
	}
	if err := w.watch.verdict(); err != nil {
		w.t.Error(err)
	}
}

// atRest holds what the service left to the invariants.
func (w *world) atRest() {
	w.t.Helper()
	bucket := must[*objstore.S3](w.t)(objstore.Open(w.t.Context(), w.store.Config()))
	if err := enginetest.AtRest(context.WithoutCancel(w.t.Context()), w.data, bucket); err != nil {
		w.t.Error(err)
	}
}

// strikes counts the requests that met a fault.
type strikes struct{ n atomic.Int32 }

func (s *strikes) of(fault testenv.Fault) testenv.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s.n.Add(1)
		fault(w, r, next)
	}
}

func (s *strikes) want(t *testing.T) {
	t.Helper()
	if s.n.Load() == 0 {
		t.Error("the fault struck nothing")
	}
	t.Logf("the fault struck %d requests", s.n.Load())
}
