// Package audit keeps who asked for bytes, and who was refused: one line of JSON for each such request, in files of a
// folder or on a stream, and reads the files back. docs/audit.md describes the lines.
//
// A [Record] travels in the context of a request. The face begins it and writes it down at the end; in between the engine
// notes in it what its gate found and each request that it signed. Whoever hands out a signed URL by a way that nobody
// thought of is noted all the same, since all of them come from one signer.
//
// Changes have no lines: each is an event of the index.
package audit

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// Record is what became known of a request on its way. All methods take a nil Record, and may be called from any
// goroutine; once the line is written they change nothing.
type Record struct {
	mu      sync.Mutex
	written bool
	noted   noted
}

type noted struct {
	action ballast.AuditAction
	scope  ballast.Scope
	name   ballast.Name
	key    string
	path   string
	digest digest.Digest
	urls   int
	bytes  int64
}

type recordKey struct{}

// carrier is a context with its record, in one piece of memory: each request needs one.
type carrier struct {
	context.Context
	record Record
}

// Value implements context.Context.
func (c *carrier) Value(key any) any {
	if key == (recordKey{}) {
		return &c.record
	}
	return c.Context.Value(key)
}

// Begin returns a context with a new record.
func Begin(ctx context.Context) (context.Context, *Record) {
	c := &carrier{Context: ctx}
	return c, &c.record
}

// Of returns the record of a request, nil when it has none.
func Of(ctx context.Context) *Record {
	r, _ := ctx.Value(recordKey{}).(*Record)
	return r
}

func (r *Record) note(f func(*noted)) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.written {
		f(&r.noted)
	}
}

// Asks says that bytes are asked for, by AuditRead or AuditWrite. Say it before anything can be refused.
func (r *Record) Asks(action ballast.AuditAction) {
	r.note(func(n *noted) { n.action = action })
}

// Names says what was asked for, and in which scope, which has to be one that the caller may read: whoever administers it
// reads the line. The zero scope is the caller's own. What was named first stays.
func (r *Record) Names(scope ballast.Scope, name ballast.Name) {
	r.note(func(n *noted) {
		if n.name.IsZero() {
			n.scope, n.name = scope, name
		}
	})
}

// Found says which version was meant, by its key. What was found first stays: it is what the caller asked for.
func (r *Record) Found(scope ballast.Scope, key string) {
	r.note(func(n *noted) {
		if n.key == "" {
			n.scope, n.key = scope, key
		}
	})
}

// File names the one file that is asked for.
func (r *Record) File(path string) {
	r.note(func(n *noted) { n.path = path })
}

// Blob names the one blob that is asked for.
func (r *Record) Blob(d digest.Digest) {
	r.note(func(n *noted) { n.digest = d })
}

// Signed says that a request was signed, for an answer to an action.
func (r *Record) Signed(action ballast.AuditAction) {
	r.note(func(n *noted) {
		n.urls++
		if n.action == "" {
			n.action = action
		}
	})
}

// Hands says how many bytes an answer holds, or its signed requests stand for.
func (r *Record) Hands(bytes int64) {
	r.note(func(n *noted) { n.bytes += bytes })
}

// take ends the record.
func (r *Record) take() noted {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = true
	return r.noted
}
