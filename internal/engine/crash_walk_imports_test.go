//go:build failpoints

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// imported drops files into the inbox and has them moved into a version; then the same files once more, which are that
// version's already.
func (w *walk) imported() error {
	for range 2 {
		if err := w.fill("imported"); err != nil {
			return err
		}
		if err := w.move("imported"); err != nil {
			return err
		}
	}
	return nil
}

const inbox = "tenants/acme/inbox/"

// droppedKey is an object that says that all files of a name were dropped. From then on each is in the inbox, or in the
// version.
func droppedKey(name string) string { return inbox + name + ".dropped" }

func (w *walk) fill(name string) error {
	for path, body := range published()[name+":1"] {
		if err := dropObject(w.ctx, w.store, inbox+name+"/"+path, body); err != nil {
			return err
		}
	}
	return dropObject(w.ctx, w.store, droppedKey(name), []byte("all of them"))
}

// dropObject writes an object to stay, as somebody with credentials of their own.
func dropObject(ctx context.Context, b objstore.Bucket, key string, body []byte) error {
	_, err := b.Put(ctx, key, body, objstore.Condition{})
	return err
}

func (w *walk) move(name string) error {
	target := ref(name + ":1")
	m, _, err := w.CreateImport(w.ctx, writer, ballast.CreateImport{Source: source("inbox:" + name), Name: target.Name, Version: target.Version, Move: true})
	for err == nil && !(m.Status.Settled() && (m.Moved == nil || m.Moved.Done)) && w.ctx.Err() == nil {
		m, err = w.Import(w.ctx, writer, m.ID, time.Second)
	}
	switch {
	case err != nil:
		return err
	case m.Error != nil:
		return m.Error
	case m.Result == nil:
		return fmt.Errorf("the import is %s", m.Status)
	}
	w.report(m.Result.Key, fate{ballast.StatusReady, m.Result.Digest})
	return nil
}

// lostSources names the files that were dropped and moved away, and are in no version.
func lostSources(ctx context.Context, t *testing.T, x *index.Index, s store) (lost []string) {
	t.Helper()
	for o, err := range s.List(ctx, inbox, "") {
		if err != nil {
			t.Fatal(err)
		}
		name, isMark := strings.CutSuffix(strings.TrimPrefix(o.Key, inbox), ".dropped")
		if !isMark {
			continue
		}
		v, err := x.Version(ctx, ballast.Key{Scope: acme, Name: ref(name).Name, Version: ref("m:1").Version})
		if err == nil && v.Status == ballast.StatusReady {
			continue
		}
		for path := range withWeights(name) {
			if _, err := s.Head(ctx, inbox+name+"/"+path); errors.Is(err, objstore.ErrNotFound) {
				lost = append(lost, fmt.Sprintf("lost: a source of %s is gone, and the version is %q", name, v.Status))
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	return lost
}
