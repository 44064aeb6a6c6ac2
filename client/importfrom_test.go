package client_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// origin is a place in memory that counts what is read, and can break.
type origin struct {
	name   string
	files  map[string][]byte
	states string                                            // what it states of contents: "sha256", "git" or nothing
	edit   func(f *client.OriginFile)                        // what it lists otherwise
	hurt   func(n int, path string) (after int64, err error) // the n-th stream breaks so, after so many bytes; nil error: it does not

	mu      sync.Mutex
	opened  int
	handed  map[string]int64 // bytes, by path
	between func()           // called before each stream
}

func (o *origin) String() string { return o.name }

func gitID(b []byte) string {
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(b)), b...))
	return hex.EncodeToString(sum[:])
}

func (o *origin) Files(context.Context) iter.Seq2[client.OriginFile, error] {
	return func(yield func(client.OriginFile, error) bool) {
		for _, path := range slices.Sorted(maps.Keys(o.files)) {
			b := o.files[path]
			f := client.OriginFile{Path: path, Size: int64(len(b)), Version: ballast.DigestOf(b).Encoded()[:12]}
			switch o.states {
			case "sha256":
				f.Digest = ballast.DigestOf(b)
			case "git":
				f.GitBlob = gitID(b)
			}
			if o.edit != nil {
				o.edit(&f)
			}
			if !yield(f, nil) {
				return
			}
		}
	}
}

var errBroken = errors.New("the line is dead")

func (o *origin) Open(ctx context.Context, f client.OriginFile, offset, length int64) (io.ReadCloser, error) {
	if o.between != nil {
		o.between()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.handed == nil {
		o.handed = map[string]int64{}
	}
	o.opened++
	b, ok := o.files[f.Path]
	if !ok || offset < 0 || length <= 0 || offset+length > int64(len(b)) && offset+length > f.Size {
		return nil, ballast.Errorf(ballast.CodeInvalid, "asked for %d bytes at %d of %q", length, offset, f.Path)
	}
	after, err := int64(len(b)), error(nil)
	if o.hurt != nil {
		if at, broken := o.hurt(o.opened, f.Path); broken != nil {
			if after, err = at, broken; at == 0 {
				return nil, err
			}
		}
	}
	body := b[min(offset, int64(len(b))):min(offset+length, int64(len(b)))]
	end := io.Reader(strings.NewReader(""))
	if err != nil && after < int64(len(body)) {
		body, end = body[:after], failing{err}
	}
	return io.NopCloser(io.MultiReader(&tally{o, f.Path, bytes.NewReader(body)}, end)), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type tally struct {
	o    *origin
	path string
	r    io.Reader
}

func (c *tally) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	c.o.handed[c.path] += int64(n)
	return n, err
}

func (o *origin) total() (n int64) {
	for _, b := range o.handed {
		n += b
	}
	return n
}

func sum(files map[string][]byte) (n int64) {
	for _, b := range files {
		n += int64(len(b))
	}
	return n
}

func (w *world) importFrom(c *client.Client, from client.Origin, target string, o client.ImportFromOptions) (client.ImportFromResult, error) {
	w.t.Helper()
	o.From, o.Target, o.PartSize = from, ref(w.t, target), ballast.MinPartSize
	if o.Spool == "" {
		o.Spool = w.attempts
	}
	return c.ImportFrom(w.t.Context(), o)
}

// left are the files below a spool, but for what every import keeps while it may go on.
func left(t *testing.T, spool, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(spool, "*", pattern))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func models() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte("{}"), "empty": nil, "a b/é+%.bin": mib(1, 1), "model.safetensors": mib(12, 2), "twin.safetensors": mib(12, 2), // three parts
		".git/HEAD": []byte("no"), "x/__pycache__/y": []byte("no"),
	}
}

// TestImportFrom: whatever an origin states, the version is the one that a push of the files makes; what is there is fetched
// only to learn its digest, and never sent.
func TestImportFrom(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		files := models()
		dir := folder(t, files)
		for _, states := range []string{"sha256", "git", ""} {
			o := &origin{name: "place:" + states, files: files, states: states}
			mine := maps.Clone(files)
			mine["config.json"] = []byte(states) // each sends something of its own
			o.files = mine
			r, err := w.importFrom(c, o, "m"+states, client.ImportFromOptions{})
			w.must(err)
			once := int64(len(states) + 1<<20 + 12<<20)
			if len(r.Skipped) != 2 || r.Version.Files != 5 || r.Source != o.name {
				t.Errorf("%q: %+v", states, r)
			}
			if states == "sha256" && (r.Fetched != once || r.Sent != once) || o.total() != r.Fetched {
				t.Errorf("%q: fetched %d, handed out %d, sent %d; there are %d bytes", states, r.Fetched, o.total(), r.Sent, once)
			}
			if states != "sha256" && r.Sent != int64(len(states)) {
				t.Errorf("%q: sent %d", states, r.Sent)
			}
			write(t, filepath.Join(dir, "config.json"), []byte(states))
			pushed, err := w.push(c, dir, "m"+states, client.PushOptions{})
			w.must(err)
			if !pushed.Unchanged {
				t.Errorf("%q: a push made %s", states, pushed.Version.Key)
			}
			again, err := w.importFrom(c, o, "m"+states+":1", client.ImportFromOptions{})
			w.must(err)
			if !again.Unchanged || again.Sent != 0 || states == "sha256" && again.Fetched != 0 {
				t.Errorf("%q again: %+v", states, again)
			}
			other, err := w.importFrom(c, o, "other"+states, client.ImportFromOptions{})
			w.must(err)
			if other.Unchanged || other.Sent != 0 || (other.Fetched == 0) != (states == "sha256") {
				t.Errorf("%q under another name: %+v", states, other)
			}
		}
		if all := left(t, w.attempts, "*.bytes"); len(all) > 0 {
			t.Errorf("left: %v", all)
		}
	})
}

// TestImportFromGoesOn: streams break, then the process ends in the middle of it: nothing that came is fetched again.
func TestImportFromGoesOn(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		files := map[string][]byte{"a": mib(3, 1), "b": mib(13, 2), "c": mib(2, 3)}
		for _, states := range []string{"sha256", ""} {
			for name := range files {
				files[name] = append(files[name], "+"+states...)
			}
			o := &origin{name: "place", files: files, states: states}
			o.hurt = func(n int, path string) (int64, error) {
				switch {
				case path == "b" && n == 2:
					return 4<<20 + 1, errBroken // and goes on at once
				case path == "b" && n == 3:
					return 3 << 20, ballast.Errorf(ballast.CodeDenied, "not any more")
				}
				return 0, nil
			}
			_, err := w.importFrom(c, o, "m", client.ImportFromOptions{Files: 1})
			if ballast.CodeOf(err) != ballast.CodeDenied || !strings.Contains(err.Error(), `"b": not any more`) {
				t.Fatal(err)
			}
			if all := left(t, w.attempts, "*.bytes"); len(all) != 1 {
				t.Errorf("%v lie here", all)
			}
			o.hurt = nil
			r, err := w.importFrom(c, o, "m", client.ImportFromOptions{})
			w.must(err)
			if o.total() != sum(files) || r.Fetched != sum(files)-int64(len(files["a"]))-(7<<20+1) || r.Sent != sum(files)-int64(len(files["a"])) {
				t.Errorf("%q: handed out %d of %d, fetched %d, sent %d by the second", states, o.total(), sum(files), r.Fetched, r.Sent)
			}
			if all := left(t, w.attempts, "*"); len(all) != 0 {
				t.Errorf("left: %v", all)
			}
		}
	})
}

// TestSpoolIsNotBelieved: bytes that were changed on the disk, or have no proof, are fetched again; so are those of a version
// of the file that is not listed any more.
func TestSpoolIsNotBelieved(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	for name, hurt := range map[string]func(t *testing.T, o *origin, bytes, proof string){
		"believed": func(*testing.T, *origin, string, string) {},
		"flipped":  func(t *testing.T, _ *origin, bytes, _ string) { flip(t, bytes, 1000) },
		"cut":      func(t *testing.T, _ *origin, bytes, _ string) { truncate(t, bytes, 1000) },
		"grown":    func(t *testing.T, _ *origin, bytes, _ string) { grow(t, bytes) },
		"no proof": func(t *testing.T, _ *origin, _, proof string) { truncate(t, proof, 0) },
		"torn":     func(t *testing.T, _ *origin, _, proof string) { truncate(t, proof, 50) },
		"replaced": func(t *testing.T, o *origin, _, _ string) { o.files["a"] = append(mib(3, 9), "replaced"...) },
	} {
		t.Run(name, func(t *testing.T) {
			target, spool := "m-"+strings.ReplaceAll(name, " ", "-"), t.TempDir()
			o := &origin{name: "place", files: map[string][]byte{"a": append(mib(3, 1), name...)}, hurt: func(int, string) (int64, error) {
				return 2 << 20, ballast.Errorf(ballast.CodeDenied, "no")
			}}
			if _, err := w.importFrom(c, o, target, client.ImportFromOptions{Spool: spool}); ballast.CodeOf(err) != ballast.CodeDenied {
				t.Fatal(err)
			}
			hurt(t, o, left(t, spool, "*.bytes")[0], left(t, spool, "*.proof")[0])
			o.hurt = nil
			r, err := w.importFrom(c, o, target, client.ImportFromOptions{Spool: spool})
			if err != nil {
				t.Fatal(err)
			}
			want := int64(len(o.files["a"]))
			if name == "believed" || name == "grown" {
				want -= 2 << 20
			}
			if r.Fetched != want {
				t.Errorf("fetched %d, want %d", r.Fetched, want)
			}
			dir := t.TempDir()
			_, err = w.pull(c, target, dir, client.PullOptions{})
			if err != nil || !bytes.Equal(contents(t, dir)["a"], o.files["a"]) {
				t.Errorf("other bytes were published: %v", err)
			}
		})
	}
}

func flip(t *testing.T, file string, at int64) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	write(t, file, b)
}

func truncate(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

func grow(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, append(b, mib(1, 7)...))
}

// TestImportFromRefuses, by name and before more than it must is fetched.
func TestImportFromRefuses(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	lie := ballast.DigestOf([]byte("a lie"))
	paths := func(names ...string) map[string][]byte {
		all := map[string][]byte{}
		for _, name := range names {
			all[name] = []byte(name)
		}
		return all
	}
	for name, test := range map[string]struct {
		from *origin
		o    client.ImportFromOptions
		code ballast.Code
		said string
		ends bool // nothing is fetched
	}{
		"a lying digest": {from: &origin{files: paths("a", "m.bin"), states: "sha256", edit: func(f *client.OriginFile) {
			if f.Path == "m.bin" {
				f.Digest = lie
			}
		}}, code: ballast.CodeIntegrity, said: `"m.bin": a lying digest states the digest ` + lie.String()},
		"a lying git id": {from: &origin{files: paths("m.bin"), states: "git", edit: func(f *client.OriginFile) { f.GitBlob = gitID(nil) }},
			code: ballast.CodeIntegrity, said: `"m.bin": a lying git id states the git id`},
		"empty and not": {from: &origin{files: paths("m.bin"), edit: func(f *client.OriginFile) { f.Digest = ballast.EmptyDigest }}, code: ballast.CodeIntegrity, said: "m.bin", ends: true},
		"two sizes":     {from: &origin{files: map[string][]byte{"a": mib(1, 1), "b": mib(2, 1)}, edit: func(f *client.OriginFile) { f.Digest = lie }}, code: ballast.CodeIntegrity, said: `"b"`, ends: true},
		"out of it":     {from: &origin{files: paths("../../etc/passwd")}, code: ballast.CodeInvalid, said: "../../etc/passwd", ends: true},
		"absolute":      {from: &origin{files: paths("/etc/passwd")}, code: ballast.CodeInvalid, said: "/etc/passwd", ends: true},
		"a control":     {from: &origin{files: paths("a\x1b[2J")}, code: ballast.CodeInvalid, said: "control", ends: true},
		"a backslash":   {from: &origin{files: paths(`a\b`)}, code: ballast.CodeInvalid, said: "backslash", ends: true},
		"case alone":    {from: &origin{files: paths("a", "A")}, code: ballast.CodeInvalid, said: "rename one", ends: true},
		"a folder too":  {from: &origin{files: paths("a", "a/b")}, code: ballast.CodeInvalid, said: "folder", ends: true},
		"nothing":       {from: &origin{files: paths(".git/x")}, code: ballast.CodeNotFound, said: "nothing to import at nothing", ends: true},
		"nothing left":  {from: &origin{files: paths("a")}, o: client.ImportFromOptions{Include: []string{"b"}}, code: ballast.CodeInvalid, said: "leaves nothing", ends: true},
		"no weights": {from: &origin{files: paths("a.safetensors")}, o: client.ImportFromOptions{Strict: true},
			code: ballast.CodeInvalid, said: "a.safetensors"},
		"gone": {from: &origin{files: paths("a"), hurt: func(int, string) (int64, error) {
			return 0, ballast.Errorf(ballast.CodePrecondition, "it was replaced")
		}},
			code: ballast.CodePrecondition, said: `"a": it was replaced`},
		"dead": {from: &origin{files: paths("aaaa"), hurt: func(int, string) (int64, error) { return 0, errBroken }},
			code: ballast.CodeUnavailable, said: "the line is dead; run the same command again"},
	} {
		t.Run(name, func(t *testing.T) {
			test.from.name = name
			spool := t.TempDir()
			test.o.Spool = spool
			r, err := w.importFrom(c, test.from, "refused-"+strings.ReplaceAll(name, " ", "-"), test.o)
			if ballast.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.said) {
				t.Errorf("%v", err)
			}
			if test.ends && test.from.opened > 0 {
				t.Errorf("%d files were opened before", test.from.opened)
			}
			if r.Version.Key != "" {
				t.Errorf("published %s", r.Version.Key)
			}
			if lied := left(t, spool, ballast.DigestOf([]byte("m.bin")).Encoded()[:32]+".bytes"); len(lied) > 0 {
				t.Errorf("left %s", lied)
			}
		})
	}
}

// TestSpoolHoldsFilesInFlight and no more, whatever the number of files.
func TestSpoolHoldsFilesInFlight(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	files := make(map[string][]byte)
	for i := range 30 {
		files[fmt.Sprint(i)] = append(mib(1, byte(i)), fmt.Sprint(i)...)
	}
	most, seen := 0, sync.Mutex{}
	o := &origin{name: "place", files: files}
	o.between = func() {
		seen.Lock()
		defer seen.Unlock()
		most = max(most, len(left(t, w.attempts, "*.bytes")))
	}
	_, err := w.importFrom(w.as("acme=writer"), o, "m", client.ImportFromOptions{Files: 3})
	w.must(err)
	if most == 0 || most > 3 {
		t.Errorf("%d files lay here at once", most)
	}
}

// TestOneImportAtATime has a spool; another one says so.
func TestOneImportAtATime(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	o := &origin{name: "place", files: map[string][]byte{"a": []byte("1")}}
	var second error
	once := sync.Once{}
	o.between = func() {
		once.Do(func() { _, second = w.importFrom(c, o, "m", client.ImportFromOptions{}) })
	}
	_, err := w.importFrom(c, o, "m", client.ImportFromOptions{})
	w.must(err)
	if ballast.CodeOf(second) != ballast.CodeConflict || !strings.Contains(second.Error(), w.attempts) {
		t.Errorf("the second: %v", second)
	}
}

// TestWhatACommitMissesIsFetchedAgain: the spool has let go of it.
func TestWhatACommitMissesIsFetchedAgain(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		files := map[string][]byte{"a": mib(1, 1), "b": mib(1, 2)}
		o := &origin{name: "place", files: files, states: "sha256"}
		w.store.Add(method(http.MethodPut), 1, testenv.Answer(http.StatusOK)) // a store that lies
		r, err := w.importFrom(c, o, "m", client.ImportFromOptions{Files: 1})
		w.must(err)
		if r.Fetched != 3<<20 || r.Version.Files != 2 {
			t.Errorf("%+v", r)
		}
		dir := t.TempDir()
		_, err = w.pull(c, "m", dir, client.PullOptions{})
		w.must(err)
		if !bytes.Equal(contents(t, dir)["a"], files["a"]) || !bytes.Equal(contents(t, dir)["b"], files["b"]) {
			t.Error("other bytes")
		}
	})
}

// TestFullSpool says which folder, for what, and how much.
func TestFullSpool(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full on this system")
	}
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	o := &origin{name: "place", files: map[string][]byte{"model.bin": mib(2, 1)}, hurt: func(int, string) (int64, error) { return 1, ballast.Errorf(ballast.CodeDenied, "no") }}
	_, err := w.importFrom(c, o, "m", client.ImportFromOptions{})
	if ballast.CodeOf(err) != ballast.CodeDenied {
		t.Fatal(err)
	}
	file := left(t, w.attempts, "*.bytes")[0]
	if err := errors.Join(os.Remove(file), os.Symlink("/dev/full", file)); err != nil {
		t.Fatal(err)
	}
	o.hurt = nil
	_, err = w.importFrom(c, o, "m", client.ImportFromOptions{})
	for _, words := range []string{filepath.Dir(file), "has no room", `"model.bin", of which 2097152 bytes are still to come`, "--spool"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v lacks %q", err, words)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	_, err = w.importFrom(c, o, "m", client.ImportFromOptions{})
	w.must(err)
}
