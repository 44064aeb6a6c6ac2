package engine_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/hash"
	"github.com/ballast-registry/ballast/internal/objstore"
)

func TestPublishAndRead(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		f := small("a")
		v := r.mustPush(t, writer, "llama/tiny:1.2.0", f)
		if v.Key != "acme::llama/tiny::1.2.0" || v.Status != ballast.StatusReady || v.Files != 3 || v.Assurance != ballast.AssuranceStore {
			t.Fatalf("version is %+v", v)
		}
		for _, name := range []string{"llama/tiny", "llama/tiny:1.2.0", "Llama/TINY", "llama/tiny@" + v.Digest.String(), v.Key} {
			got, err := r.Version(t.Context(), reader, ref(name))
			if err != nil || got.Key != v.Key {
				t.Errorf("%s resolves to %q, %v", name, got.Key, err)
			}
		}
		for p, b := range r.pull(t, reader, "llama/tiny") {
			if !bytes.Equal(b, f[p]) {
				t.Errorf("%s differs", p)
			}
		}
		_, err := r.Version(t.Context(), other, ref("acme::llama/tiny"))
		wantCode(t, err, ballast.CodeNotFound)
		_, err = r.open(t, reader, "llama/tiny:9")
		wantCode(t, err, ballast.CodeDenied)
	})
}

func TestMultipart(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		body := random(2*partSize+123, 1)
		f := folder{"model.gguf": body}
		u := must(r.open(t, writer, "big:1"))
		if err := r.sendBlob(t, writer, u.ID, ballast.DigestOf(body), body, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		v, err := r.commit(t, writer, u.ID, f.files(), ballast.Metadata{})
		if err != nil || v.Assurance != ballast.AssuranceReread {
			t.Fatalf("commit: %+v, %v", v, err)
		}
		page, err := r.Files(t.Context(), reader, ref("big"), engine.ListFiles{Parts: true, Limit: 10})
		if err != nil || len(page.Files[0].Parts) != 3 || page.Files[0].PartSize != partSize {
			t.Fatalf("files: %+v, %v", page, err)
		}
		chain := hash.NewChain(partSize)
		_, _ = chain.Write(body)
		if got := page.Files[0].Chain; page.Files[0].LinkSize != partSize || len(got) != 2 || got[1] != fmt.Sprintf("%x", chain.States()[1]) {
			t.Fatalf("chain: %+v", page.Files[0])
		}
		if got := r.pull(t, reader, "big")["model.gguf"]; !bytes.Equal(got, body) {
			t.Fatal("other bytes came back")
		}
	})
}

// What an uploader declares of a PUT's chain is given out to those who pull, right or wrong, and no part of what is checked.
func TestADeclaredChain(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		for name, lie := range map[string]bool{"right": false, "wrong": true} {
			body := random(2*partSize+123, uint64(name[0]))
			d := ballast.DigestOf(body)
			chain := hash.NewChain(partSize)
			_, _ = chain.Write(body)
			ask := ballast.BlobRequest{Digest: d, Size: int64(len(body)), Method: ballast.MethodPut, LinkSize: partSize}
			for _, state := range chain.States() {
				if lie {
					state[0] ^= 1
				}
				ask.Chain = append(ask.Chain, hex.EncodeToString(state[:]))
			}
			u := must(r.open(t, writer, name+":1"))
			if _, err := r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{ask}}); err != nil {
				t.Fatal(err)
			}
			if err := r.sendBlob(t, writer, u.ID, d, body, ballast.MethodPut); err != nil {
				t.Fatal(err)
			}
			if v, err := r.commit(t, writer, u.ID, folder{"w": body}.files(), ballast.Metadata{}); err != nil || v.Assurance != ballast.AssuranceStore {
				t.Fatalf("commit: %+v, %v", v, err)
			}
			page, err := r.Files(t.Context(), reader, ref(name), engine.ListFiles{Parts: true, Limit: 10})
			if err != nil || page.Files[0].LinkSize != partSize || !slices.Equal(page.Files[0].Chain, ask.Chain) {
				t.Errorf("%s: files: %+v, %v", name, page, err)
			}
		}
	})
}

func TestChainsThatAreRefused(t *testing.T) {
	_, r := memRig(t, nil)
	u := must(r.open(t, writer, "m:1"))
	value := strings.Repeat("0", 64)
	for name, b := range map[string]ballast.BlobRequest{
		"of parts":       {Method: ballast.MethodMultipart, LinkSize: partSize, Chain: []string{value}},
		"no link":        {Method: ballast.MethodPut, Chain: []string{value}},
		"a short link":   {Method: ballast.MethodPut, LinkSize: 64, Chain: []string{value}},
		"an odd link":    {Method: ballast.MethodPut, LinkSize: partSize + 1, Chain: []string{value}},
		"a negative one": {Method: ballast.MethodPut, LinkSize: -64, Chain: []string{value}},
		"too few":        {Method: ballast.MethodPut, LinkSize: partSize},
		"too many":       {Method: ballast.MethodPut, LinkSize: partSize, Chain: []string{value, value}},
		"no digest":      {Method: ballast.MethodPut, LinkSize: partSize, Chain: []string{"x"}},
	} {
		b.Digest, b.Size = ballast.DigestOf([]byte(name)), 2*partSize
		_, err := r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{b}})
		if ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A lie about the whole file: every part is what its URL says, but together they are not the digest.
func TestLyingMultipart(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		honest, lie := random(partSize+10, 2), random(partSize+10, 3)
		d := ballast.DigestOf(honest)
		liar := must(r.open(t, writer, "m:1"))
		if err := r.sendBlob(t, writer, liar.ID, d, lie, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		beside := must(r.open(t, writer, "m:2"))
		if err := r.sendBlob(t, writer, beside.ID, d, honest, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		// The honest parts replaced the liar's, so the liar's commit is told what is missing; it insists.
		_, err := r.commit(t, writer, liar.ID, folder{"w": honest}.files(), ballast.Metadata{})
		wantCode(t, err, ballast.CodeMissing)
		if err := r.sendBlob(t, writer, liar.ID, d, lie, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		_, err = r.commit(t, writer, liar.ID, folder{"w": honest}.files(), ballast.Metadata{})
		e := wantCode(t, err, ballast.CodeIntegrity)
		if e.Expected != d || e.Actual != ballast.DigestOf(lie) {
			t.Fatalf("expected %s, actual %s", e.Expected, e.Actual)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if _, err := s.Head(t.Context(), ballast.BlobKey(acme, d)); errors.Is(err, objstore.ErrNotFound) {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("the lying object is still there: %v", err)
			}
		}
		if err := r.sendBlob(t, writer, beside.ID, d, honest, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		v, err := r.commit(t, writer, beside.ID, folder{"w": honest}.files(), ballast.Metadata{})
		if err != nil || v.Status != ballast.StatusReady {
			t.Fatalf("the honest upload beside it: %+v, %v", v, err)
		}
	})
}

func TestPutOfOtherBytes(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		u := must(r.open(t, writer, "m:1"))
		good, bad := []byte("right bytes"), []byte("wrong bytes")
		a, err := r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf(good), Size: int64(len(good))}}})
		if err != nil {
			t.Fatal(err)
		}
		if status := s.send(t, *a.Blobs[0].Request, bad, nil); status < 400 || status >= 500 {
			t.Fatalf("the store answered %d to other bytes", status)
		}
		_, err = r.commit(t, writer, u.ID, folder{"w": good}.files(), ballast.Metadata{})
		if e := wantCode(t, err, ballast.CodeMissing); !slices.Contains(e.Missing, ballast.DigestOf(good)) {
			t.Fatalf("missing: %v", e.Missing)
		}
	})
}

func TestTaintedPut(t *testing.T) {
	for name, extra := range map[string]http.Header{
		"content-encoding": {"Content-Encoding": {"gzip"}},
		"user metadata":    {"X-Amz-Meta-Owner": {"me"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s store) {
				r := newRig(t, s)
				u := must(r.open(t, writer, "m:1"))
				body := []byte("weights")
				a, err := r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf(body), Size: int64(len(body))}}})
				if err != nil {
					t.Fatal(err)
				}
				status := s.send(t, *a.Blobs[0].Request, body, extra)
				if status != http.StatusOK {
					t.Logf("the store itself refuses it: %d", status)
					return
				}
				_, err = r.commit(t, writer, u.ID, folder{"w": body}.files(), ballast.Metadata{})
				wantCode(t, err, ballast.CodeIntegrity)
				got, err := r.Upload(t.Context(), writer, u.ID, 0)
				if err != nil || got.Status != ballast.UploadFailed {
					t.Fatalf("upload is %s, %v", got.Status, err)
				}
				waitGone(t, s, ballast.BlobKey(acme, ballast.DigestOf(body)))
			})
		})
	}
}

func waitGone(t *testing.T, s store, key string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, err := s.Head(t.Context(), key)
		if errors.Is(err, objstore.ErrNotFound) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there: %v", key, err)
		}
	}
}
