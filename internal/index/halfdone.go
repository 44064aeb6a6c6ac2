package index

import (
	"context"
	"errors"

	"github.com/ballast-registry/ballast"
)

// HalfDone is what the registry has begun and not ended, up to a number of each.
type HalfDone struct {
	Removals []KeptBlob // in deleting or aborting
	Rereads  []KeptBlob // stored, and to be read again
	Records  []Version  // whose record waits to be written
	Uploads  []Upload   // accepted commits and imports, to be finished
	Lapsed   []Upload   // pending, and their lease is over
}

// HalfDone returns up to limit items of each kind, the uploads whose lease is over longest first. What cannot be read is
// passed over.
func (x *Index) HalfDone(ctx context.Context, limit int) (h HalfDone, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) (err error) {
		h = HalfDone{}
		for kind, to := range map[byte]*[]KeptBlob{kindReclaim: &h.Removals, kindVerifyQueue: &h.Rereads} {
			if *to, err = halfDone(tx, []byte{kind}, limit, skip, blobOfItem); err != nil {
				return err
			}
		}
		if h.Records, err = halfDone(tx, []byte{kindRecord}, limit, skip, func(tx Tx, k []byte) (Version, bool, error) {
			return lookup[Version](tx, append([]byte{kindVersion}, k[1:]...))
		}); err != nil {
			return err
		}
		if h.Uploads, err = halfDone(tx, []byte{kindVerifying}, limit, skip, func(tx Tx, k []byte) (Upload, bool, error) {
			return lookup[Upload](tx, key(kindUpload, partAfter(k, k[:1])))
		}); err != nil {
			return err
		}
		end := string(timeKey(kindUploadTime, x.now(), "\xff"))
		h.Lapsed, err = halfDone(tx, []byte{kindUploadTime}, limit, skip, func(tx Tx, k []byte) (u Upload, due bool, err error) {
			if string(k) > end {
				return u, false, errEnough
			}
			if len(k) < 9 {
				return u, false, badKey(k, ErrCorrupt)
			}
			u, due, err = lookup[Upload](tx, key(kindUpload, string(k[9:])))
			return u, due && u.Status == ballast.UploadPending, err
		})
		return err
	})
	return h, err
}

// errEnough ends a walk early.
var errEnough = errors.New("index: enough")

func blobOfItem(tx Tx, k []byte) (kept KeptBlob, ok bool, err error) {
	if kept.ID, err = parseBlobID(k); err != nil {
		return kept, false, err
	}
	kept.Blob, ok, err = lookup[Blob](tx, blobKey(kindBlob, kept.ID.Scope, kept.ID.Digest))
	return kept, ok, err
}

// halfDone returns up to limit of what the items of a list lead to. An item that leads to nothing is a flaw of its own.
func halfDone[T any](tx Tx, list []byte, limit int, skip skip, of func(Tx, []byte) (T, bool, error)) (all []T, err error) {
	for item, err := range tx.Scan(list, nil, false) {
		if len(item.Key) == 0 {
			return all, err
		}
		one, ok, err := of(tx, item.Key)
		if errors.Is(err, errEnough) {
			break
		}
		if err != nil {
			if err := skip(item.Key, err); err != nil {
				return all, err
			}
			continue
		}
		if !ok {
			continue
		}
		if all = append(all, one); len(all) == limit {
			break
		}
	}
	return all, nil
}
