package engine_test

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// The store proves a digest and the verifier does, neither a size that somebody only claims. An upload that claimed it
// before the bytes came must not publish it after another one brought them.
func TestAClaimedSizeIsHeldToTheBytes(t *testing.T) {
	for _, method := range []ballast.Method{ballast.MethodPut, ballast.MethodMultipart} {
		t.Run(string(method), func(t *testing.T) {
			r := newRig(t, memStore(t))
			body := random(partSize+10, 11)
			d := ballast.DigestOf(body)
			liar, honest := must(r.open(t, writer, "m:1")), must(r.open(t, writer, "m:2"))
			r.claim(t, liar.ID, d, int64(len(body))-5, method)
			if err := r.sendBlob(t, writer, honest.ID, d, body, method); err != nil {
				t.Fatal(err)
			}
			files := folder{"w": body}.files()
			if method == ballast.MethodMultipart { // the parts are the honest upload's, who has to complete them
				must(r.commit(t, writer, honest.ID, files, ballast.Metadata{}))
			}
			_, err := r.commit(t, writer, liar.ID, []ballast.File{{Path: "w", Size: int64(len(body)) - 5, Digest: d}}, ballast.Metadata{})
			wantCode(t, err, ballast.CodeIntegrity)
			_, err = r.Version(t.Context(), writer, ref("m:1"))
			wantCode(t, err, ballast.CodeNotFound)
			if _, err := r.commit(t, writer, honest.ID, files, ballast.Metadata{}); err != nil {
				t.Errorf("the honest upload beside it: %v", err)
			}
		})
	}
}

func (r *rig) claim(t *testing.T, id string, d digest.Digest, size int64, method ballast.Method) {
	t.Helper()
	want := ballast.BlobRequest{Digest: d, Size: size, Method: method, PartSize: partSize}
	if _, err := r.Blobs(t.Context(), writer, id, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{want}}); err != nil {
		t.Fatal(err)
	}
}
