package objstore_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
)

// conform runs the suite below a new prefix for each test, with pages so small that tests meet their borders.
func conform(t *testing.T, store *testenv.Store, wrap func(t *testing.T, b objstore.Bucket) objstore.Bucket) {
	other := store.Beside(t).Bucket
	objstoretest.Run(t, func(t *testing.T) objstoretest.Subject {
		cfg := store.Config()
		cfg.Prefix = "run/" + strings.ToLower(rand.Text())
		s := open(t, cfg)
		objstore.SetPageSize(s, 7)
		objstore.SetCopyPartSize(s, ballast.MinPartSize)
		sub := subject(t, s)
		sub.Bucket = wrap(t, s)
		beside, err := s.Neighbour(other)
		must(t, err)
		sub.Beside, sub.BesideName = beside, other
		return sub
	})
}

func plain(_ *testing.T, b objstore.Bucket) objstore.Bucket { return b }

func TestConformance(t *testing.T) {
	testenv.Each(t, func(t *testing.T, store *testenv.Store) { conform(t, store, plain) })
}

func TestConformanceVersioned(t *testing.T) { conform(t, testenv.MinIOVersioned(t), plain) }

func TestConformanceInstrumented(t *testing.T) {
	conform(t, testenv.Embedded(t), func(t *testing.T, b objstore.Bucket) objstore.Bucket {
		timed, err := objstore.Instrument(prometheus.NewRegistry())
		must(t, err)
		return timed(b)
	})
}

func TestAnAbsentBucketIsNoAbsentObject(t *testing.T) {
	testenv.Each(t, func(t *testing.T, store *testenv.Store) {
		cfg := store.Config()
		cfg.Bucket = "t-" + strings.ToLower(rand.Text()[:20])
		s := open(t, cfg)
		if _, err := s.Put(t.Context(), "k", nil, objstore.Condition{}); err == nil || errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("a put without a bucket: %v", err)
		}
		if _, _, err := s.Get(t.Context(), "k", objstore.ReadOptions{}); err == nil || errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("a get without a bucket: %v", err)
		}
	})
}

func TestVersionIDs(t *testing.T) {
	s := open(t, testenv.MinIOVersioned(t).Config())
	key := "global/blobs/v"
	first, err := s.Put(t.Context(), key, []byte("first"), objstore.Condition{})
	must(t, err)
	_, err = s.Put(t.Context(), key, []byte("second"), objstore.Condition{})
	must(t, err)
	if first.VersionID == "" {
		t.Fatal("no version id on a versioned bucket")
	}
	must(t, s.Delete(t.Context(), key))
	if _, err := s.Head(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("head of a delete marker: %v", err)
	}
	r, _, err := s.Get(t.Context(), key, objstore.ReadOptions{VersionID: first.VersionID})
	must(t, err)
	defer r.Close()
	if got, _ := io.ReadAll(r); string(got) != "first" {
		t.Errorf("the first version holds %q", got)
	}
	req, err := objstoretest.CheckSigner(t, s).SignGet(t.Context(), key, first.VersionID, time.Minute)
	must(t, err)
	resp, err := objstoretest.Send(t.Context(), newClient(t), req, nil, nil)
	must(t, err)
	defer resp.Body.Close()
	if got, _ := io.ReadAll(resp.Body); string(got) != "first" {
		t.Errorf("the signed version: %d %q", resp.StatusCode, got)
	}
}

func TestInstrumentCounts(t *testing.T) {
	reg := prometheus.NewRegistry()
	timed, err := objstore.Instrument(reg)
	must(t, err)
	b := timed(objstoretest.NewMem())
	_, err = b.Put(t.Context(), "k", nil, objstore.Condition{})
	must(t, err)
	_, _ = b.Head(t.Context(), "none")
	for range b.List(t.Context(), "", "") {
	}
	families, err := reg.Gather()
	must(t, err)
	var got []string
	for _, f := range families {
		for _, m := range f.Metric {
			got = append(got, f.GetName()+" "+m.Label[0].GetValue()+" "+m.Label[1].GetValue())
		}
	}
	slices.Sort(got)
	want := []string{"ballast_store_call_seconds head not_found", "ballast_store_call_seconds list ok", "ballast_store_call_seconds put ok"}
	if !slices.Equal(got, want) {
		t.Errorf("gathered %q", got)
	}
	if _, err := objstore.Instrument(reg); err == nil {
		t.Error("the same metric was registered twice")
	}
}

// TestAnotherClient: what one SDK writes the other reads.
func TestAnotherClient(t *testing.T) {
	testenv.Each(t, func(t *testing.T, store *testenv.Store) {
		cfg := store.Config()
		cfg.Prefix = "p"
		s, other := open(t, cfg), store.Client(t, store.Root)
		body := []byte("written by one, read by the other")

		_, err := s.Put(t.Context(), "global/blobs/ours", body, objstore.Condition{IfAbsent: true})
		must(t, err)
		info, err := other.StatObject(t.Context(), store.Bucket, "p/global/blobs/ours", minio.StatObjectOptions{Checksum: true})
		must(t, err)
		if info.Size != int64(len(body)) || info.ChecksumSHA256 != ballast.ChecksumHeader(ballast.DigestOf(body)) || len(info.UserMetadata) != 0 {
			t.Errorf("the other client sees %+v", info)
		}
		r, err := other.GetObject(t.Context(), store.Bucket, "p/global/blobs/ours", minio.GetObjectOptions{})
		must(t, err)
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
			t.Errorf("the other client reads %q, %v", got, err)
		}

		_, err = other.PutObject(t.Context(), store.Bucket, "p/theirs", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{
			UserMetadata: map[string]string{"X-Amz-Checksum-Sha256": ballast.ChecksumHeader(ballast.DigestOf(body)), "note": "theirs"},
		})
		must(t, err)
		head, err := s.Head(t.Context(), "theirs")
		must(t, err)
		if head.SHA256 != ballast.DigestOf(body) || !slices.Contains(head.Oddities, "user metadata") {
			t.Errorf("of the other client's object we see %+v", head)
		}
		testOtherMultipart(t, store, s)
	})
}

// testOtherMultipart completes with our client what the other began.
func testOtherMultipart(t *testing.T, store *testenv.Store, s *objstore.S3) {
	core := minio.Core{Client: store.Client(t, store.Root)}
	key, body := "global/blobs/parts", []byte("one part")
	id, err := core.NewMultipartUpload(t.Context(), store.Bucket, "p/"+key, minio.PutObjectOptions{UserMetadata: map[string]string{"X-Amz-Checksum-Algorithm": "SHA256"}})
	must(t, err)
	_, err = core.PutObjectPart(t.Context(), store.Bucket, "p/"+key, id, 1, bytes.NewReader(body), int64(len(body)), minio.PutObjectPartOptions{
		Sha256Hex: ballast.DigestOf(body).Encoded(), CustomHeader: map[string][]string{"X-Amz-Checksum-Sha256": {ballast.ChecksumHeader(ballast.DigestOf(body))}},
	})
	must(t, err)
	uploads, err := s.ListUploads(t.Context(), key)
	must(t, err)
	if len(uploads) != 1 || uploads[0].ID != id {
		t.Fatalf("uploads: %+v", uploads)
	}
	var parts []objstore.Part
	for p, err := range s.ListParts(t.Context(), key, id, 0) {
		must(t, err)
		parts = append(parts, p)
	}
	if len(parts) != 1 || parts[0].SHA256 != ballast.DigestOf(body) {
		t.Fatalf("parts: %+v", parts)
	}
	_, err = s.CompleteMultipart(t.Context(), key, id, parts)
	must(t, err)
	r, err := core.Client.GetObject(t.Context(), store.Bucket, "p/"+key, minio.GetObjectOptions{})
	must(t, err)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
		t.Errorf("the completed object holds %q, %v", got, err)
	}
}
