package faults_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv/canary"
)

var writer = engine.Principal{ID: "w", Name: "ci", Grants: []ballast.Grant{{Scope: ref("acme::x").Scope, Role: ballast.Writer}}}

// registry is an engine in this process, on a store in memory and an index in a file.
type registry struct {
	t     *testing.T
	data  string
	store *objstoretest.Mem
	key   engine.RecordKey
}

// running is a registry between open and close.
type running struct {
	*engine.Engine
	index   *index.Index
	skipped atomic.Int32 // items that were passed over
}

// open starts the engine; an error is a refusal to start.
func (r registry) open() (*running, error) {
	bolt, err := index.OpenBolt(indexFile(r.data), index.BoltOptions{NoSync: true, InitialMmapSize: -1})
	if err != nil {
		return nil, err
	}
	s := &running{}
	s.index, err = index.Open(r.t.Context(), bolt, time.Now, index.OnDamage(func(context.Context, []byte, error) { s.skipped.Add(1) }))
	if err != nil {
		_ = bolt.Close()
		return nil, err
	}
	s.Engine, err = engine.Open(r.t.Context(), engine.Options{Index: s.index, Bucket: r.store, Signer: r.store, RecordKey: r.key, Logger: canary.Log(r.t, canary.Quiet)})
	if err != nil {
		_ = s.index.Close()
		return nil, err
	}
	return s, nil
}

func (s *running) close(t *testing.T) {
	t.Helper()
	check(t, errors.Join(s.Engine.Close(), s.index.Close()))
}

// publish makes a version of one file.
func (s *running) publish(r registry, target, content string) {
	r.t.Helper()
	body := []byte(content)
	f := ballast.File{Path: "weights", Size: int64(len(body)), Digest: ballast.DigestOf(body)}
	u, _, err := s.CreateUpload(r.t.Context(), writer, ballast.CreateUpload{Name: ref(target).Name, Version: ref(target).Version, Attempt: strings.Repeat("a", 16) + strings.NewReplacer(" ", "-", ":", "-").Replace(content)})
	check(r.t, err)
	a := must[ballast.BlobsResponse](r.t)(s.Blobs(r.t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: f.Digest, Size: f.Size, Method: ballast.MethodPut}}}))
	r.store.Do(*a.Blobs[0].Request, body, nil)
	if target == "open:1" {
		return
	}
	if u := must[ballast.Upload](r.t)(s.Commit(r.t.Context(), writer, u.ID, ballast.CommitRequest{Files: []ballast.File{f}})); u.Status != ballast.UploadDone {
		r.t.Fatalf("%s is %s", target, u.Status)
	}
}

// TestEveryItemFlipped flips a bit of each item that an index holds, one at a time. Nothing that is there reads as
// absent, nothing else comes in its place, and the checker names the damage.
func TestEveryItemFlipped(t *testing.T) {
	t.Parallel()
	r := registry{t, t.TempDir(), objstoretest.NewMem(), engine.RecordKey{}}
	r.key = must[engine.RecordKey](t)(engine.LoadRecordKey(filepath.Join(r.data, "record.key"), true))
	s := must[*running](t)(r.open())
	for _, target := range []string{"m:1", "m:2", "n:1", "open:1"} {
		s.publish(r, target, "weights of "+target)
	}
	check(t, errorOf(s.SetAlias(t.Context(), writer, ballast.Scope{}, ref("m").Name, must[ballast.Alias](t)(ballast.ParseAlias("champion")), ref("m:1").Version, nil)))
	s.close(t)
	whole := must[[]byte](t)(os.ReadFile(indexFile(r.data)))
	const owner = "index/owner.json"
	mark := r.object(owner)

	counts := map[string]int{}
	for _, i := range items(t, r.data) {
		check(t, os.WriteFile(indexFile(r.data), i.flipped(t, whole), 0o600))
		check(t, errorOf(r.store.Put(t.Context(), owner, mark, objstore.Condition{}))) // each start raises its epoch
		s, err := r.open()
		if err != nil {
			if engine.AsError(err).Code != ballast.CodeIntegrity {
				t.Errorf("%q: refused to start with %v", i.key, err)
			}
			counts["refused to start"]++
			continue
		}
		outcome := s.read(t, i)
		counts[outcome]++
		_ = s.Engine.Close()
		found, err := engine.Check(t.Context(), s.index, r.store, r.key)
		pin := bytes.ContainsAny(i.key[:1], "pPz") // of an upload that is over: removed unread by now, maybe
		if i.key[0] == 'B' {                       // what a scope uses was counted again at the start
			if counts["mended"]++; err != nil || len(found) > 0 {
				t.Errorf("%q: not mended: the checker finds %v, %v", i.key, found, err)
			}
		} else if err != nil || !pin && !slices.ContainsFunc(found, func(v engine.Violation) bool { return v.Invariant == engine.InvariantUnknown }) {
			t.Errorf("%q: the checker finds %v, %v", i.key, found, err)
		}
		_ = s.index.Close()
	}
	t.Logf("%v", counts)
	for _, outcome := range []string{"refused to start", "integrity", "integrity, and reported", "unharmed", "mended"} {
		if counts[outcome] == 0 {
			t.Errorf("no item's damage was ever %s", outcome)
		}
	}
}

func (r registry) object(key string) []byte {
	body, _, err := r.store.Get(r.t.Context(), key, objstore.ReadOptions{})
	check(r.t, err)
	defer body.Close()
	var b bytes.Buffer
	check(r.t, errorOf(b.ReadFrom(body)))
	return b.Bytes()
}

// read asks for everything, and says what one damaged item did.
func (s *running) read(t *testing.T, damaged item) (outcome string) {
	t.Helper()
	outcome = "unharmed"
	for what, want := range map[string]string{
		"m:1": "acme::m::1", "m:2": "acme::m::2", "n:1": "acme::n::1", "m": "acme::m::2", "n": "acme::n::1", "m@champion": "acme::m::1",
	} {
		v, err := s.Version(t.Context(), writer, ref(what))
		switch {
		case err == nil && v.Key != want:
			t.Errorf("%q: %s became %s", damaged.key, what, v.Key)
		case err != nil && engine.AsError(err).Code != ballast.CodeIntegrity:
			t.Errorf("%q: %s: %v", damaged.key, what, err)
		case err != nil:
			outcome = "integrity"
		}
		if _, err := s.Files(t.Context(), writer, ref(what), engine.ListFiles{Limit: 10, URLs: true}); err != nil {
			if engine.AsError(err).Code != ballast.CodeIntegrity {
				t.Errorf("%q: files of %s: %v", damaged.key, what, err)
			}
			outcome = "integrity"
		}
	}
	before := s.skipped.Load()
	page, err := s.Versions(t.Context(), writer, ballast.Scope{}, ref("m").Name, engine.ListVersions{Limit: 10})
	models, modelsErr := s.Models(t.Context(), writer, engine.ListModels{Limit: 10})
	for _, err := range []error{err, modelsErr} {
		if err != nil && engine.AsError(err).Code != ballast.CodeIntegrity {
			t.Errorf("%q: list: %v", damaged.key, err)
		}
	}
	short := err == nil && len(page.Versions) < 2 || modelsErr == nil && len(models.Models) < 2
	if short && s.skipped.Load() == before {
		t.Errorf("%q: a list is short, and nobody is told: %v %v", damaged.key, page.Versions, models.Models)
	}
	if s.skipped.Load() > 0 {
		outcome += ", and reported"
	}
	return outcome
}
