package hub

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/engine"
)

// maxPythonBytes is the largest file that the Python client downloads over plain HTTP: it refuses, before the first
// byte, whatever the service says.
const maxPythonBytes = 50_000_000_000

// file answers for one file. HEAD is the service's to answer: a URL that is signed for GET is good for nothing else, and
// a client that was given none comes back for a fresh one whenever it resumes.
func (h *Hub) file(w http.ResponseWriter, r *request) error {
	a := audit.Of(r.Context())
	a.Asks(ballast.AuditRead)
	a.File(r.path)
	s, err := h.snapshot(w, r)
	if err != nil {
		return err
	}
	i, ok := find(s.Files, r.path)
	if !ok {
		w.Header().Set(headerCode, entryNotFound)
		return ballast.Errorf(ballast.CodeNotFound, "%s has no file %q", s.Version.Key, r.path)
	}
	f, header := s.Files[i], w.Header()
	etag := strconv.Quote(f.Digest.Encoded())
	header.Set(headerLinkedETag, etag)
	header.Set(headerLinkedSize, strconv.FormatInt(f.Size, 10))
	header.Set("Accept-Ranges", "bytes")
	header.Set("Cache-Control", "private, no-cache")
	if f.Size > maxPythonBytes && strings.Contains(r.UserAgent(), "hf_hub/") {
		header.Set(headerWarning, "size; "+r.path+" has over 50 GB, which this client refuses without Xet: use `ballast pull`, or publish the model in smaller files")
	}
	switch {
	case r.Method == http.MethodHead:
		header.Set("ETag", etag)
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Content-Length", strconv.FormatInt(f.Size, 10))
		w.WriteHeader(http.StatusOK)
		return nil
	case isInline(f):
		return h.serveInline(w, r, s, f, etag)
	}
	return h.redirect(w, r, s, f)
}

// isInline reports whether the service itself sends a file: an empty one, of which stores refuse every range, and one
// that is small and no weight, which clients then have in one step.
func isInline(f ballast.File) bool {
	return f.Size == 0 || f.Size <= engine.MaxContent && !ballast.IsWeight(f.Path)
}

func (h *Hub) serveInline(w http.ResponseWriter, r *request, s engine.Snapshot, f ballast.File, etag string) error {
	leave, err := h.inline.Take(r.Context(), r.principal.Turn(), f.Size)
	if err != nil {
		return err
	}
	defer leave()
	body, err := h.service.Content(r.Context(), r.principal, pinned(s), f.Path)
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("ETag", etag)
	header.Set("Content-Type", "application/octet-stream")
	if f.Size == 0 && r.Header.Get("Range") != "" {
		header.Set("Content-Range", "bytes */0") // where the JavaScript client reads the size
		r.Header.Del("Range")                    // of "bytes=-1" ServeContent makes "bytes 0--1/0"
	}
	http.ServeContent(w, r.Request, "", time.Time{}, bytes.NewReader(body))
	return nil
}

// redirect sends the client to the store.
func (h *Hub) redirect(w http.ResponseWriter, r *request, s engine.Snapshot, f ballast.File) error {
	if sendsTokenOn(r) {
		why := "this client sends its token on to the object store, which then refuses the download; fetch the model with `ballast pull` or `hf download` and give the client the folder"
		writeRefusal(w, http.StatusNotImplemented, why, refusal{Error: why})
		return nil
	}
	ctx := r.Context()
	if strings.Contains(r.Header.Get("Cache-Control"), "no-cache") { // the store refused the URL that it has
		ctx = engine.Fresh(ctx)
	}
	info, err := h.service.File(ctx, r.principal, pinned(s), f.Path)
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Location", info.Request.URL)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", "0")
	w.WriteHeader(http.StatusFound)
	return nil
}

// sendsTokenOn knows the Rust crate hf-hub, which puts its token into the request to the store too.
func sendsTokenOn(r *request) bool {
	agent := r.UserAgent()
	return strings.Contains(agent, "hf-hub/") && strings.Contains(agent, "rust/")
}
