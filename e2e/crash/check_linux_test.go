package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// verdict is what a cut has done.
type verdict struct {
	lost  []error // versions that were reported ready
	wrong []error // everything else
}

func (v *verdict) lose(format string, args ...any) {
	v.lost = append(v.lost, fmt.Errorf(format, args...))
}

func (v *verdict) blame(what string, err error) {
	if err != nil {
		v.wrong = append(v.wrong, fmt.Errorf("%s: %w", what, err))
	}
}

// report fails the test for all that the cut has done.
func (v *verdict) report(t *testing.T) {
	t.Helper()
	for _, err := range append(v.lost, v.wrong...) {
		t.Error(err)
	}
}

// examine says what became of everything reported, on a copy of what the cut left: at rest, served again, at rest again.
func examine(t *testing.T, image string, l *ledger, publishers []*publisher) (v verdict) {
	t.Helper()
	data := dataIn(mountImage(t, copyImage(t, image)))
	v.blame("at rest after the cut", invariants(t, data))
	s, err := program{}.launch(t.Context(), t, data)
	if err != nil {
		v.blame("after the cut", err)
		for ref := range l.ready {
			v.lose("%s: not served", ref)
		}
		return v
	}
	v.served(t, s, l, publishers)
	v.blame("stopping", s.stop())
	v.blame("at rest after a run", invariants(t, data))
	return v
}

// served pulls everything that was reported, and pushes again what was cut off.
func (v *verdict) served(t *testing.T, s *service, l *ledger, publishers []*publisher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err := s.client(nil)
	if err != nil {
		v.blame("after the cut", err)
		for ref := range l.ready {
			v.lose("%s: cannot be asked for", ref)
		}
		return
	}
	for ref, digest := range l.ready {
		switch pulled, err := pull(ctx, t, c, ref); {
		case err != nil:
			v.lose("%s: %w", ref, err)
		case pulled.Version.Digest != digest:
			v.lose("%s: is %s, was %s", ref, pulled.Version.Digest, digest)
		}
	}
	for name, was := range l.alias {
		info, err := c.Version(ctx, parseRef(t, name+"@"+aliasName))
		if v.blame("the alias of "+name, err); err == nil && info.Version.Compare(was) < 0 {
			v.blame("the alias of "+name, fmt.Errorf("points at %s, pointed at %s", info.Version, was))
		}
	}
	for _, p := range publishers {
		again := *p
		attempts := filepath.Join(t.TempDir(), "attempts")
		check(t, os.CopyFS(attempts, os.DirFS(p.attempts)))
		if _, err := again.push(ctx, c, attempts); err != nil {
			v.blame("pushing again what was cut off", fmt.Errorf("%s: %w", p.target(), err))
			continue
		}
		_, err := pull(ctx, t, c, p.target().String())
		v.blame("pulling what was cut off and pushed again", err)
	}
}

func pull(ctx context.Context, t *testing.T, c *client.Client, ref string) (client.PullResult, error) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	check(t, err)
	defer os.RemoveAll(dir)
	return c.Pull(ctx, client.PullOptions{Ref: parseRef(t, ref), Dir: dir})
}

func parseRef(t *testing.T, text string) ballast.Ref {
	t.Helper()
	return must[ballast.Ref](t)(ballast.ParseRef(text))
}

// invariants holds a data folder that nobody serves to them all. One that no index was made in has none to hold to.
func invariants(t *testing.T, data string) error {
	t.Helper()
	for _, file := range []string{"record.key", "index.db"} {
		if _, err := os.Stat(filepath.Join(data, file)); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	store, err := testenv.StartEmbeddedIn(t, data)
	if err != nil {
		return err
	}
	defer store.Server.Close() // at once: the next service needs the folder
	bucket, err := objstore.Open(t.Context(), store.Config())
	if err != nil {
		return err
	}
	return enginetest.AtRest(t.Context(), data, bucket)
}
