package index_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/api"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// scaleVariable sets the number of versions of the large index. Its names have ten versions each, as have those of the
// small one, which holds 1,000.
const (
	scaleVariable   = "BALLAST_BENCH_VERSIONS"
	scaleDefault    = 50_000
	scaleSmall      = 1000
	versionsPerName = 10
	connections     = 8
	callsPerRound   = 2000 // over all connections
)

// registry is an index of some size behind the whole HTTP face.
type registry struct {
	path     string
	versions int
	bucket   *objstoretest.Mem
	bolt     *index.Bolt
	index    *index.Index
	engine   *engine.Engine
	server   *httptest.Server
	token    string
}

// scales are the two indexes, loaded once per process.
var scales struct {
	once         sync.Once
	small, large *registry
	err          error
}

func scaleName(i int) ballast.Name {
	return must(ballast.ParseName(fmt.Sprintf("org%02d/model-%06d", i%97, i)))
}

// loadScale makes an index file of so many versions, in transactions of the contract's size, without syncing.
func loadScale(ctx context.Context, path string, versions int) error {
	bolt, err := index.OpenBolt(path, index.BoltOptions{NoSync: true})
	if err != nil {
		return err
	}
	x, err := index.Open(ctx, bolt, time.Now)
	if err != nil {
		return err
	}
	at := ballast.At(time.Now())
	batch := make([]index.Version, 0, 1000)
	for i := 0; i < versions; i++ {
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
	for n := range versions / versionsPerName {
		if _, err := x.SetAlias(ctx, acme, scaleName(n), must(ballast.ParseAlias("champion")), ballast.MajorVersion(5), "ci@acme", nil); err != nil {
			return err
		}
	}
	return x.Close()
}

// open serves an index file.
func (r *registry) open(ctx context.Context) (err error) {
	if r.bolt, err = index.OpenBolt(r.path, index.BoltOptions{}); err != nil {
		return err
	}
	if r.index, err = index.Open(ctx, r.bolt, time.Now); err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	r.engine, err = engine.Open(ctx, engine.Options{Index: r.index, Bucket: r.bucket, Signer: r.bucket, RecordKey: engine.NewRecordKey(make([]byte, 32)), Logger: quiet})
	if err != nil {
		return err
	}
	admin := engine.Principal{ID: "admin", Name: "admin", Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Admin}}}
	token, err := r.engine.CreateToken(ctx, admin, ballast.CreateToken{Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}}})
	if err != nil {
		return err
	}
	r.token = token.Token
	r.server = httptest.NewServer(api.New(r.engine, api.Options{Logger: quiet}))
	return nil
}

func (r *registry) close() error {
	r.server.Close()
	_ = r.engine.Close()
	return r.index.Close()
}

// reopenCold closes the index, drops its pages from the kernel's cache, and opens it again.
func (r *registry) reopenCold(ctx context.Context) error {
	if err := r.close(); err != nil {
		return err
	}
	f, err := os.Open(r.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	return r.open(ctx)
}

func openScales(b *testing.B) (small, large *registry) {
	b.Helper()
	scales.once.Do(func() {
		dir, err := os.MkdirTemp("", "ballast-bench-scale-")
		if err != nil {
			scales.err = err
			return
		}
		versions := scaleDefault
		if text := os.Getenv(scaleVariable); text != "" {
			versions = must(strconv.Atoi(text))
		}
		load := func(name string, versions int) *registry {
			r := &registry{path: filepath.Join(dir, name), versions: versions, bucket: objstoretest.NewMem()}
			if scales.err == nil {
				scales.err = loadScale(context.Background(), r.path, versions)
			}
			before, began := rssAnon(), time.Now()
			if scales.err == nil {
				scales.err = r.open(context.Background())
			}
			b.Logf("%s: %d versions, %d MiB, opened in %s, RssAnon %+d MiB", name, versions, fileSize(r.path)>>20, time.Since(began).Round(time.Millisecond), (rssAnon()-before)>>20)
			return r
		}
		scales.small, scales.large = load("small", scaleSmall), load("large", versions)
	})
	if scales.err != nil {
		b.Fatal(scales.err)
	}
	return scales.small, scales.large
}

func fileSize(path string) int64 { return must(os.Stat(path)).Size() }

// rssAnon is the anonymous memory of this process, in bytes; 0 where the kernel does not say.
func rssAnon() int64 {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// p99 sends calls for random names over 8 connections and returns the 99th percentile of how long they took.
func (r *registry) p99(b *testing.B, calls int, selector func(rnd *rand.Rand) string) time.Duration {
	b.Helper()
	took := make([][]time.Duration, connections)
	var running sync.WaitGroup
	for c := range connections {
		running.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			rnd := rand.New(rand.NewPCG(uint64(c), uint64(b.N)))
			for range calls / connections {
				name := scaleName(rnd.IntN(r.versions / versionsPerName))
				req := must(http.NewRequest(http.MethodGet, r.server.URL+"/v1/models/"+name.String()+"/versions/"+selector(rnd), nil))
				req.Header.Set("Authorization", "Bearer "+r.token)
				began := time.Now()
				res, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, res.Body)
				took[c] = append(took[c], time.Since(began))
				if res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
					b.Errorf("%s: %s", req.URL.Path, res.Status)
					return
				}
			}
		})
	}
	running.Wait()
	all := slices.Concat(took...)
	slices.Sort(all)
	return all[len(all)*99/100]
}

var selectors = []struct {
	name string
	text func(*rand.Rand) string
}{
	{"latest", func(*rand.Rand) string { return "latest" }},
	{"exact", func(rnd *rand.Rand) string { return strconv.Itoa(1 + rnd.IntN(versionsPerName)) }},
	{"alias", func(*rand.Rand) string { return "@champion" }},
}

// BenchmarkScaleHTTP compares the 99th percentile of reads from a large index with that from one of 1,000 versions, in
// turns, over the whole HTTP face: p99-ratio.
func BenchmarkScaleHTTP(b *testing.B) {
	small, large := openScales(b)
	for _, s := range selectors {
		b.Run("read="+s.name+"/cache=warm", func(b *testing.B) {
			var ratios []float64
			for b.Loop() {
				less := small.p99(b, callsPerRound, s.text)
				ratios = append(ratios, float64(large.p99(b, callsPerRound, s.text))/float64(less))
			}
			reportRatios(b, "p99", ratios)
		})
	}
	for _, s := range selectors {
		b.Run("read="+s.name+"/cache=cold", func(b *testing.B) {
			var ratios []float64
			for b.Loop() {
				for _, r := range []*registry{small, large} {
					if err := r.reopenCold(context.Background()); err != nil {
						b.Fatal(err)
					}
				}
				less := small.p99(b, callsPerRound, s.text)
				ratios = append(ratios, float64(large.p99(b, callsPerRound, s.text))/float64(less))
			}
			reportRatios(b, "p99", ratios)
		})
	}
}

// reportRatios reports the median of some ratios, with the least and the greatest.
func reportRatios(b *testing.B, what string, ratios []float64) {
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], what+"-ratio")
	b.ReportMetric(ratios[0], what+"-ratio-min")
	b.ReportMetric(ratios[len(ratios)-1], what+"-ratio-max")
}

// counted is a Store that notes the keys that were read.
type counted struct {
	index.Store
	keys *[][]byte
}

type countedTx struct {
	index.Tx
	keys *[][]byte
}

func (s counted) View(ctx context.Context, fn func(index.Tx) error) error {
	return s.Store.View(ctx, func(tx index.Tx) error { return fn(countedTx{tx, s.keys}) })
}

func (tx countedTx) Get(key []byte) ([]byte, error) {
	*tx.keys = append(*tx.keys, slices.Clone(key))
	return tx.Tx.Get(key)
}

// BenchmarkScaleInProcess compares resolving a reference in a large index with as many bare gets of bbolt, of the same
// keys on the same file: ratio. A scan counts as the get of what it finds.
func BenchmarkScaleInProcess(b *testing.B) {
	_, large := openScales(b)
	db, bucket := index.BareDB(large.bolt)
	lookup := index.Lookup{Scopes: []ballast.Scope{acme}}
	for _, s := range selectors {
		b.Run("read="+s.name, func(b *testing.B) {
			const batch = 20_000
			rnd := rand.New(rand.NewPCG(1, 1))
			var ratios []float64
			for b.Loop() {
				refs := make([]ballast.Ref, batch)
				gets := make([][][]byte, batch)
				for i := range refs {
					refs[i] = must(ballast.ParseRefIn("acme::"+scaleName(rnd.IntN(large.versions/versionsPerName)).String(), s.text(rnd)))
					gets[i] = readKeys(b, large, lookup, refs[i])
				}
				ratios = append(ratios, inTurns(batch/100, func(chunk int) {
					for _, r := range refs[100*chunk : 100*(chunk+1)] {
						if _, err := large.index.ResolveHead(b.Context(), lookup, r); err != nil {
							b.Fatal(err)
						}
					}
				}, func(chunk int) {
					for _, keys := range gets[100*chunk : 100*(chunk+1)] {
						bare(b, db, bucket, keys)
					}
				}))
			}
			reportRatios(b, "resolve-to-gets", ratios)
		})
	}
}

// inTurns runs chunks of two workloads in turns, first the one and then the other first, since who comes second finds the
// processor's caches warm. It returns the time of the first over that of the second.
func inTurns(chunks int, first, second func(chunk int)) float64 {
	var took [2]time.Duration
	run := func(which, chunk int) {
		began := time.Now()
		[]func(int){first, second}[which](chunk)
		took[which] += time.Since(began)
	}
	for chunk := range chunks {
		run(chunk%2, chunk)
		run(1-chunk%2, chunk)
	}
	return float64(took[0]) / float64(took[1])
}

// readKeys returns the keys that a resolution reads, what it scans for included.
func readKeys(b *testing.B, r *registry, l index.Lookup, ref ballast.Ref) (keys [][]byte) {
	b.Helper()
	x, err := index.Open(b.Context(), counted{r.bolt, &keys}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	keys = nil
	if _, err := x.ResolveHead(b.Context(), l, ref); err != nil {
		b.Fatal(err)
	}
	if ref.IsLatest() {
		keys = append(keys, keys[0]) // the scan
	}
	return keys
}

func bare(b *testing.B, db *bbolt.DB, bucket []byte, keys [][]byte) {
	err := db.View(func(tx *bbolt.Tx) error {
		data := tx.Bucket(bucket)
		for _, k := range keys {
			if data.Get(k) == nil {
				return fmt.Errorf("there is no %q", k)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
