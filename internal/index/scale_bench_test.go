//go:build linux

package index_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// scaleVersions sets the number of versions of the large index, at least 2,000. Its names have ten versions each, as have
// those of the small one, which holds 1,000. scaleFolder names a folder where the loaded files are kept for the next run of
// the same program; without it each run loads its own and removes them.
const (
	scaleVersions   = "BALLAST_BENCH_VERSIONS"
	scaleFolder     = "BALLAST_BENCH_FOLDER"
	scaleDefault    = 50_000
	scaleSmall      = 1000
	versionsPerName = 10
	connections     = 8
	scaleRounds     = 5 // of each row: the table shows their median
	pageOf          = 100
)

// The goals of the table.
const (
	scaleGoal = 1.3 // a large index to a small one, a deep page to an early one: 99th percentile over HTTP, processor time in process
	getsGoal  = 1.5 // a resolution to as many bare gets
)

// BenchmarkScale compares reads from a large index with those from a small one over the whole HTTP face, pages far down
// a list with those at its beginning, and a resolution with the gets of bbolt that it needs. What is compared runs in
// turns, so that what else the machine does meets both. It prints a table and judges by ratios alone.
func BenchmarkScale(b *testing.B) {
	versions := scaleDefault
	if text := os.Getenv(scaleVersions); text != "" {
		versions = must(strconv.Atoi(text))
	}
	s := scale{}
	s.small, s.large = scales(b, versions)
	for _, selector := range selectors {
		s.reads(b, selector, warm, served)
		s.reads(b, selector, warm, servedFew)
	}
	// From here on the indexes are compared, and not what is remembered of them: a small one fits into that.
	s.small.remembers(b, false)
	s.large.remembers(b, false)
	for _, selector := range selectors {
		s.reads(b, selector, warm, forgetful)
		s.resolving(b, selector, "head", getsGoal, resolveHead)
		s.resolving(b, selector, "whole version", 0, resolveWhole)
	}
	for _, order := range []ballast.VersionOrder{ballast.OrderName, ballast.OrderNewest} {
		s.pages(b, order)
	}
	for _, selector := range selectors {
		s.reads(b, selector, cold, forgetful)
	}
	s.opening(b)
	s.print(os.Stdout)
	fmt.Printf("RssAnon at the end: %d MiB\n", rssAnon()>>20)
}

type scale struct {
	scaleTable
	small, large *registry
}

// selector is one way to name a version.
type selector struct {
	name string
	text func(*rand.Rand) string
}

var selectors = []selector{
	{"latest", func(*rand.Rand) string { return "latest" }},
	{"exact", func(rnd *rand.Rand) string { return strconv.Itoa(1 + rnd.IntN(versionsPerName)) }},
	{"alias", func(*rand.Rand) string { return "@champion" }},
}

// cache says how requests are sent: so many turns of so many over every connection. A round begins with the whole index in
// memory; with drop, each turn begins with no page of it there.
type cache struct {
	name        string
	turns, each int
	drop        bool
}

// A turn is short, so that what else the machine does meets both kinds, and a cold one the shorter since what follows the
// first requests finds the pages that those have read.
var (
	warm = cache{name: "warm", turns: 50, each: 5}
	cold = cache{name: "cold", turns: 50, each: 1, drop: true}
)

func (c cache) calls(b *testing.B, a asking) []time.Duration {
	b.Helper()
	if !c.drop {
		return a.calls(b, c.each)
	}
	if err := a.at.forget(); err != nil {
		b.Fatal(err)
	}
	before := diskReads()
	all := a.calls(b, c.each)
	if diskReads() == before {
		b.Fatalf("nothing was read from the disk of %s: no cold cache", a.at.path)
	}
	return all
}

// round sends two kinds of requests in turns, first the one and then the other first, and compares their 99th percentiles.
func (c cache) round(b *testing.B, from, to asking) scaleRound {
	b.Helper()
	var took [2][]time.Duration
	kinds := [2]asking{from, to}
	if !c.drop {
		from.at.remember(b)
		to.at.remember(b)
	}
	for turn := range c.turns {
		for _, kind := range []int{turn % 2, 1 - turn%2} {
			took[kind] = append(took[kind], c.calls(b, kinds[kind])...)
		}
	}
	return scaleRound{p99(took[0]), p99(took[1])}
}

// serving is what is asked of the two, and what they may remember.
type serving struct {
	name, said string
	few        bool // as many names are asked of the large one as of the small one, spread over all of it
}

var (
	served    = serving{name: "served"}                                                // a small index fits into what is remembered
	servedFew = serving{name: "few", said: ", as many names asked of both", few: true} // both do
	forgetful = serving{name: "forgetful", said: ", nothing remembered"}               // neither does
)

func (s *scale) reads(b *testing.B, of selector, c cache, how serving) {
	read := func(r *registry) asking {
		names, step := r.versions/versionsPerName, 1
		if few := scaleSmall / versionsPerName; how.few {
			names, step = few, names/few
		}
		return asking{r, func(rnd *rand.Rand) string {
			return "/v1/models/" + scaleName(step*rnd.IntN(names)).String() + "/versions/" + of.text(rnd)
		}}
	}
	if how.few { // each index has met these names before it counts
		for _, r := range []*registry{s.small, s.large} {
			ask := read(r).once(b)
			for i := range 5 * scaleSmall {
				ask(i)
			}
		}
	}
	row := scaleRow{what: fmt.Sprintf("GET %s, %s, p99%s", of.name, c.name, how.said), from: count(s.small), to: count(s.large), goal: scaleGoal}
	s.compare(b, "read="+of.name+"/cache="+c.name+"/how="+how.name, row, func(b *testing.B) scaleRound {
		return c.round(b, read(s.small), read(s.large))
	})
	if c.drop {
		return
	}
	row.what, row.goal = fmt.Sprintf("GET %s, processor time%s", of.name, how.said), 0
	s.compare(b, "read="+of.name+"/of=processor/how="+how.name, row, func(b *testing.B) scaleRound {
		s.small.remember(b)
		s.large.remember(b)
		return inTurns(b, 20, 50, read(s.small).once(b), read(s.large).once(b))
	})
}

func count(r *registry) string { return fmt.Sprintf("%d versions", r.versions) }

// pages compares a page at depth 10 with one at nine tenths of a list.
func (s *scale) pages(b *testing.B, order ballast.VersionOrder) {
	deep := s.large.versions / 10 * 9
	list := engine.ListAllVersions{Order: order, ListVersions: engine.ListVersions{Limit: pageOf}}
	at := func(depth int) func() engine.ListAllVersions {
		return sync.OnceValue(func() engine.ListAllVersions { return must(s.large.pageAt(b.Context(), list, depth)) })
	}
	early, late := at(10), at(deep)
	ask := func(l engine.ListAllVersions) asking {
		path := "/v1/versions?" + url.Values{"limit": {strconv.Itoa(l.Limit)}, "order": {string(order)}, "cursor": {l.Cursor}}.Encode()
		return asking{s.large, func(*rand.Rand) string { return path }}
	}
	row := scaleRow{from: "depth 10", to: fmt.Sprintf("depth %d", deep), goal: scaleGoal}
	for _, c := range []cache{{name: "warm", turns: 50, each: 2}, cold} {
		row.what = fmt.Sprintf("GET page of %d by %s, %s, p99", pageOf, order, c.name)
		s.compare(b, "page="+string(order)+"/cache="+c.name, row, func(b *testing.B) scaleRound {
			return c.round(b, ask(early()), ask(late()))
		})
	}
	row.what = fmt.Sprintf("page of %d by %s, in process", pageOf, order)
	pages := func(l engine.ListAllVersions) func(int) {
		return func(int) {
			if _, err := s.large.engine.AllVersions(b.Context(), scaleReader, l); err != nil {
				b.Fatal(err)
			}
		}
	}
	s.compare(b, "page="+string(order)+"/in=process", row, func(b *testing.B) scaleRound {
		s.large.remember(b)
		return inTurns(b, 20, 10, pages(early()), pages(late()))
	})
}

// pageAt returns the list from behind so many versions, and sees to it that its page is full: one that finds nothing is fast.
func (r *registry) pageAt(ctx context.Context, l engine.ListAllVersions, depth int) (engine.ListAllVersions, error) {
	for next := l; depth > 0; next.Cursor = l.Cursor {
		next.Limit = min(depth, 1000)
		page, err := r.engine.AllVersions(ctx, scaleReader, next)
		if err != nil {
			return l, err
		}
		if page.Cursor == "" {
			return l, fmt.Errorf("the list ends %d versions before the depth", depth)
		}
		l.Cursor = page.Cursor
		depth -= len(page.Versions)
	}
	page, err := r.engine.AllVersions(ctx, scaleReader, l)
	if err == nil && len(page.Versions) != l.Limit {
		err = fmt.Errorf("the page has %d versions", len(page.Versions))
	}
	return l, err
}

// opening compares how long it takes to open the two, on an empty bucket, from a cold cache.
func (s *scale) opening(b *testing.B) {
	row := scaleRow{what: "opening, cold", from: count(s.small), to: count(s.large)}
	s.compare(b, "opening", row, func(b *testing.B) scaleRound {
		from, err := s.small.reopen(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		to, err := s.large.reopen(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		return scaleRound{from, to}
	})
}

// inTurns runs chunks of n of two workloads in turns, first the one and then the other first, since who comes second finds
// the processor's caches warm, and returns what one of each takes. It takes the processor's time, so that what else the
// machine runs does not count, and garbage collection does.
func inTurns(b *testing.B, chunks, n int, from, to func(i int)) scaleRound {
	b.Helper()
	var took [2]time.Duration
	work := [2]func(int){from, to}
	for chunk := range chunks {
		for _, which := range []int{chunk % 2, 1 - chunk%2} {
			began := processorTime(b)
			for i := range n {
				work[which](chunk*n + i)
			}
			took[which] += processorTime(b) - began
		}
	}
	return scaleRound{took[0] / time.Duration(chunks*n), took[1] / time.Duration(chunks*n)}
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

func (tx countedTx) Scan(prefix, from []byte, reverse bool) iter.Seq2[index.Item, error] {
	return func(yield func(index.Item, error) bool) {
		for item, err := range tx.Tx.Scan(prefix, from, reverse) {
			*tx.keys = append(*tx.keys, slices.Clone(item.Key))
			if !yield(item, err) {
				return
			}
		}
	}
}

// resolve is a way to resolve a reference.
type resolve func(ctx context.Context, x *index.Index, l index.Lookup, ref ballast.Ref) error

// resolveHead is what a request for a file does, resolveWhole what one for a version does: it decodes all of it.
func resolveHead(ctx context.Context, x *index.Index, l index.Lookup, ref ballast.Ref) error {
	_, err := x.ResolveHead(ctx, l, ref)
	return err
}

func resolveWhole(ctx context.Context, x *index.Index, l index.Lookup, ref ballast.Ref) error {
	_, err := x.Resolve(ctx, l, ref)
	return err
}

// resolving compares resolving a reference in the large index with as many bare gets of bbolt, of the same keys in the same
// file. A scan counts as the get of what it finds.
func (s *scale) resolving(b *testing.B, of selector, what string, goal float64, do resolve) {
	const chunks, chunk = 20, 1000
	db, bucket := index.BareDB(s.large.bolt)
	lookup := index.Lookup{Scopes: []ballast.Scope{acme}}
	var read [][]byte
	counting, err := index.Open(b.Context(), counted{s.large.bolt, &read}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	index.Busy(counting)
	rnd := rand.New(rand.NewPCG(1, 1))
	refs := make([]ballast.Ref, chunks*chunk)
	gets := make([][][]byte, len(refs))
	for i := range refs {
		refs[i] = must(ballast.ParseRefIn("acme::"+scaleName(rnd.IntN(s.large.versions/versionsPerName)).String(), of.text(rnd)))
		read = nil
		if err := do(b.Context(), counting, lookup, refs[i]); err != nil {
			b.Fatal(err)
		}
		gets[i] = read
	}
	row := scaleRow{what: fmt.Sprintf("%s of %s, in process", what, of.name), from: fmt.Sprintf("%d bare gets", len(gets[0])), to: "resolving", goal: goal}
	s.compare(b, "resolve="+of.name+"/what="+what, row, func(b *testing.B) scaleRound {
		s.large.remember(b)
		return inTurns(b, chunks, chunk, func(i int) {
			bare(b, db, bucket, gets[i])
		}, func(i int) {
			if err := do(b.Context(), s.large.index, lookup, refs[i]); err != nil {
				b.Fatal(err)
			}
		})
	})
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
