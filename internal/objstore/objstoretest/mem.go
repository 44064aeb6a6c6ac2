// Package objstoretest holds every implementation and decorator of objstore's contracts to them: [Run] is the
// conformance suite, [CheckSigner] asserts what must be inside every signature, and [Mem] is a store in memory that
// polices the contract, fails on demand, and takes the requests it signed.
package objstoretest

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// Mem is an object store in memory: a Bucket, a Signer, and the HTTP server of the requests it signed. It answers as S3
// does where S3 is strict, so that a caller who breaks the contract fails here and not first in production.
type Mem struct {
	faults faults

	mu        sync.Mutex
	now       func() time.Time
	base      string // scheme and host of signed URLs
	credits   time.Time
	versioned bool
	serial    int
	objects   map[string][]*memObject // by key, oldest first; one unless versioned
	uploads   map[string]*memUpload   // by id

	neighbours map[string]*Mem // by the name of the bucket that each stands for
}

var (
	_ objstore.Bucket = (*Mem)(nil)
	_ objstore.Signer = (*Mem)(nil)
	_ http.Handler    = (*Mem)(nil)
)

type memObject struct {
	objstore.Object
	body       []byte
	marker     bool // a delete marker
	unreadable bool // encrypted with a client's key
}

// NewMem returns an empty, unversioned store on the real clock.
func NewMem() *Mem {
	return &Mem{
		now:     time.Now,
		base:    "http://objects.invalid",
		objects: map[string][]*memObject{},
		uploads: map[string]*memUpload{},

		neighbours: map[string]*Mem{},
	}
}

// Neighbour is another bucket of the same store, empty at first. Its faults and counts are its own.
func (m *Mem) Neighbour(bucket string) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.neighbours[bucket] == nil {
		m.neighbours[bucket] = NewMem()
	}
	return m.neighbours[bucket]
}

// Clone returns another store with the objects and multipart uploads of this one, without its faults and neighbours.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Mem{now: m.now, base: m.base, credits: m.credits, versioned: m.versioned, serial: m.serial, objects: map[string][]*memObject{}, uploads: map[string]*memUpload{}, neighbours: map[string]*Mem{}}
	for key, versions := range m.objects {
		for _, o := range versions {
			same := *o
			c.objects[key] = append(c.objects[key], &same)
		}
	}
	for id, u := range m.uploads {
		c.uploads[id] = &memUpload{u.MultipartUpload, maps.Clone(u.parts)}
	}
	return c
}

// SetClock makes the store read the time from now.
func (m *Mem) SetClock(now func() time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = now
}

// SetVersioned turns versioning on: writes get version ids, deletes add markers.
func (m *Mem) SetVersioned(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versioned = on
}

// Plant writes an object as somebody with credentials of their own would: unconditionally, past every fault and check.
func (m *Mem) Plant(key string, body []byte) objstore.Object {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store(key, bytes.Clone(body), quoteMD5(body), ballast.DigestOf(body))
}

// Alter changes the object at key behind the contract's back, as a fault of the store would: its bytes may differ
// from its ETag and SHA256 afterwards. It reports whether there was one.
func (m *Mem) Alter(key string, change func(o *objstore.Object, body []byte) []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.latest(key)
	if o == nil {
		return false
	}
	o.body = change(&o.Object, bytes.Clone(o.body))
	return true
}

// Peek returns a copy of the bytes at key, past every fault.
func (m *Mem) Peek(key string) (body []byte, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.latest(key); o != nil {
		return bytes.Clone(o.body), true
	}
	return nil, false
}

// Keys returns every key that begins with prefix, sorted, past every fault.
func (m *Mem) Keys(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys(prefix, "")
}

// Put implements objstore.Bucket.
func (m *Mem) Put(ctx context.Context, key string, body []byte, cond objstore.Condition) (o objstore.Object, err error) {
	err = m.call(ctx, OpPut, key, func() error {
		if len(body) > objstore.MaxPut {
			return fmt.Errorf("%d bytes are over the limit of %d", len(body), objstore.MaxPut)
		}
		if err := m.holds(key, cond); err != nil {
			return err
		}
		o = m.store(key, bytes.Clone(body), quoteMD5(body), ballast.DigestOf(body))
		return nil
	})
	return only(o, err)
}

// PutFile implements objstore.Bucket.
func (m *Mem) PutFile(ctx context.Context, key string, file io.ReadSeeker, size int64, sum digest.Digest) (o objstore.Object, err error) {
	err = m.call(ctx, OpPut, key, func() error {
		body, err := io.ReadAll(file)
		if err != nil {
			return err
		}
		if int64(len(body)) != size || ballast.DigestOf(body) != sum {
			return fmt.Errorf("the body has %d bytes and is %s", len(body), ballast.DigestOf(body))
		}
		o = m.store(key, body, quoteMD5(body), sum)
		return nil
	})
	return only(o, err)
}

// Get implements objstore.Bucket.
func (m *Mem) Get(ctx context.Context, key string, opt objstore.ReadOptions) (r io.ReadCloser, o objstore.Object, err error) {
	err = m.call(ctx, OpGet, key, func() error {
		found, err := m.find(key, opt.VersionID)
		if err != nil {
			return err
		}
		if opt.IfMatch != "" && opt.IfMatch != found.ETag {
			return objstore.ErrPrecondition
		}
		if opt.Offset < 0 || opt.Length < 0 || opt.Offset > 0 && opt.Offset >= found.Size {
			return fmt.Errorf("range %d+%d is outside of %d bytes", opt.Offset, opt.Length, found.Size)
		}
		end := found.Size
		if opt.Length > 0 {
			end = min(end, opt.Offset+opt.Length)
		}
		o = found.Object
		r = io.NopCloser(&ctxReader{ctx, bytes.NewReader(found.body[opt.Offset:end])})
		return nil
	})
	if err != nil {
		return nil, objstore.Object{}, err
	}
	return r, o, nil
}

// Head implements objstore.Bucket.
func (m *Mem) Head(ctx context.Context, key string) (o objstore.Object, err error) {
	err = m.call(ctx, OpHead, key, func() error {
		found, err := m.find(key, "")
		if err == nil {
			o = found.Object
		}
		return err
	})
	return only(o, err)
}

// Delete implements objstore.Bucket.
func (m *Mem) Delete(ctx context.Context, key string) error {
	return m.call(ctx, OpDelete, key, func() error {
		if !m.versioned {
			delete(m.objects, key)
			return nil
		}
		m.objects[key] = append(m.objects[key], &memObject{marker: true})
		return nil
	})
}

// DeleteMatch implements objstore.Bucket, as a store that knows conditional deletes.
func (m *Mem) DeleteMatch(ctx context.Context, key, etag string) error {
	return m.call(ctx, OpDelete, key, func() error {
		switch o := m.latest(key); {
		case o == nil:
			return objstore.ErrNotFound
		case o.ETag != etag:
			return objstore.ErrPrecondition
		case m.versioned:
			m.objects[key] = append(m.objects[key], &memObject{marker: true})
		default:
			delete(m.objects, key)
		}
		return nil
	})
}

// List implements objstore.Bucket.
func (m *Mem) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		for {
			var page []objstore.Object
			if err := m.call(ctx, OpList, "", func() error { page = m.page(prefix, after); return nil }); err != nil {
				yield(objstore.Object{}, err)
				return
			}
			for _, o := range page {
				if !yield(o, nil) {
					return
				}
				after = o.Key
			}
			if len(page) < memPage {
				return
			}
		}
	}
}

// memPage is how many entries one request lists: few, so that tests meet page borders.
const memPage = 10

// page shows what a listing does: no checksums, no oddities.
func (m *Mem) page(prefix, after string) (page []objstore.Object) {
	for _, key := range m.keys(prefix, after) {
		if len(page) == memPage {
			break
		}
		o := m.latest(key)
		page = append(page, objstore.Object{Key: key, Size: o.Size, ETag: o.ETag, Modified: o.Modified})
	}
	return page
}

func (m *Mem) keys(prefix, after string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m.objects)), func(key string) bool {
		return !strings.HasPrefix(key, prefix) || key <= after && after != "" || m.latest(key) == nil
	})
}

// latest returns the current object at key, or nil. m.mu is held, as in all methods below.
func (m *Mem) latest(key string) *memObject {
	versions := m.objects[key]
	if len(versions) == 0 || versions[len(versions)-1].marker {
		return nil
	}
	return versions[len(versions)-1]
}

func (m *Mem) find(key, version string) (*memObject, error) {
	found := m.latest(key)
	if version != "" {
		found = nil
		for _, o := range m.objects[key] {
			if o.VersionID == version {
				found = o
			}
		}
	}
	switch {
	case found == nil:
		return nil, objstore.ErrNotFound
	case found.unreadable:
		return nil, objstore.ErrUnreadable
	}
	return found, nil
}

func (m *Mem) holds(key string, cond objstore.Condition) error {
	o := m.latest(key)
	switch {
	case cond.IfAbsent && cond.IfMatch != "":
		return errors.New("a write has one condition at most")
	case cond.IfAbsent && o != nil:
		return objstore.ErrPrecondition
	case cond.IfMatch != "" && (o == nil || o.ETag != cond.IfMatch):
		return objstore.ErrPrecondition
	}
	return nil
}

func (m *Mem) store(key string, body []byte, etag string, sum digest.Digest) objstore.Object {
	o := &memObject{body: body, Object: objstore.Object{
		Key: key, Size: int64(len(body)), ETag: etag, Modified: m.now().UTC().Truncate(time.Second), SHA256: sum,
	}}
	if !m.versioned {
		m.objects[key] = []*memObject{o}
		return o.Object
	}
	m.serial++
	o.VersionID = fmt.Sprintf("v%08d", m.serial)
	m.objects[key] = append(m.objects[key], o)
	return o.Object
}

// quoteMD5 is the ETag of an object written at once: equal bytes have equal ETags, as on S3.
func quoteMD5(body []byte) string {
	sum := md5.Sum(body)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// only returns v without an error and the zero value with one: whoever ignores the error has nothing to go by.
func only[T any](v T, err error) (T, error) {
	if err != nil {
		return *new(T), err
	}
	return v, nil
}

// ctxReader ends with ctx, as a body that comes over a connection does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
