package index

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// VerifyJob is one stored blob that waits to be re-read, or is being re-read under a lease.
type VerifyJob struct {
	Upload     string       `json:"upload,omitempty"` // whose part list was completed: a lie fails this upload
	Worker     string       `json:"worker,omitempty"`
	Run        string       `json:"run,omitempty"` // of the Index that leased it; one that was killed holds nothing
	LeaseUntil ballast.Time `json:"lease_until,omitzero"`
}

// StoredByMultipart records that an object lies under the blob's key that must be re-read: uploading → stored, queued.
// upload is who made it, whom a lie fails; "" is nobody known. Part digests are known when Complete was sent with its list.
func (x *Index) StoredByMultipart(ctx context.Context, id BlobID, f Found, upload string) error {
	_, err := x.updateBlob(ctx, failpoint.StoredByMultipart, id, func(tx Tx, b *Blob) (bool, error) {
		if b.State != BlobUploading {
			return false, nil
		}
		return true, withAccount(tx, id.Scope, func(a *account) error { return toVerify(tx, a, id.Digest, b, f, upload) })
	})
	return err
}

// toVerify makes an uploading blob stored, and queues it.
func toVerify(tx Tx, a *account, d digest.Digest, b *Blob, f Found, upload string) error {
	if upload == "" || upload != b.Completing {
		b.PartSize = 0
	}
	before := *b
	b.State, b.Size, b.ETag, b.VersionID, b.MultipartID, b.Completing = BlobStored, f.Size, f.ETag, f.VersionID, "", ""
	return errors.Join(put(tx, blobKey(kindVerifyQueue, a.scope, d), VerifyJob{Upload: upload}), a.became(tx, d, before, *b))
}

// LeaseVerify gives a worker the first job that nobody works on. A lease of an Index that is no more holds nobody up: one
// at a time has the store. ok is false when there is none.
func (x *Index) LeaseVerify(ctx context.Context, worker string, lease time.Duration) (id BlobID, b Blob, ok bool, err error) {
	if idle, err := x.nothingToVerify(ctx); idle || err != nil { // as mostly; a look costs no write
		return id, b, false, err
	}
	err = x.skipping(ctx, func(ctx context.Context, fn func(Tx) error) error { return x.update(ctx, failpoint.LeaseVerify, fn) }, func(tx Tx, skip skip) error {
		ok = false
		now := x.now()
		for item, err := range readable[VerifyJob](tx.Scan([]byte{kindVerifyQueue}, nil, false), skip) {
			if err != nil {
				return err
			}
			job := item.value
			if x.isLeased(job, now) {
				continue
			}
			if id, b, err = jobBlob(tx, item.key); err != nil {
				if err := skip(item.key, err); err != nil {
					return err
				}
				continue
			}
			ok = true
			job.Worker, job.Run, job.LeaseUntil = worker, x.run, ballast.At(now.Add(lease))
			return put(tx, blobKey(kindVerifyQueue, id.Scope, id.Digest), job)
		}
		return nil
	})
	return id, b, ok, err
}

// isLeased reports whether a job is somebody's, or put off.
func (x *Index) isLeased(job VerifyJob, now time.Time) bool {
	return now.Before(job.LeaseUntil.Time) && (job.Worker == "" || job.Run == x.run)
}

// nothingToVerify reports whether no job waits for a worker. One that cannot be read is something.
func (x *Index) nothingToVerify(ctx context.Context) (idle bool, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		idle = true
		now := x.now()
		for item, err := range readable[VerifyJob](tx.Scan([]byte{kindVerifyQueue}, nil, false), func([]byte, error) error { idle = false; return nil }) {
			if err != nil {
				return err
			}
			if !x.isLeased(item.value, now) {
				idle = false
				return nil
			}
		}
		return nil
	})
	return idle, err
}

// jobBlob returns the blob that an entry of the queue is about.
func jobBlob(tx Tx, job []byte) (id BlobID, b Blob, err error) {
	if id, err = parseBlobID(job); err != nil {
		return id, b, err
	}
	b, err = get[Blob](tx, blobKey(kindBlob, id.Scope, id.Digest))
	return id, b, err
}

// RenewVerify extends a worker's lease. held is false when the job is another's, or gone.
func (x *Index) RenewVerify(ctx context.Context, id BlobID, worker string, lease time.Duration) (held bool, err error) {
	err = x.update(ctx, failpoint.RenewVerify, func(tx Tx) error {
		held = false
		return withJob(tx, id, worker, func(job VerifyJob) error {
			held = true
			job.LeaseUntil = ballast.At(x.now().Add(lease))
			return put(tx, blobKey(kindVerifyQueue, id.Scope, id.Digest), job)
		})
	})
	return held, err
}

// ReturnVerify gives a job back unfinished, to be taken up again after pause.
func (x *Index) ReturnVerify(ctx context.Context, id BlobID, worker string, pause time.Duration) error {
	return x.updateJob(ctx, failpoint.ReturnVerify, id, worker, func(tx Tx, job VerifyJob) error {
		job.Worker, job.LeaseUntil = "", ballast.At(x.now().Add(pause))
		return put(tx, blobKey(kindVerifyQueue, id.Scope, id.Digest), job)
	})
}

// updateJob runs fn in a transaction of its own when the worker holds the job.
func (x *Index) updateJob(ctx context.Context, step failpoint.Step, id BlobID, worker string, fn func(Tx, VerifyJob) error) error {
	return x.update(ctx, step, func(tx Tx) error {
		return withJob(tx, id, worker, func(job VerifyJob) error { return fn(tx, job) })
	})
}

// withJob runs fn when the worker holds the job.
func withJob(tx Tx, id BlobID, worker string, fn func(VerifyJob) error) error {
	job, ok, err := lookup[VerifyJob](tx, blobKey(kindVerifyQueue, id.Scope, id.Digest))
	if err != nil || !ok || job.Worker != worker {
		return err
	}
	return fn(job)
}

// Verified records that the worker re-read the blob and found its digest: stored → verified, assurance reread. chain is the
// states of SHA-256 that it came by behind each link of linkSize bytes but the last.
func (x *Index) Verified(ctx context.Context, id BlobID, worker string, linkSize int64, chain [][32]byte) error {
	return x.updateJob(ctx, failpoint.Verified, id, worker, func(tx Tx, _ VerifyJob) error {
		b, err := get[Blob](tx, blobKey(kindBlob, id.Scope, id.Digest))
		if err != nil || b.State != BlobStored {
			return err
		}
		before := b
		b.State, b.Assurance, b.Reread = BlobVerified, ballast.AssuranceReread, false
		if err := withAccount(tx, id.Scope, func(a *account) error { return a.became(tx, id.Digest, before, b) }); err != nil {
			return err
		}
		if len(chain) > 0 {
			b.LinkSize = linkSize
			if err := putChain(tx, id, linkSize, chain); err != nil {
				return err
			}
		}
		if err := tx.Delete(blobKey(kindVerifyQueue, id.Scope, id.Digest)); err != nil {
			return err
		}
		return put(tx, blobKey(kindBlob, id.Scope, id.Digest), b)
	})
}

// Lied records that the worker re-read the blob and found another digest, or another object (actual is empty): stored →
// deleting. The upload whose list was completed fails with integrity, naming both digests; other uploads that pin the
// blob see it missing again.
func (x *Index) Lied(ctx context.Context, id BlobID, worker string, actual digest.Digest) error {
	return x.updateJob(ctx, failpoint.Lied, id, worker, func(tx Tx, job VerifyJob) error {
		b, err := get[Blob](tx, blobKey(kindBlob, id.Scope, id.Digest))
		if err != nil || b.State != BlobStored {
			return err
		}
		if err := x.taint(tx, id, b); err != nil || job.Upload == "" {
			return err
		}
		old, ok, err := lookup[Upload](tx, key(kindUpload, job.Upload))
		if err != nil || !ok || old.Status.Settled() || old.Sealed {
			return err
		}
		u := old
		u.Error = lie(id.Digest, actual)
		if err := x.settle(tx, &u, ballast.UploadFailed); err != nil {
			return err
		}
		return putUpload(tx, &old, u)
	})
}

func lie(expected, actual digest.Digest) *ballast.Error {
	e := ballast.Errorf(ballast.CodeIntegrity, "the bytes uploaded as %s have the digest %s; they were removed", expected, actual)
	if actual == "" {
		e = ballast.Errorf(ballast.CodeIntegrity, "the bytes uploaded as %s were replaced or removed in the store before they could be verified", expected)
	}
	e.Expected, e.Actual = expected, actual
	return e
}
