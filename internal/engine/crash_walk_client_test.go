//go:build failpoints

package engine_test

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

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
