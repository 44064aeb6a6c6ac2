package client_test

import (
	"bytes"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// cached publishes two versions that share a file, and pulls the first with an empty cache.
func cached(t *testing.T) (w *world, c *client.Client, shared, other []byte, dir string) {
	w = newWorld(t, testenv.Embedded(t))
	c = w.as("acme=writer")
	shared, other, dir = mib(12, 1), mib(1, 2), t.TempDir()
	for v, files := range map[string]map[string][]byte{"m:1": {"sub/shared": shared, "one": other}, "m:2": {"moved/shared": shared, "two": []byte("2"), "empty": {}}} {
		_, err := w.push(c, folder(t, files), v, client.PushOptions{PartSize: linkSize})
		w.must(err)
	}
	pulled, err := w.pull(c, "m:1", t.TempDir(), client.PullOptions{Cache: dir})
	w.must(err)
	if pulled.Cached != 0 || pulled.Bytes != int64(len(shared)+len(other)) {
		t.Fatalf("into an empty cache: %+v", pulled)
	}
	return w, c, shared, other, dir
}

func entryOf(dir string, content []byte) string {
	hex := ballast.DigestOf(content).Encoded()
	return filepath.Join(dir, "sha256", hex[:2], hex)
}

// What another version brought is not fetched again. Files in the folder and in the cache are whole, and entries read-only.
func TestVersionsShareFilesThroughTheCache(t *testing.T) {
	w, c, shared, other, dir := cached(t)
	into := folder(t, map[string][]byte{"moved/shared": []byte("something else")})
	pulled, err := w.pull(c, "m:2", into, client.PullOptions{Cache: dir, Sync: true})
	w.must(err)
	if got := contents(t, into); len(got) != 3 || !bytes.Equal(got["moved/shared"], shared) || string(got["two"]) != "2" {
		t.Errorf("the folder holds %d files", len(got))
	}
	if pulled.Cached != 1 || pulled.Bytes != 1 || pulled.Fetched != 3 || len(pulled.Replaced) != 1 {
		t.Errorf("pulled %+v", pulled)
	}
	for _, content := range [][]byte{shared, other, []byte("2")} {
		info, err := os.Stat(entryOf(dir, content))
		w.must(err)
		if got, err := os.ReadFile(entryOf(dir, content)); err != nil || !bytes.Equal(got, content) || info.Mode().Perm()&0o222 != 0 {
			t.Errorf("an entry of %d bytes holds %d, mode %s, %v", len(content), len(got), info.Mode(), err)
		}
	}
	if got := contents(t, dir); len(got) != 3 {
		t.Errorf("the cache holds %d files", len(got))
	}
	again, err := w.pull(c, "m:2", into, client.PullOptions{Cache: dir})
	w.must(err)
	if again.Fetched != 0 || again.Cached != 0 {
		t.Errorf("pulled again: %+v", again)
	}
}

// An entry that is not what its name says is removed and never handed out, whatever is wrong with it.
func TestADamagedEntryIsNotHandedOut(t *testing.T) {
	w, c, shared, _, dir := cached(t)
	entry := entryOf(dir, shared)
	for what, damage := range map[string]func() error{
		"other bytes": func() error { b := bytes.Clone(shared); b[9<<20] ^= 1; return os.WriteFile(entry, b, 0o600) },
		"cut short":   func() error { return os.WriteFile(entry, shared[:9<<20], 0o600) },
		"a folder":    func() error { return os.Mkdir(entry, 0o700) },
		"a link":      func() error { return os.Symlink(filepath.Join(t.TempDir(), "nowhere"), entry) },
		"unreadable":  func() error { return os.WriteFile(entry, shared, 0) },
	} {
		t.Run(what, func(t *testing.T) {
			w.must(os.RemoveAll(entry))
			w.must(damage())
			var told notes
			into := t.TempDir()
			pulled, err := w.pull(c, "m:2", into, client.PullOptions{Cache: dir, Progress: told.progress})
			w.must(err)
			if got := contents(t, into); !bytes.Equal(got["moved/shared"], shared) {
				t.Error("the folder holds other bytes")
			}
			switch {
			case what == "unreadable" && os.Geteuid() == 0: // root reads all
			case pulled.Cached > 1 || pulled.Bytes < int64(len(shared)):
				t.Errorf("pulled %+v", pulled)
			case what == "other bytes" && !strings.Contains(told.text, "damaged; it is removed"):
				t.Errorf("told %q", told.text)
			}
			if got, err := os.ReadFile(entry); err != nil || !bytes.Equal(got, shared) {
				t.Errorf("the entry was not mended: %d bytes, %v", len(got), err)
			}
		})
	}
}

// A file that is a link into the cache and written to is found out, at its place and in the cache, and neither is relied on.
func TestWritingThroughALinkIsFoundOut(t *testing.T) {
	w, c, shared, _, dir := cached(t)
	into := t.TempDir()
	_, err := w.pull(c, "m:2", into, client.PullOptions{Cache: dir})
	w.must(err)
	file := filepath.Join(into, "moved/shared")
	w.must(os.Chmod(file, 0o600))
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	w.must(err)
	_, err = f.WriteAt([]byte("mine"), 0)
	w.must(err)
	w.must(f.Close())
	_, err = w.pull(c, "m:2", into, client.PullOptions{Cache: dir})
	w.must(err)
	for _, at := range []string{file, entryOf(dir, shared)} {
		if got, err := os.ReadFile(at); err != nil || !bytes.Equal(got, shared) {
			t.Errorf("%s: %d bytes, %v", at, len(got), err)
		}
	}
}

func TestPullsShareACacheAtOnce(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	files := map[string][]byte{"a": mib(2, 1), "same": mib(2, 1), "b": mib(1, 2)}
	_, err := w.push(c, folder(t, files), "m", client.PushOptions{})
	w.must(err)
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			into := t.TempDir()
			if _, err := w.pull(c, "m", into, client.PullOptions{Cache: dir}); err != nil {
				t.Error(err)
			}
			if got := contents(t, into); !maps.EqualFunc(got, files, bytes.Equal) {
				t.Errorf("a folder holds %d files", len(got))
			}
		})
	}
	all.Wait()
	if got := contents(t, dir); len(got) != 2 {
		t.Errorf("the cache holds %d files", len(got))
	}
	w.store.Add(method(http.MethodGet), -1, testenv.Drop)
	_, err = w.pull(c, "m", t.TempDir(), client.PullOptions{Cache: dir})
	w.must(err)
}
