package crash_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// ledger holds what the registry has reported, until the power goes: what it reports after that nobody hears.
type ledger struct {
	mu     sync.Mutex
	closed bool
	ready  map[string]digest.Digest   // reference → manifest, of every version reported ready
	alias  map[string]ballast.Version // name → where its alias pointed last
	errs   []error                    // of pushes that failed with the power on
}

func newLedger() *ledger {
	return &ledger{ready: map[string]digest.Digest{}, alias: map[string]ballast.Version{}}
}

// note runs f unless the power is off.
func (l *ledger) note(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		f()
	}
}

func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

func (l *ledger) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = false
}

func (l *ledger) takeErrors() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := l.errs
	l.errs = nil
	return errs
}

const (
	aliasName    = "champion"
	bigPartBytes = ballast.MinPartSize
)

// publisher pushes one version of its model after another. One that was cut off is the first of the next run.
type publisher struct {
	model    string
	seed     uint64
	next     uint64 // version
	folder   string // of the version next; empty: not written yet
	folders  string
	attempts string
	pushing  *atomic.Bool // now
}

func newPublishers(t *testing.T, n int, seed uint64) []*publisher {
	all := make([]*publisher, n)
	for i := range all {
		all[i] = &publisher{model: fmt.Sprintf("model-%d", i), seed: seed<<8 + uint64(i), next: 1, folders: t.TempDir(), attempts: t.TempDir(), pushing: &atomic.Bool{}}
	}
	return all
}

// target is the version that is pushed next.
func (p *publisher) target() ballast.Ref {
	r, err := ballast.ParseRef(fmt.Sprintf("%s:%d", p.model, p.next))
	if err != nil {
		panic(err)
	}
	return r
}

// run pushes until ctx ends. onReady, unless nil, is called after each version that was reported ready.
func (p *publisher) run(ctx context.Context, c *client.Client, l *ledger, onReady func()) {
	for ctx.Err() == nil {
		target := p.target()
		pushed, err := p.push(ctx, c, p.attempts)
		if err != nil {
			if ctx.Err() == nil {
				l.note(func() { l.errs = append(l.errs, fmt.Errorf("push %s: %w", target, err)) })
			}
			return
		}
		l.note(func() {
			l.ready[target.String()] = pushed.Version.Digest
			l.alias[p.model] = pushed.Version.Version
		})
		if onReady != nil {
			onReady()
		}
		_ = os.RemoveAll(p.folder)
		p.next, p.folder = p.next+1, ""
	}
}

// push publishes the next version.
func (p *publisher) push(ctx context.Context, c *client.Client, attempts string) (client.PushResult, error) {
	if p.folder == "" {
		if err := p.write(); err != nil {
			return client.PushResult{}, err
		}
	}
	alias, err := ballast.ParseAlias(aliasName)
	if err != nil {
		return client.PushResult{}, err
	}
	p.pushing.Store(true)
	defer p.pushing.Store(false)
	return c.Push(ctx, client.PushOptions{Path: p.folder, Target: p.target(), Alias: alias, PartSize: bigPartBytes, AttemptDir: attempts})
}

// write makes the folder of the next version: small files, one that all publishers have, and in every third version one
// that goes in parts.
func (p *publisher) write() error {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], p.seed)
	binary.LittleEndian.PutUint64(key[8:], p.next)
	source := rand.NewChaCha8(key)
	rnd := rand.New(source)
	sizes := map[string]int{"a.safetensors": 1 + rnd.IntN(200<<10), "b.safetensors": 1 + rnd.IntN(8<<10), "tokenizer.json": 1 + rnd.IntN(500)}
	if p.next%3 == 0 {
		sizes["big.gguf"] = bigPartBytes + rnd.IntN(1<<20)
	}
	folder := filepath.Join(p.folders, fmt.Sprint(p.next))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, size := range sizes {
		content := make([]byte, size)
		_, _ = source.Read(content)
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return err
		}
	}
	shared := fmt.Sprintf("the %dth that all have", p.next)
	p.folder = folder
	return os.WriteFile(filepath.Join(folder, "shared.txt"), []byte(shared), 0o644)
}
