package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Part digests lie in pages: the part size as 8 bytes big-endian, then 32 bytes a part. Zeros mean: not declared. A chain
// lies in such pages too, of the link size and the states behind the links.
const (
	partsPerPage  = 1000
	partPageBytes = 8 + 32*partsPerPage
)

func pagesOf(parts []PartSum) map[int][]PartSum {
	pages := map[int][]PartSum{}
	for _, p := range parts {
		n := (p.Number - 1) / partsPerPage
		pages[n] = append(pages[n], p)
	}
	return pages
}

// declareParts notes part digests as one upload declared them. A page of another part size is from an earlier
// multipart and starts anew.
func declareParts(tx Tx, upload string, w Want) error {
	prefix := key(kindDeclared, upload, w.Digest.Encoded())
	for n, parts := range pagesOf(w.Parts) {
		page, err := readPage(tx, pageKey(prefix, n), w.PartSize)
		if err != nil {
			return err
		}
		next := bytes.Clone(page)
		for _, p := range parts {
			at := 8 + 32*((p.Number-1)%partsPerPage)
			if need := at + 32 - len(next); need > 0 {
				next = append(next, make([]byte, need)...)
			}
			copy(next[at:], p.Sum[:])
		}
		if bytes.Equal(next, page) {
			continue
		}
		if err := tx.Put(pageKey(prefix, n), next); err != nil {
			return err
		}
	}
	return nil
}

func readPage(tx Tx, k []byte, partSize int64) ([]byte, error) {
	page, err := tx.Get(k)
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return nil, err
	case err != nil || len(page) < 8 || int64(binary.BigEndian.Uint64(page)) != partSize:
		return binary.BigEndian.AppendUint64(nil, uint64(partSize)), nil
	}
	return bytes.Clone(page), nil
}

// DeclaredParts returns, by part number from 1, what an upload declared of a blob at a part size; what it did not
// declare is the zero sum.
func (x *Index) DeclaredParts(ctx context.Context, upload string, d digest.Digest, partSize int64, count int) (sums [][32]byte, err error) {
	err = x.store.View(ctx, func(tx Tx) (err error) {
		sums, err = readParts(tx, key(kindDeclared, upload, d.Encoded()), partSize, count)
		return err
	})
	return sums, err
}

// PartDigests returns the saved part digests of a verified blob: nil unless all of them are known.
func (x *Index) PartDigests(ctx context.Context, id BlobID, b Blob) (sums [][32]byte, err error) {
	if b.PartSize == 0 {
		return nil, nil
	}
	err = x.store.View(ctx, func(tx Tx) (err error) {
		sums, err = readParts(tx, blobKey(kindPart, id.Scope, id.Digest), b.PartSize, ballast.PartCount(b.Size, b.PartSize))
		return err
	})
	if err != nil || slices.Contains(sums, [32]byte{}) {
		return nil, err
	}
	return sums, nil
}

func readParts(tx Tx, prefix []byte, partSize int64, count int) ([][32]byte, error) {
	sums := make([][32]byte, count)
	for n := 0; n*partsPerPage < count; n++ {
		page, err := readPage(tx, pageKey(prefix, n), partSize)
		if err != nil {
			return nil, err
		}
		for i := range min(partsPerPage, (len(page)-8)/32, count-n*partsPerPage) {
			copy(sums[n*partsPerPage+i][:], page[8+32*i:])
		}
	}
	return sums, nil
}

// Chain returns the saved states of SHA-256 behind each link of a verified blob but the last: nil when there are none. Those
// of a blob that was re-read are what was found, others what an uploader declared.
func (x *Index) Chain(ctx context.Context, id BlobID, b Blob) (states [][32]byte, err error) {
	if b.LinkSize == 0 {
		return nil, nil
	}
	err = x.store.View(ctx, func(tx Tx) (err error) {
		states, err = readParts(tx, blobKey(kindChain, id.Scope, id.Digest), b.LinkSize, ballast.PartCount(b.Size, b.LinkSize)-1)
		return err
	})
	if err != nil || slices.Contains(states, [32]byte{}) { // declared for another size
		return nil, err
	}
	return states, nil
}

// putChain saves a chain in as many pages as it needs.
func putChain(tx Tx, id BlobID, linkSize int64, states [][32]byte) error {
	prefix, n := blobKey(kindChain, id.Scope, id.Digest), 0
	for page := range slices.Chunk(states, partsPerPage) {
		value := binary.BigEndian.AppendUint64(make([]byte, 0, 8+32*len(page)), uint64(linkSize))
		for _, state := range page {
			value = append(value, state[:]...)
		}
		if err := tx.Put(pageKey(prefix, n), value); err != nil {
			return fmt.Errorf("index: saving a chain: %w", err)
		}
		n++
	}
	return nil
}

// Completing saves the part digests that an upload declared as the blob's own, and that Complete is about to be sent
// with its list. The blob must still be uploading under this multipart.
func (x *Index) Completing(ctx context.Context, id BlobID, upload, multipart string) (Blob, error) {
	return x.updateBlob(ctx, failpoint.Completing, id, func(tx Tx, b *Blob) (bool, error) {
		if b.State != BlobUploading || b.MultipartID != multipart {
			return false, nil
		}
		prefix := key(kindDeclared, upload, id.Digest.Encoded())
		for item, err := range tx.Scan(prefix, nil, false) {
			if err != nil {
				return false, err
			}
			page := strings.TrimPrefix(string(item.Key), string(prefix))
			if err := tx.Put(append(blobKey(kindPart, id.Scope, id.Digest), page...), item.Value); err != nil {
				return false, fmt.Errorf("index: saving part digests: %w", err)
			}
		}
		b.Completing = upload
		return true, nil
	})
}
