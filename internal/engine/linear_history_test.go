package engine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// registry is what the clients call: an engine, or one that breaks a rule.
type registry interface {
	CreateUpload(context.Context, engine.Principal, ballast.CreateUpload) (ballast.Upload, bool, error)
	Blobs(context.Context, engine.Principal, string, ballast.BlobsRequest) (ballast.BlobsResponse, error)
	Commit(context.Context, engine.Principal, string, ballast.CommitRequest) (ballast.Upload, error)
	AbortUpload(context.Context, engine.Principal, string) error
	Upload(context.Context, engine.Principal, string, time.Duration) (ballast.Upload, error)
	Version(context.Context, engine.Principal, ballast.Ref) (ballast.VersionInfo, error)
	Aliases(context.Context, engine.Principal, ballast.Scope, ballast.Name) (ballast.AliasesPage, error)
	SetAlias(context.Context, engine.Principal, ballast.Scope, ballast.Name, ballast.Alias, ballast.Version, *int64) (ballast.AliasInfo, error)
	DeleteAlias(context.Context, engine.Principal, ballast.Scope, ballast.Name, ballast.Alias, *int64) error
}

var _ registry = (*engine.Engine)(nil)

// history is what clients did to a few new names, and what was answered.
type history struct {
	registry registry
	mem      *objstoretest.Mem
	round    int
	seed     uint64
	begin    time.Time
	names    []*historyName
	over     atomic.Bool
	running  sync.RWMutex // read-held by a call of an intruder

	mu    sync.Mutex
	steps int // of intruders, for their seeds
	seen  tally
}

// historyName is a name, and how its parts are numbered.
type historyName struct {
	name     ballast.Name
	contents [linearContents + 1][]byte
	digests  map[digest.Digest]int8 // of the contents' manifests
	open     atomic.Int32           // steps of calls that were let go unanswered

	mu      sync.Mutex
	uploads []string // by number
	labels  []int8   // that clients saw ready
	calls   []porcupine.Operation
}

func newHistory(r registry, mem *objstoretest.Mem, round, names int, seed uint64, seen tally) *history {
	h := &history{registry: r, mem: mem, round: round, seed: seed, begin: time.Now(), seen: seen}
	for i := range names {
		n := &historyName{
			name: must(ballast.ParseName(fmt.Sprintf("h%d/n%d", round, i))), digests: map[digest.Digest]int8{}, uploads: []string{""},
		}
		for c := 1; c <= linearContents; c++ {
			n.contents[c] = fmt.Appendf(nil, "content %d of %s", c, n.name)
			_, manifest, err := ballast.BuildManifest(n.files(int8(c)))
			if err != nil {
				panic(err)
			}
			n.digests[ballast.DigestOf(manifest)] = int8(c)
		}
		h.names = append(h.names, n)
	}
	return h
}

func (n *historyName) files(content int8) []ballast.File {
	b := n.contents[content]
	return []ballast.File{{Path: "model", Size: int64(len(b)), Digest: ballast.DigestOf(b)}}
}

// number is what the model calls an upload.
func (n *historyName) number(id string) int8 {
	if id == "" {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.Index(n.uploads, id)
	if i < 0 {
		i = len(n.uploads)
		n.uploads = append(n.uploads, id)
	}
	return int8(i)
}

// upload is the outcome of a call that answers an upload.
func (n *historyName) upload(u ballast.Upload, err error) linearOutcome {
	out := linearOutcome{code: ballast.CodeOf(err), upload: n.number(u.ID), status: u.Status}
	if u.Result != nil {
		out.label, out.content = int8(u.Result.Version.Major()), n.digests[u.Result.Digest]
	}
	return out
}

// record adds a call that has returned. Without an answer it may take effect at any later time, or never: then its
// steps must be ones that can always be taken.
func (h *history) record(n *historyName, client int, call time.Duration, answered bool, show string, steps ...linearStep) {
	end := int64(time.Since(h.begin))
	if !answered {
		end, show = math.MaxInt64, show+" -> no answer"
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range steps {
		n.calls = append(n.calls, porcupine.Operation{ClientId: client, Input: s, Output: show, Call: int64(call), Return: end})
	}
}

func (h *history) count(op string, code ballast.Code) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen.add(op, code)
}

// checkerTime is what the checker may take for one name; a sound history of this size takes it milliseconds.
const checkerTime = time.Minute

// errUndecided says that the checker ran out of time, which is no verdict.
var errUndecided = errors.New("undecided")

// check looks, name by name, for an order that explains all answers, in which each step is taken between its call and
// its return.
func (h *history) check() error {
	model := porcupine.Model{
		Init: func() any { return linearState{} },
		Step: func(state, input, _ any) (bool, any) {
			next, ok := input.(linearStep)(state.(linearState))
			return ok, next
		},
	}
	for _, n := range h.names {
		if len(n.uploads) > linearUploads {
			return fmt.Errorf("%s has %d uploads, more than the model has room for", n.name, len(n.uploads))
		}
		switch porcupine.CheckOperationsTimeout(model, n.calls, checkerTime) {
		case porcupine.Ok:
		case porcupine.Illegal:
			return fmt.Errorf("no order explains what happened to %s:\n%s", n.name, n)
		default:
			return fmt.Errorf("%w after %s: %d steps of %s", errUndecided, checkerTime, len(n.calls), n.name)
		}
	}
	return nil
}

// String lists the calls in the order in which they were made.
func (n *historyName) String() string {
	var b strings.Builder
	last := ""
	for _, c := range slices.SortedStableFunc(slices.Values(n.calls), func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) }) {
		line := fmt.Sprintf("%9.3f … %9.3f ms  client %2d  %s\n", float64(c.Call)/1e6, float64(c.Return)/1e6, c.ClientId, c.Output)
		if line != last {
			b.WriteString(line)
		}
		last = line
	}
	return b.String()
}

const historyClients = 16

// run lets all clients loose at once, each for a number of calls, and returns when they are through.
func (h *history) run(t *testing.T, calls int) {
	h.mem.Before(h.between)
	defer h.mem.Before(nil)
	for i, n := range h.names {
		if c := newClient(t, h, 0); i%2 == 0 { // half of the names begin with a version
			c.publish(n, c.create(n, linearAttempts), 1)
		}
	}
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range historyClients {
		c := newClient(t, h, i)
		all.Go(func() {
			<-start
			for range calls {
				c.call()
			}
		})
	}
	close(start)
	all.Wait()
	h.over.Store(true)
	h.running.Lock() // until the intruders have returned
	defer h.running.Unlock()
}

// between comes before every call of the store. While the record of a version is on its way, which is when it is sealed
// and not ready, somebody else calls: the moment is short, and would not be met by chance.
func (h *history) between(ctx context.Context, op objstoretest.Op, key string) {
	if op != objstoretest.OpPut {
		return
	}
	for _, n := range h.names {
		var label int8
		if _, rest, ok := strings.Cut(key, "/models/"+n.name.Fold()+"/versions/"); ok {
			if _, err := fmt.Sscanf(rest, "%d/", &label); err == nil {
				h.intrude(func(c *client) { c.whileSealed(n, label) })
			}
		}
	}
}

// intrude makes calls of one more client, unless the history is over.
func (h *history) intrude(calls func(*client)) {
	h.running.RLock()
	defer h.running.RUnlock()
	if h.over.Load() {
		return
	}
	h.mu.Lock()
	h.steps++
	c := newClient(nil, h, historyClients+h.steps)
	h.mu.Unlock()
	calls(c)
}
