package objstoretest

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

type memUpload struct {
	objstore.MultipartUpload
	parts map[int]memPart
}

type memPart struct {
	objstore.Part
	body []byte
}

// DropUpload forgets a multipart upload, as stores do that bound its life. It reports whether there was one.
func (m *Mem) DropUpload(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.uploads[id]
	delete(m.uploads, id)
	return ok
}

// CreateMultipart implements objstore.Bucket.
func (m *Mem) CreateMultipart(ctx context.Context, key string) (id string, err error) {
	err = m.call(ctx, OpCreateMultipart, key, func() error {
		m.serial++
		id = fmt.Sprintf("upload-%08d", m.serial)
		m.uploads[id] = &memUpload{
			MultipartUpload: objstore.MultipartUpload{Key: key, ID: id, Initiated: m.now().UTC().Truncate(time.Millisecond)},
			parts:           map[int]memPart{},
		}
		return nil
	})
	return only(id, err)
}

// Copy implements objstore.Bucket. Like CompleteMultipart it leaves an object that shows no SHA256.
func (m *Mem) Copy(ctx context.Context, key string, source objstore.Source) (o objstore.Object, err error) {
	if err := objstore.CheckKey(source.Key); err != nil {
		return o, err
	}
	if source.ETag == "" || source.Size <= 0 {
		return o, fmt.Errorf("a source without ETag or size: %q", source.Key)
	}
	from := m
	if source.Bucket != "" {
		if err := objstore.CheckBucket(source.Bucket); err != nil {
			return o, err
		}
		from = m.Neighbour(source.Bucket)
	}
	err = m.call(ctx, OpCopy, key, func() error {
		if from != m {
			from.mu.Lock()
			defer from.mu.Unlock()
		}
		found, err := from.find(source.Key, source.VersionID)
		switch {
		case err != nil:
			return err
		case found.ETag != source.ETag || m.latest(key) != nil:
			return objstore.ErrPrecondition
		}
		sum := md5.Sum(found.body)
		sum = md5.Sum(sum[:])
		o = m.store(key, found.body, fmt.Sprintf("\"%s-1\"", hex.EncodeToString(sum[:])), "")
		return nil
	})
	if err == nil && source.Copied != nil {
		source.Copied(source.Size)
	}
	return only(o, err)
}

// ListParts implements objstore.Bucket.
func (m *Mem) ListParts(ctx context.Context, key, id string, after int) iter.Seq2[objstore.Part, error] {
	return func(yield func(objstore.Part, error) bool) {
		for {
			var page []objstore.Part
			err := m.call(ctx, OpListParts, key, func() (err error) { page, err = m.partPage(key, id, after); return err })
			if err != nil {
				yield(objstore.Part{}, err)
				return
			}
			for _, p := range page {
				if !yield(p, nil) {
					return
				}
				after = p.Number
			}
			if len(page) < memPage {
				return
			}
		}
	}
}

func (m *Mem) partPage(key, id string, after int) (page []objstore.Part, err error) {
	u, err := m.upload(key, id)
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Sorted(maps.Keys(u.parts)) {
		if n > after && len(page) < memPage {
			page = append(page, u.parts[n].Part)
		}
	}
	return page, nil
}

// CompleteMultipart implements objstore.Bucket. The object has a composite checksum, so it shows no SHA256.
func (m *Mem) CompleteMultipart(ctx context.Context, key, id string, parts []objstore.Part) (o objstore.Object, err error) {
	err = m.call(ctx, OpCompleteMultipart, key, func() error {
		u, err := m.upload(key, id)
		if err != nil {
			return err
		}
		if m.latest(key) != nil {
			return objstore.ErrPrecondition
		}
		body, etag, err := u.join(parts)
		if err != nil {
			return err
		}
		delete(m.uploads, id)
		o = m.store(key, body, etag, "")
		return nil
	})
	return only(o, err)
}

// join makes the object's bytes and ETag from the named parts, or says what is wrong with them.
func (u *memUpload) join(named []objstore.Part) (body []byte, etag string, err error) {
	if len(named) == 0 {
		return nil, "", errors.New("no parts are named")
	}
	sums, before := md5.New(), 0
	for i, n := range named {
		held, ok := u.parts[n.Number]
		switch {
		case n.Number <= before:
			return nil, "", fmt.Errorf("part %d is out of order", n.Number)
		case n.SHA256 == "":
			return nil, "", fmt.Errorf("part %d is named without the checksum that the upload was created for", n.Number)
		case !ok || held.ETag != n.ETag || held.SHA256 != n.SHA256:
			return nil, "", fmt.Errorf("%w: number %d", objstore.ErrInvalidPart, n.Number)
		case i < len(named)-1 && held.Size < ballast.MinPartSize:
			return nil, "", fmt.Errorf("part %d of %d bytes is under the minimum", n.Number, held.Size)
		}
		before = n.Number
		sum := md5.Sum(held.body)
		sums.Write(sum[:])
		body = append(body, held.body...)
	}
	return body, fmt.Sprintf("\"%s-%d\"", hex.EncodeToString(sums.Sum(nil)), len(named)), nil
}

// AbortMultipart implements objstore.Bucket.
func (m *Mem) AbortMultipart(ctx context.Context, key, id string) error {
	return m.call(ctx, OpAbortMultipart, key, func() error {
		if _, err := m.upload(key, id); err != nil {
			return err
		}
		delete(m.uploads, id)
		return nil
	})
}

// ListUploads implements objstore.Bucket.
func (m *Mem) ListUploads(ctx context.Context, key string) (list []objstore.MultipartUpload, err error) {
	err = m.call(ctx, OpListUploads, key, func() error {
		for _, u := range m.uploads {
			if u.Key == key {
				list = append(list, u.MultipartUpload)
			}
		}
		slices.SortFunc(list, func(a, b objstore.MultipartUpload) int { return cmp.Compare(a.ID, b.ID) })
		return nil
	})
	return only(list, err)
}

// UploadsUnder implements objstore.Bucket.
func (m *Mem) UploadsUnder(ctx context.Context, prefix string) iter.Seq2[objstore.MultipartUpload, error] {
	return func(yield func(objstore.MultipartUpload, error) bool) {
		var open []objstore.MultipartUpload
		err := m.call(ctx, OpUploadsUnder, "", func() error {
			for _, u := range m.uploads {
				if strings.HasPrefix(u.Key, prefix) {
					open = append(open, u.MultipartUpload)
				}
			}
			return nil
		})
		if err != nil {
			yield(objstore.MultipartUpload{}, err)
			return
		}
		slices.SortFunc(open, func(a, b objstore.MultipartUpload) int {
			return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
		})
		for _, u := range open {
			if !yield(u, nil) {
				return
			}
		}
	}
}

func (m *Mem) upload(key, id string) (*memUpload, error) {
	if u := m.uploads[id]; u != nil && u.Key == key {
		return u, nil
	}
	return nil, objstore.ErrNoSuchUpload
}
