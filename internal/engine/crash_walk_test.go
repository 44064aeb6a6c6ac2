//go:build failpoints

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/weights/weightstest"
)

// walk takes every step of package failpoint at least once, as publishers, liars and time make a registry take them. It
// can be walked again in the same folder, whatever became of the last one: that is what clients do.
type walk struct {
	t      *testing.T
	ctx    context.Context // of the clients; when it ends they are gone
	dir    string          // of the index
	store  store
	clock  *clock
	sync   func(context.Context) error // of the store; nil: nothing here takes the kernel away, and the index is not synced either
	stop   failpoint.Hook              // what this walk is about
	report func(key string, f fate)    // hears of what became ready, and of what is over

	*engine.Engine
	index *index.Index

	abandoned string        // an upload that was given up
	vanish    digest.Digest // the multipart of this blob vanishes when its commit is accepted
	odd       bool          // the object of the part odd was removed
	dropping  bool          // there are events that are old enough to be dropped

	mu    sync.Mutex
	met   map[failpoint.Step]int
	moved chan struct{} // closed at the next step
}

// clock runs ahead of the real one by what its file says, so that it never goes back, whoever crashes.
type clock struct {
	file string
	mu   sync.Mutex
}

func (c *clock) ahead() time.Duration {
	text, err := os.ReadFile(c.file)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	return time.Duration(must(strconv.ParseInt(string(text), 10, 64)))
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead())
}

// jump moves it on. It never goes back.
func (c *clock) jump(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.file + ".next"
	if err := os.WriteFile(next, strconv.AppendInt(nil, int64(c.ahead()+d), 10), 0o600); err != nil {
		return err
	}
	return os.Rename(next, c.file)
}

func newWalk(t *testing.T, ctx context.Context, dir string, s store, c *clock) *walk {
	return &walk{
		t: t, ctx: ctx, dir: dir, store: s, clock: c,
		stop:   func(context.Context, failpoint.Step, failpoint.Moment) error { return nil },
		report: func(string, fate) {},
		met:    map[failpoint.Step]int{}, moved: make(chan struct{}),
	}
}

// aside marks the context of who takes a step beside the walk, in the same process.
type aside struct{}

// hook is the process's while this walk is walked.
func (w *walk) hook(ctx context.Context, s failpoint.Step, m failpoint.Moment) error {
	if ctx.Value(aside{}) != nil {
		return nil
	}
	w.mu.Lock()
	var vanish digest.Digest
	switch {
	case m == failpoint.Before:
		w.met[s]++
		close(w.moved)
		w.moved = make(chan struct{})
	case s == failpoint.Accept:
		vanish, w.vanish = w.vanish, ""
	}
	w.mu.Unlock()
	if vanish != "" {
		if err := w.dropMultiparts(vanish); err != nil {
			w.t.Errorf("dropping a multipart behind the registry's back: %v", err)
		}
	}
	return w.stop(ctx, s, m)
}

// times is how often a step was begun. changed is closed when the next one is.
func (w *walk) times(s failpoint.Step) (n int, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.met[s], w.moved
}

// open opens index and engine.
func (w *walk) open() (err error) {
	if w.index, err = openIndex(w.ctx, w.dir, w.clock, w.sync == nil); err != nil {
		return err
	}
	w.Engine, err = engine.Open(w.ctx, engine.Options{
		Index: w.index, Bucket: &troubled{w.store.Bucket, w}, Home: w.store.home, Signer: w.store.Signer, RecordKey: engine.NewRecordKey(secret), Now: w.clock.now, Sync: w.sync,
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
		Limits: engine.Limits{ReclaimRetry: 20 * time.Millisecond, VerifyRetry: 20 * time.Millisecond, VerifyLease: 300 * time.Millisecond},
	})
	if err != nil {
		w.Engine = nil
		return errors.Join(err, w.index.Close())
	}
	return nil
}

// openIndex opens the index of a folder.
func openIndex(ctx context.Context, dir string, c *clock, noSync bool) (*index.Index, error) {
	bolt, err := index.OpenBolt(filepath.Join(dir, "index.db"), index.BoltOptions{NoSync: noSync, LockTimeout: time.Minute})
	if err != nil {
		return nil, err
	}
	x, err := index.Open(ctx, bolt, c.now)
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return x, nil
}

func (w *walk) close() error {
	if w.Engine == nil {
		return nil
	}
	return errors.Join(w.Engine.Close(), w.index.Close())
}

// patience bounds each thing that must come to pass.
const patience = 30 * time.Second

// retry does part until it succeeds, as clients repeat what failed.
func (w *walk) retry(part func() error) (err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = part(); err == nil || w.ctx.Err() != nil {
			break
		}
	}
	return err
}

// until waits for something that nobody does on request.
func (w *walk) until(what string, holds func() (bool, error)) error {
	return w.retry(func() error {
		ok, err := holds()
		if err == nil && !ok {
			err = fmt.Errorf("it does not come to pass that %s", what)
		}
		return err
	})
}

// all walks once.
func (w *walk) all() error {
	for _, part := range []struct {
		name string
		do   func() error
	}{
		{"open", w.open}, {"plain", w.plain}, {"parts", w.parts}, {"copied", w.copied}, {"imported", w.imported}, {"unchanged", w.unchanged}, {"abandoned", w.abandon},
		{"lying", w.lie}, {"odd", w.oddly}, {"lost", w.lose}, {"vanished", w.vanished}, {"expired", w.expire}, {"forgotten", w.forget},
		{"changed", w.change}, {"retired", w.retire}, {"deleted", w.delete}, {"dropped", w.drop},
	} {
		if err := w.retry(part.do); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// published are the versions that are ready once all was walked, and their files.
func published() map[string]folder {
	return map[string]folder{
		"plain:1": withWeights("plain"), "parts:1": inParts("parts"), "auto:1": small("auto"), "odd:1": small("odd"),
		"lost:1": inParts("lost"), "imported:1": withWeights("imported"), "vanished:1": inParts("vanished"), "expired:1": small("expired"),
		"changed:1": small("changed-1"), "changed:2": small("changed-2"),
	}
}

// withWeights is a folder of which the registry can say what is inside.
func withWeights(seed string) folder {
	f := small(seed)
	f["model.safetensors"] = weightstest.Safetensors(weightstest.Tensor(seed, "F32", 8, 2))
	return f
}

// inParts is a folder whose one file goes in parts: in one, since the last may have any size.
func inParts(seed string) folder { return folder{"in-parts.gguf": []byte("the weights of " + seed)} }

func (w *walk) plain() error {
	if err := w.publish("plain:1", "a"); err != nil {
		return err
	}
	name, one := ref("plain").Name, ref("plain:1").Version
	for _, alias := range []string{"champion", "old"} {
		if _, err := w.SetAlias(w.ctx, writer, acme, name, must(ballast.ParseAlias(alias)), one, nil); err != nil {
			return err
		}
	}
	if err := w.DeleteAlias(w.ctx, writer, acme, name, must(ballast.ParseAlias("old")), nil); err != nil {
		return err
	}
	token, err := w.CreateToken(w.ctx, admin, ballast.CreateToken{Name: "t", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}}})
	if err != nil {
		return err
	}
	if err := w.RevokeToken(w.ctx, admin, token.ID); err != nil {
		return err
	}
	if _, err := w.AddTask(w.ctx, admin, "walking"); err != nil {
		return err
	}
	return w.RemoveTask(w.ctx, admin, "walking")
}

// parts publishes in parts. The re-read meets trouble: see troubled.
func (w *walk) parts() error { return w.publish("parts:1", "a") }

// copied has the store copy what came in parts into the global scope.
func (w *walk) copied() error {
	u, err := w.Copy(w.ctx, publisher, ref("parts:1"), ballast.CopyVersion{Scope: ballast.Global, Name: ref("parts").Name, Version: ref("parts:1").Version})
	for err == nil && u.Status == ballast.UploadVerifying && w.ctx.Err() == nil {
		u, err = w.Upload(w.ctx, publisher, u.ID, time.Second)
	}
	switch {
	case err != nil:
		return err
	case u.Error != nil:
		return u.Error
	case u.Result == nil:
		return fmt.Errorf("the copy is %s", u.Status)
	}
	w.report(u.Result.Key, fate{ballast.StatusReady, u.Result.Digest})
	return nil
}

func (w *walk) unchanged() error {
	if err := w.publish("auto:1", "a"); err != nil {
		return err
	}
	return w.push("auto", "same-files-again-and-no-label", small("auto"))
}

// abandon gives an upload up whose multipart is open.
func (w *walk) abandon() error {
	u, err := w.begin("abandoned:1", "a")
	if err != nil {
		return err
	}
	w.abandoned = u.ID
	for d, body := range inParts("abandoned").blobs() {
		if _, err := w.Blobs(w.ctx, writer, u.ID, inOnePart(d, body)); err != nil {
			return err
		}
		if err := w.AbortUpload(w.ctx, writer, u.ID); err != nil {
			return err
		}
		if err := w.untilAbsent(d); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) untilAbsent(d digest.Digest) error {
	return w.until(d.String()+" is absent", func() (bool, error) {
		b, err := w.index.Blob(w.ctx, index.BlobID{Scope: acme, Digest: d})
		return b.State == index.BlobAbsent, err
	})
}

// lie sends in parts what is not what its digest says.
func (w *walk) lie() error {
	u, err := w.begin("lying:1", "a")
	if err != nil {
		return err
	}
	truth := []byte("what was promised")
	d := ballast.DigestOf(truth)
	lie := []byte("what was received")
	if err := w.send(u.ID, d, lie, true); err != nil {
		return err
	}
	files := []ballast.File{{Path: "w", Size: int64(len(lie)), Digest: d}}
	if _, err := w.commit(u.ID, files); ballast.CodeOf(err) != ballast.CodeIntegrity {
		return fmt.Errorf("a lie was answered %w", err)
	}
	return w.untilAbsent(d)
}

// oddly publishes beside an object that is not as it should be, which has to go first.
func (w *walk) oddly() error { return w.publish("odd:1", "a") }

// lose publishes though the multipart was lost before the parts were sent.
func (w *walk) lose() error {
	for d, body := range inParts("lost").blobs() {
		u, err := w.begin("lost:1", "a")
		if isThere(err, inParts("lost")) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Blobs(w.ctx, writer, u.ID, inOnePart(d, body)); err != nil {
			return err
		}
		if lost, _ := w.times(failpoint.MultipartLost); lost == 0 {
			if err := w.dropMultiparts(d); err != nil {
				return err
			}
		}
	}
	return w.publish("lost:1", "a")
}

// vanished publishes though the multipart is lost after its commit was accepted.
func (w *walk) vanished() error {
	if reopened, _ := w.times(failpoint.Reopen); reopened == 0 {
		w.mu.Lock()
		w.vanish = ballast.DigestOf(inParts("vanished")["in-parts.gguf"])
		w.mu.Unlock()
	}
	return w.publish("vanished:1", "a")
}

// dropMultiparts makes the store forget what was sent of a blob.
func (w *walk) dropMultiparts(d digest.Digest) error {
	key := ballast.BlobKey(acme, d)
	open, err := w.store.ListUploads(context.Background(), key)
	for _, m := range open {
		if abortErr := w.store.AbortMultipart(context.Background(), key, m.ID); !errors.Is(abortErr, objstore.ErrNoSuchUpload) {
			err = errors.Join(err, abortErr)
		}
	}
	return err
}

// expire lets a lease end, and publishes under the label that it held.
func (w *walk) expire() error {
	u, err := w.begin("expired:1", "of-the-dead")
	if isThere(err, small("expired")) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := w.clock.jump(time.Hour); err != nil {
		return err
	}
	err = w.until("the lease ends", func() (bool, error) {
		_, err := w.begin("expired:1", "of-the-heir") // finds the dead one's hold, which calls for the reaper
		if code := ballast.CodeOf(err); code != "" && code != ballast.CodeConflict {
			return false, err
		}
		now, err := w.index.Upload(w.ctx, u.ID)
		return now.Status == ballast.UploadExpired, err
	})
	if err != nil {
		return err
	}
	return w.publish("expired:1", "of-the-heir")
}

// forget lets the day go by after which a settled upload is forgotten.
func (w *walk) forget() error {
	if err := w.clock.jump(index.SettledLife + time.Hour); err != nil {
		return err
	}
	return w.until("an old upload is forgotten", func() (bool, error) {
		for _, attempt := range []string{"one-that-holds-it", "another-for-which-the-reaper-looks"} {
			if _, err := w.begin("forgotten:1", attempt); err != nil && ballast.CodeOf(err) != ballast.CodeConflict {
				return false, err
			}
		}
		_, err := w.index.Upload(w.ctx, w.abandoned)
		return ballast.CodeOf(err) == ballast.CodeNotFound, nil
	})
}

// publish pushes one of the published.
func (w *walk) publish(target, attempt string) error {
	return w.push(target, attempt, published()[target])
}

// isThere says that the label was refused for holding exactly these files.
func isThere(err error, f folder) bool {
	return ballast.CodeOf(err) == ballast.CodeAlreadyExists && ballast.AsError(err).Expected == f.manifest()
}

func (w *walk) begin(target, attempt string) (ballast.Upload, error) {
	r := ref(target)
	attempt += "-" + strings.ReplaceAll(target, ":", "-") + "-0123456789"
	u, _, err := w.CreateUpload(w.ctx, writer, ballast.CreateUpload{Name: r.Name, Version: r.Version, Attempt: attempt})
	return u, err
}

// push delivers, and reports what became ready.
func (w *walk) push(target, attempt string, f folder) error {
	v, err := w.deliver(target, attempt, f)
	if err == nil && v.Key != "" {
		w.report(v.Key, fate{ballast.StatusReady, v.Digest})
	}
	return err
}

// deliver is what a client does: it goes on with its open upload, and takes the version that it wanted for its own. That
// is zero when it was there.
func (w *walk) deliver(target, attempt string, f folder) (v ballast.VersionInfo, err error) {
	u, err := w.begin(target, attempt)
	if isThere(err, f) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	for d, body := range f.blobs() {
		if err := w.send(u.ID, d, body, f["in-parts.gguf"] != nil); err != nil {
			return v, err
		}
	}
	return w.commit(u.ID, f.files())
}

func (f folder) blobs() map[digest.Digest][]byte {
	all := map[digest.Digest][]byte{}
	for _, body := range f {
		all[ballast.DigestOf(body)] = body
	}
	return all
}

func inOnePart(d digest.Digest, body []byte) ballast.BlobsRequest {
	return ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{
		Digest: d, Size: int64(len(body)), Method: ballast.MethodMultipart, PartSize: partSize,
		Parts: []ballast.PartDigest{{Number: 1, SHA256: ballast.DigestOf(body).Encoded()}},
	}}}
}

// send uploads body under a digest, which an honest client computes from it.
func (w *walk) send(upload string, d digest.Digest, body []byte, parts bool) error {
	req := ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: d, Size: int64(len(body))}}}
	if parts {
		req = inOnePart(d, body)
	}
	answer, err := w.Blobs(w.ctx, writer, upload, req)
	if err != nil {
		return err
	}
	b := answer.Blobs[0]
	switch {
	case b.State == ballast.BlobBusy:
		return fmt.Errorf("blob %s is busy", d)
	case b.Request != nil:
		if status := w.store.send(w.t, *b.Request, body, nil); status != http.StatusOK && status != http.StatusPreconditionFailed {
			return fmt.Errorf("PUT: %d", status)
		}
	}
	for _, p := range b.Parts {
		if status := w.store.send(w.t, p.Request, body, nil); status != http.StatusOK {
			return fmt.Errorf("part: %d", status)
		}
	}
	return nil
}

func (w *walk) commit(upload string, files []ballast.File) (ballast.VersionInfo, error) {
	u, err := w.Commit(w.ctx, writer, upload, ballast.CommitRequest{Files: files})
	for err == nil && u.Status == ballast.UploadVerifying && w.ctx.Err() == nil {
		u, err = w.Upload(w.ctx, writer, upload, time.Second)
	}
	return resultOf(u, err)
}

// troubled is a bucket that makes the registry take the steps that only trouble calls for: the first re-read of the part
// "parts" fails, the second takes until its lease was renewed; the first object of the part "odd" is not as it was
// signed, until it is removed.
type troubled struct {
	objstore.Bucket
	w *walk
}

func (b *troubled) Get(ctx context.Context, key string, opt objstore.ReadOptions) (io.ReadCloser, objstore.Object, error) {
	for d := range inParts("parts").blobs() {
		if opt.IfMatch == "" || key != ballast.BlobKey(acme, d) {
			continue
		}
		id := index.BlobID{Scope: acme, Digest: d}
		if held, err := b.w.index.Blob(ctx, id); err != nil || held.State == index.BlobVerified {
			break // it was re-read: now its header is
		}
		if returned, _ := b.w.times(failpoint.ReturnVerify); returned == 0 {
			return nil, objstore.Object{}, objstore.ErrUnavailable
		}
		for {
			renewed, changed := b.w.times(failpoint.RenewVerify)
			if renewed > 0 {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, objstore.Object{}, ctx.Err()
			}
		}
	}
	return b.Bucket.Get(ctx, key, opt)
}

// oddKey is where the first object of the part odd lies.
func oddKey() string {
	return ballast.BlobKey(acme, ballast.DigestOf(small("odd")["model.safetensors"]))
}

func (b *troubled) Head(ctx context.Context, key string) (objstore.Object, error) {
	o, err := b.Bucket.Head(ctx, key)
	if key == oddKey() && !b.w.isOdd(false) {
		o.Oddities = append(o.Oddities, "a redirect")
	}
	return o, err
}

func (b *troubled) Delete(ctx context.Context, key string) error {
	err := b.Bucket.Delete(ctx, key)
	if err == nil && key == oddKey() {
		b.w.isOdd(true)
	}
	return err
}

// isOdd reports whether the odd object was removed, and notes that it is.
func (w *walk) isOdd(removed bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.odd = w.odd || removed
	return w.odd
}
