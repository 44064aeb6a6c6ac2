//go:build linux

package index_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/api"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
)

// registry is an index of some size behind the whole HTTP face, with its clients.
type registry struct {
	path      string
	versions  int
	forgetful bool // the index remembers nothing
	bucket    *objstoretest.Mem
	bolt      *index.Bolt
	index     *index.Index
	engine    *engine.Engine
	server    *httptest.Server
	token     string
	clients   [connections]*http.Client
}

var scaleReader = engine.Principal{ID: "reader", Name: "reader", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}}}

func scaleName(i int) ballast.Name {
	return must(ballast.ParseName(fmt.Sprintf("org%02d/model-%06d", i%97, i)))
}

// loadScale makes an index file of so many versions, in transactions of the contract's size, without syncing. Each name
// has an alias.
func loadScale(ctx context.Context, path string, versions int) error {
	bolt, err := index.OpenBolt(path, index.BoltOptions{NoSync: true})
	if err != nil {
		return err
	}
	x, err := index.Open(ctx, bolt, time.Now)
	if err != nil {
		return err
	}
	began := time.Now()
	batch := make([]index.Version, 0, 1000)
	for i := range versions {
		at := ballast.At(began.Add(time.Duration(i) * time.Millisecond))
		v := index.Version{
			Scope: acme, Name: scaleName(i / versionsPerName), Version: ballast.MajorVersion(uint64(1 + i%versionsPerName)), Status: ballast.StatusReady, Stage: ballast.StageNone,
			Digest: ballast.DigestOf(strconv.AppendInt(nil, int64(i), 10)), ManifestSize: 1000, Size: 1 << 30, Files: 4, Assurance: ballast.AssuranceReread,
			Metadata:  ballast.Metadata{Task: "text-generation", ModelType: "llm", Description: "one of many", Tags: []string{"bench"}, Metrics: map[string]float64{"validation_accuracy": 0.9}},
			CreatedBy: "ci@acme", CreatedAt: at, UpdatedAt: at, Revision: 1, Records: 1,
		}
		if batch = append(batch, v); len(batch) == cap(batch) || i == versions-1 {
			if err := x.Restore(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	setting, sctx := errgroup.WithContext(ctx)
	setting.SetLimit(64) // they share commits
	for n := range versions / versionsPerName {
		setting.Go(func() error {
			_, err := x.SetAlias(sctx, acme, scaleName(n), must(ballast.ParseAlias("champion")), ballast.MajorVersion(versionsPerName/2), "ci@acme", nil)
			return err
		})
	}
	if err := setting.Wait(); err != nil {
		return err
	}
	return x.Close()
}

// open serves an index file to connections that stay open.
func (r *registry) open(ctx context.Context) (err error) {
	if r.bolt, err = index.OpenBolt(r.path, index.BoltOptions{}); err != nil {
		return err
	}
	var options []index.Option
	if r.forgetful {
		options = append(options, index.Forgetful)
	}
	if r.index, err = index.Open(ctx, r.bolt, time.Now, options...); err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	r.engine, err = engine.Open(ctx, engine.Options{Index: r.index, Bucket: r.bucket, Signer: r.bucket, RecordKey: engine.NewRecordKey(make([]byte, 32)), Logger: quiet})
	if err != nil {
		return err
	}
	if r.token == "" {
		admin := engine.Principal{ID: "admin", Name: "admin", Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Admin}}}
		token, err := r.engine.CreateToken(ctx, admin, ballast.CreateToken{Grants: scaleReader.Grants})
		if err != nil {
			return err
		}
		r.token = token.Token.Reveal()
	}
	r.server = httptest.NewServer(api.New(r.engine, api.Options{Logger: quiet}))
	for c := range r.clients {
		r.clients[c] = &http.Client{Transport: &http.Transport{}}
		if _, err := r.get(c, "/healthz"); err != nil {
			return err
		}
	}
	return nil
}

func (r *registry) close() error {
	for _, c := range r.clients {
		c.CloseIdleConnections()
	}
	r.server.Close()
	_ = r.engine.Close()
	return r.index.Close()
}

// reopen closes the index and opens it again from a cold cache. It returns how long the opening took.
func (r *registry) reopen(ctx context.Context) (time.Duration, error) {
	if err := errors.Join(r.close(), uncache(r.path)); err != nil {
		return 0, err
	}
	began := time.Now()
	err := r.open(ctx)
	return time.Since(began), err
}

// remembers says whether the index may answer from its memory, from now on.
func (r *registry) remembers(b *testing.B, may bool) {
	b.Helper()
	r.forgetful = !may
	if _, err := r.reopen(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// forget drops the index's pages from this process's memory map and from the kernel's cache.
func (r *registry) forget() error {
	return errors.Join(r.advise(unix.MADV_DONTNEED), uncache(r.path))
}

// uncache drops what the kernel's cache has of a file that is not mapped.
func uncache(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fdatasync(int(f.Fd())), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
}

// remember reads every page of the index into this process's memory map, where a service has them that has run for a while.
func (r *registry) remember(b *testing.B) {
	b.Helper()
	f, err := os.Open(r.path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f) // the kernel reads ahead here, and not for the map
	if err := errors.Join(err, r.advise(unix.MADV_POPULATE_READ)); err != nil {
		b.Fatal(err)
	}
}

// advise tells the kernel what to do with the file as it is mapped into memory.
func (r *registry) advise(advice uintptr) error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	info, err := os.Stat(r.path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil || !strings.HasSuffix(line, " "+r.path+"\n") {
			continue
		}
		// The map is longer than the file.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, min(to-from, uintptr(info.Size())), advice); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
		return nil
	}
	return fmt.Errorf("%s is not mapped", r.path)
}

// get asks over one of the connections and returns how long the whole answer took.
func (r *registry) get(client int, path string) (time.Duration, error) {
	req, err := http.NewRequest(http.MethodGet, r.server.URL+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	began := time.Now()
	res, err := r.clients[client].Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	took := time.Since(began)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, res.Status)
	}
	return took, err
}

// asking is one kind of request to a registry.
type asking struct {
	at   *registry
	path func(*rand.Rand) string
}

// once sends a request over the first connection, as a step of inTurns.
func (a asking) once(b *testing.B) func(int) {
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
	return func(int) {
		if _, err := a.at.get(0, a.path(rnd)); err != nil {
			b.Fatal(err)
		}
	}
}

// calls sends so many requests over every connection at once, and returns how long each took.
func (a asking) calls(b *testing.B, each int) (all []time.Duration) {
	b.Helper()
	var mu sync.Mutex
	var running sync.WaitGroup
	for c := range connections {
		running.Go(func() {
			rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
			for range each {
				took, err := a.at.get(c, a.path(rnd))
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return all
}

// scales loads the two indexes and opens them. With scaleFolder it keeps the loaded files there for a next time, and
// works on copies.
func scales(b *testing.B, versions int) (small, large *registry) {
	b.Helper()
	load := func(versions int) *registry {
		r := &registry{path: filepath.Join(b.TempDir(), "index.db"), versions: versions, bucket: objstoretest.NewMem()}
		if err := r.load(b.Context()); err != nil {
			b.Fatal(err)
		}
		before, began := rssAnon(), time.Now()
		if err := r.open(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := r.close(); err != nil {
				b.Error(err)
			}
		})
		opened := time.Since(began)
		fmt.Printf("%d versions: %d MiB, opened in %s, RssAnon %+d KiB\n", versions, must(os.Stat(r.path)).Size()>>20, opened.Round(100*time.Microsecond), (rssAnon()-before)>>10)
		return r
	}
	return load(scaleSmall), load(versions)
}

// load makes the index file, or copies one that was kept, and flushes it so that nobody else has to.
func (r *registry) load(ctx context.Context) error {
	folder := os.Getenv(scaleFolder)
	if folder == "" {
		return errors.Join(loadScale(ctx, r.path, r.versions), flush(r.path))
	}
	kept := filepath.Join(folder, fmt.Sprintf("versions-%d.db", r.versions))
	if _, err := os.Stat(kept); err != nil {
		loading := kept + ".loading"
		if err := errors.Join(os.RemoveAll(loading), loadScale(ctx, loading, r.versions)); err != nil {
			return err
		}
		if err := os.Rename(loading, kept); err != nil {
			return err
		}
	}
	from, err := os.Open(kept)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(r.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close(), flush(r.path))
}

func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fdatasync(int(f.Fd())), f.Close())
}

// diskReads is how often this process waited for a page from the disk.
func diskReads() int64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return usage.Majflt
}

// processorTime is what this process has used of the processor.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// rssAnon is the anonymous memory of this process that is in use, in bytes.
func rssAnon() int64 {
	debug.FreeOSMemory()
	return must(testenv.AnonymousMemory(os.Getpid()))
}
