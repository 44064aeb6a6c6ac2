package e2e_test

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// TestNarrowedUploads: where the store has STS, what a writer sees of who signs for it ends at its scope, also by the store's own
// flaws; where it has none, or was told so, a line of the log says that it does not.
func TestNarrowedUploads(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		store   func(testing.TB) *testenv.Store
		more    []string
		narrow  bool
		says    string
		reaches bool // another scope's blob, by a signature of zeros
	}{
		"MinIO":          {testenv.MinIO, nil, true, "may write in its scope alone", false},
		"MinIO, wanted":  {testenv.MinIO, []string{"--s3-put-narrow", "on"}, true, "may write in its scope alone", false},
		"MinIO, refused": {testenv.MinIO, []string{"--s3-put-narrow", "off"}, false, "signed by one identity", true},
		"versitygw":      {testenv.Embedded, nil, false, "signed by one identity", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.store(t)
			r := serve(t, s, t.TempDir(), c.more...)
			acme, them := r.as(t, "acme=writer"), r.as(t, "them=writer")
			secret, own := []byte("theirs, "+name), []byte("ours, "+name)
			u := open(t, them, "m:1")
			theirs := askPut(t, them, u.ID, secret)
			send(t, theirs, secret, nil)
			must[ballast.Upload](t)(commit(t, them, u.ID, file("weights", secret)))

			signed := askPut(t, acme, open(t, acme, "m:1").ID, own)
			if got := keyOf(t, signed) == keyOf(t, theirs) || session(t, signed) == ""; got == c.narrow {
				t.Errorf("signed by %s with a session of %d bytes; for another scope by %s", keyOf(t, signed), len(session(t, signed)), keyOf(t, theirs))
			}
			forged := forge(t, signed)
			at := must[*url.URL](t)(url.Parse(forged.URL))
			at.Path = "/" + s.Bucket + "/" + ballast.BlobKey(scope("them"), ballast.DigestOf(secret))
			forged.URL = at.String()
			body, header := chunked([]byte("somebody's bytes"), "x-amz-checksum-crc32")
			status := send(t, forged, body, header)
			got := read(t, s, ballast.BlobKey(scope("them"), ballast.DigestOf(secret)))
			if bytes.Equal(got, secret) == c.reaches {
				t.Errorf("a forged PUT into another scope got %d, and left %q", status, got)
			}
			if c.narrow { // parts of a multipart that the service opens and completes
				files := map[string][]byte{"large": random(2*ballast.MinPartSize + 1), "small": random(10)}
				must[client.PushResult](t)(acme.Push(t.Context(), client.PushOptions{Path: folder(t, files), Target: ref("n:1"), AttemptDir: t.TempDir(), PartSize: ballast.MinPartSize}))
				check(t, pull(t, acme, "n:1", files))
			}
			r.stop(t)
			if said := r.stderr.String(); strings.Count(said, c.says) != 1 {
				t.Errorf("no line %q in %s", c.says, said)
			}
		})
	}
}

func keyOf(t *testing.T, req ballast.SignedRequest) string {
	t.Helper()
	id, _, _ := strings.Cut(must[*url.URL](t)(url.Parse(req.URL)).Query().Get("X-Amz-Credential"), "/")
	return id
}

func session(t *testing.T, req ballast.SignedRequest) string {
	t.Helper()
	return must[*url.URL](t)(url.Parse(req.URL)).Query().Get("X-Amz-Security-Token")
}
