//go:build failpoints

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

func (w *walk) plain() error {
	if err := w.publish("plain:1", "a"); err != nil {
		return err
	}
	name, one := ref("plain").Name, ref("plain:1").Version
	for _, alias := range []string{"champion", "old"} {
		if _, err := w.SetAlias(w.ctx, writer, acme, name, must(ballast.ParseAlias(alias)), one, nil); err != nil {
			return err
		}
	}
	if err := w.DeleteAlias(w.ctx, writer, acme, name, must(ballast.ParseAlias("old")), nil); err != nil {
		return err
	}
	if err := w.token(); err != nil {
		return err
	}
	if _, err := w.AddTask(w.ctx, admin, "walking"); err != nil {
		return err
	}
	if err := w.RemoveTask(w.ctx, admin, "walking"); err != nil {
		return err
	}
	return w.quotas()
}

// quotas sets quotas that whatever is walked fits, and takes one of them back.
func (w *walk) quotas() error {
	plenty := int64(1 << 40)
	for _, scope := range []ballast.Scope{{}, acme} {
		if _, err := w.SetQuota(w.ctx, admin, scope, ballast.Quota{Bytes: &plenty, Versions: &plenty, Uploads: &plenty, UploadBytes: &plenty}); err != nil {
			return err
		}
	}
	return w.UnsetQuota(w.ctx, admin, ballast.Scope{})
}

// token is minted, rotated, used until that is written down, and revoked.
func (w *walk) token() error {
	made, err := w.CreateToken(w.ctx, admin, ballast.CreateToken{Name: "t", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}}})
	if err != nil {
		return err
	}
	made, err = w.RotateToken(w.ctx, admin, made.ID, ballast.RotateToken{Overlap: 60})
	if err != nil {
		return err
	}
	if _, err := w.Authenticate(w.ctx, made.Token); err != nil {
		return err
	}
	err = w.until("the last use of a token is written down", func() (bool, error) {
		at, err := w.index.LastUse(w.ctx, made.ID)
		return !at.IsZero(), err
	})
	if err != nil {
		return err
	}
	return w.RevokeToken(w.ctx, admin, made.ID)
}

// parts publishes in parts. The re-read meets trouble: see troubled.
func (w *walk) parts() error { return w.publish("parts:1", "a") }

// copied has the store copy what came in parts into the global scope.
func (w *walk) copied() error {
	u, err := w.Copy(w.ctx, publisher, ref("parts:1"), ballast.CopyVersion{Scope: ballast.Global, Name: ref("parts").Name, Version: ref("parts:1").Version})
	for err == nil && u.Status == ballast.UploadVerifying && w.ctx.Err() == nil {
		u, err = w.Upload(w.ctx, publisher, u.ID, time.Second)
	}
	switch {
	case err != nil:
		return err
	case u.Error != nil:
		return u.Error
	case u.Result == nil:
		return fmt.Errorf("the copy is %s", u.Status)
	}
	w.report(u.Result.Key, fate{ballast.StatusReady, u.Result.Digest})
	return nil
}

func (w *walk) unchanged() error {
	if err := w.publish("auto:1", "a"); err != nil {
		return err
	}
	return w.push("auto", "same-files-again-and-no-label", small("auto"))
}

// abandon gives an upload up whose multipart is open.
func (w *walk) abandon() error {
	u, err := w.begin("abandoned:1", "a")
	if err != nil {
		return err
	}
	w.abandoned = u.ID
	for d, body := range inParts("abandoned").blobs() {
		if _, err := w.Blobs(w.ctx, writer, u.ID, inOnePart(d, body)); err != nil {
			return err
		}
		if err := w.AbortUpload(w.ctx, writer, u.ID); err != nil {
			return err
		}
		if err := w.untilAbsent(d); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) untilAbsent(d digest.Digest) error {
	return w.until(d.String()+" is absent", func() (bool, error) {
		b, err := w.index.Blob(w.ctx, index.BlobID{Scope: acme, Digest: d})
		return b.State == index.BlobAbsent, err
	})
}

// lie sends in parts what is not what its digest says.
func (w *walk) lie() error {
	u, err := w.begin("lying:1", "a")
	if err != nil {
		return err
	}
	truth := []byte("what was promised")
	d := ballast.DigestOf(truth)
	lie := []byte("what was received")
	if err := w.send(u.ID, d, lie, true); err != nil {
		return err
	}
	files := []ballast.File{{Path: "w", Size: int64(len(lie)), Digest: d}}
	if _, err := w.commit(u.ID, files); ballast.CodeOf(err) != ballast.CodeIntegrity {
		return fmt.Errorf("a lie was answered %w", err)
	}
	return w.untilAbsent(d)
}

// oddly publishes beside an object that is not as it should be, which has to go first.
func (w *walk) oddly() error { return w.publish("odd:1", "a") }

// lose publishes though the multipart was lost before the parts were sent.
func (w *walk) lose() error {
	for d, body := range inParts("lost").blobs() {
		u, err := w.begin("lost:1", "a")
		if isThere(err, inParts("lost")) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Blobs(w.ctx, writer, u.ID, inOnePart(d, body)); err != nil {
			return err
		}
		if lost, _ := w.times(failpoint.MultipartLost); lost == 0 {
			if err := w.dropMultiparts(d); err != nil {
				return err
			}
		}
	}
	return w.publish("lost:1", "a")
}

// vanished publishes though the multipart is lost after its commit was accepted.
func (w *walk) vanished() error {
	if reopened, _ := w.times(failpoint.Reopen); reopened == 0 {
		w.mu.Lock()
		w.vanish = ballast.DigestOf(inParts("vanished")["in-parts.gguf"])
		w.mu.Unlock()
	}
	return w.publish("vanished:1", "a")
}

// dropMultiparts makes the store forget what was sent of a blob.
func (w *walk) dropMultiparts(d digest.Digest) error {
	key := ballast.BlobKey(acme, d)
	open, err := w.store.ListUploads(context.Background(), key)
	for _, m := range open {
		if abortErr := w.store.AbortMultipart(context.Background(), key, m.ID); !errors.Is(abortErr, objstore.ErrNoSuchUpload) {
			err = errors.Join(err, abortErr)
		}
	}
	return err
}

// expire lets a lease end, and publishes under the label that it held.
func (w *walk) expire() error {
	u, err := w.begin("expired:1", "of-the-dead")
	if isThere(err, small("expired")) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := w.clock.jump(time.Hour); err != nil {
		return err
	}
	err = w.until("the lease ends", func() (bool, error) {
		_, err := w.begin("expired:1", "of-the-heir") // finds the dead one's hold, which calls for the reaper
		if code := ballast.CodeOf(err); code != "" && code != ballast.CodeConflict {
			return false, err
		}
		now, err := w.index.Upload(w.ctx, u.ID)
		return now.Status == ballast.UploadExpired, err
	})
	if err != nil {
		return err
	}
	return w.publish("expired:1", "of-the-heir")
}

// forget lets the day go by after which a settled upload is forgotten.
func (w *walk) forget() error {
	if err := w.clock.jump(index.SettledLife + time.Hour); err != nil {
		return err
	}
	return w.until("an old upload is forgotten", func() (bool, error) {
		for _, attempt := range []string{"one-that-holds-it", "another-for-which-the-reaper-looks"} {
			if _, err := w.begin("forgotten:1", attempt); err != nil && ballast.CodeOf(err) != ballast.CodeConflict {
				return false, err
			}
		}
		_, err := w.index.Upload(w.ctx, w.abandoned)
		return ballast.CodeOf(err) == ballast.CodeNotFound, nil
	})
}
