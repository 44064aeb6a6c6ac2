package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// recordChain is what the bucket has under the path of one version. Scope, name and version are those of the path.
type recordChain struct {
	key     ballast.Key
	numbers []int // of its objects, ascending
}

func (c recordChain) last() int { return c.numbers[len(c.numbers)-1] }

// chainState is where a chain stands behind some of its records.
type chainState struct {
	kind  RecordKind // ready, retired or deleted; "" before the first
	prior RecordKind // of what is deleted: what it was before, and is again once it is restored
	last  RecordKind // what the last record says: restored, where kind is what it is again
	keyID string     // that signed the last record
}

// next judges the record that stands next in a chain. A head that another key signs once more changes nothing: it vouches
// for what was signed with a key that is lost.
func (s chainState) next(kind RecordKind, keyID string) (chainState, bool) {
	if kind == s.last && keyID != s.keyID {
		return chainState{s.kind, s.prior, s.last, keyID}, true
	}
	switch {
	case kind == RecordReady && s.kind == "", kind == RecordRetired && s.kind == RecordReady:
		return chainState{kind: kind, last: kind, keyID: keyID}, true
	case kind == RecordDeleted && (s.kind == RecordReady || s.kind == RecordRetired):
		return chainState{kind: kind, prior: s.kind, last: kind, keyID: keyID}, true
	case kind == RecordRestored && s.kind == RecordDeleted:
		return chainState{kind: s.prior, last: kind, keyID: keyID}, true
	}
	return s, false
}

// readRecord is one record of a chain that was read.
type readRecord struct {
	Record
	keyID string
	mac   string // as the record itself has it
	known bool   // the key is: the HMAC is right
}

// openedChain is a chain that is legal, link by link.
type openedChain struct {
	records []readRecord
	state   chainState
	vouched bool // the last record is signed with a known key
	anew    bool // a known key has signed once more what an unknown one had signed: nothing else vouches for that
}

func (o openedChain) head() readRecord { return o.records[len(o.records)-1] }

// mac is the HMAC that the next record is bound to.
func (o openedChain) mac() string {
	if len(o.records) == 0 {
		return ""
	}
	return o.head().mac
}

// chainWords is what is wrong with which record, without a sentinel's words.
func chainWords(err error) string { return strings.TrimPrefix(err.Error(), errChain.Error()+": ") }

// errChain says that what lies under the path of a version is not a chain that the registry wrote.
var errChain = errors.New("engine: not a chain of the registry's own")

// open reads a chain's records and judges them: numbers without a gap, each bound by its HMAC to path, body and the record
// before it, each speaking of the version of its path and of one content, each kind legal behind the one before. A record
// with an unknown key is believed only as far as a later one with a known key vouches for it, which vouched tells.
// Errors: errChain and what is wrong with which record; those of the store.
func (k RecordKey) open(ctx context.Context, b objstore.Bucket, c recordChain) (o openedChain, err error) {
	for i, n := range c.numbers {
		path := recordPath(c.key, n)
		if n != i+1 {
			return o, fmt.Errorf("%w: %s: record %d is missing before it", errChain, path, i+1)
		}
		body, _, err := readAll(ctx, b, path, maxRecordBytes)
		if errors.Is(err, errOversize) {
			return o, fmt.Errorf("%w: %s: it has over %d bytes", errChain, path, maxRecordBytes)
		}
		if err != nil {
			return o, fmt.Errorf("engine: reading record %s: %w", path, err)
		}
		if err := o.add(k, path, c.key, n, body, o.mac()); err != nil {
			return o, err
		}
	}
	return o, nil
}

// add judges the next record of a chain.
func (o *openedChain) add(k RecordKey, path string, key ballast.Key, n int, body []byte, previous string) error {
	r, err := k.read(path, key, n, body, previous)
	if err != nil {
		return fmt.Errorf("%w: %s: %s", errChain, path, strings.TrimPrefix(err.Error(), errRecord.Error()+": "))
	}
	if len(o.records) > 0 && !sameContent(o.records[0].Record, r.Record) {
		return fmt.Errorf("%w: %s: it speaks of another content than the first record", errChain, path)
	}
	state, ok := o.state.next(r.Kind, r.keyID)
	if !ok {
		return fmt.Errorf("%w: %s: record %d says %s after %q", errChain, path, n, r.Kind, o.state.kind)
	}
	if n := len(o.records); n > 0 && r.known && !o.records[n-1].known && r.Kind == o.records[n-1].Kind {
		o.anew = true
	}
	o.state, o.vouched = state, r.known
	o.records = append(o.records, r)
	return nil
}

// sameContent compares what no record of a chain changes.
func sameContent(a, b Record) bool {
	return a.Name == b.Name && a.Version == b.Version && a.Digest == b.Digest && a.ManifestSize == b.ManifestSize && a.Size == b.Size && a.Files == b.Files &&
		a.Assurance == b.Assurance && a.Metadata.BaseModel == b.Metadata.BaseModel && a.CreatedBy == b.CreatedBy && a.CreatedAt == b.CreatedAt && sameJSON(a.Weights, b.Weights)
}

// chainsAtOnce bounds the listings of records side by side.
const chainsAtOnce = 16

// eachChain hands every chain of the bucket to do, and everything else that lies among the records to odd; both are called
// by several goroutines. It holds one chain's numbers for each listing, whatever the size of the bucket.
func eachChain(ctx context.Context, b objstore.Bucket, do func(context.Context, recordChain) error, odd func(key string)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(chainsAtOnce)
	for scope, err := range scopesIn(ctx, b) {
		if err != nil {
			return cmp.Or(g.Wait(), fmt.Errorf("engine: listing the bucket: %w", err))
		}
		g.Go(func() error { return chainsOf(ctx, b, scope, do, odd) })
	}
	return g.Wait()
}

// chainsOf goes through the records of one scope. Those of a version lie together, in the order of their numbers.
func chainsOf(ctx context.Context, b objstore.Bucket, scope ballast.Scope, do func(context.Context, recordChain) error, odd func(string)) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(chainsAtOnce)
	var c recordChain
	flush := func() {
		if whole := c; len(whole.numbers) > 0 {
			g.Go(func() error { return do(gctx, whole) })
		}
		c = recordChain{}
	}
	for obj, err := range b.List(gctx, scope.Path()+"/models/", "") {
		if err != nil {
			return cmp.Or(g.Wait(), fmt.Errorf("engine: listing the records of %s: %w", scope, err))
		}
		k, n, ok := parseRecordPath(scope, obj.Key)
		if !ok {
			odd(obj.Key)
			continue
		}
		if len(c.numbers) > 0 && recordPath(c.key, 1) != recordPath(k, 1) {
			flush()
		}
		c.key, c.numbers = k, append(c.numbers, n)
	}
	flush()
	return g.Wait()
}
