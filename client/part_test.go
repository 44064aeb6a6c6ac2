package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
)

func partsFolder(t *testing.T) (dir string, root *os.Root) {
	t.Helper()
	dir = t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return dir, root
}

func named(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// die leaves a part as a killed pull does: the system closes its files.
func die(p *part) {
	p.file.Close()
	p.unlock()
}

// file is a file of a version, with a digest of its own.
func file(path string, size int64) ballast.File {
	return ballast.File{Path: path, Size: size, Digest: ballast.DigestOf([]byte(path))}
}

func mustPart(t *testing.T, root *os.Root, f ballast.File) *part {
	t.Helper()
	p, err := newPart(root, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.drop)
	return p
}

// What a killed pull left of files that the version does not have goes at the next one's start, however young it is; what it
// left of others waits, and goes in the end; what a living one writes stays, however old. A version published through the API
// alone may hold a file that is named as pull names its unfinished ones.
func TestPartsGoWithTheirPull(t *testing.T) {
	dir, root := partsFolder(t)
	f, unselected, old := file("sub/a", 1), file("sub/b", 1), file("sub/old", 1)
	if err := root.Mkdir("sub", 0o777); err != nil {
		t.Fatal(err)
	}
	alive := mustPart(t, root, old)
	mine := ".ballast-mine.part"
	if err := root.WriteFile("sub/"+mine, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-2 * staleAfter)
	if err := root.Chtimes(alive.name, past, past); err != nil {
		t.Fatal(err)
	}
	abandoned := map[string]*part{}
	for _, f := range []ballast.File{f, unselected, old} {
		abandoned[f.Path] = mustPart(t, root, f)
		die(abandoned[f.Path])
	}
	p := &pull{root: root, parts: map[string][]string{}, all: []ballast.File{f, unselected, file("sub/"+mine, 1)}, wanted: map[string]ballast.File{f.Path: f}}
	for _, step := range []struct {
		do     func()
		leaves []*part
	}{
		{p.sweep, []*part{alive, abandoned[f.Path], abandoned[unselected.Path]}},
		{func() { _ = p.tidy() }, []*part{alive, abandoned[unselected.Path]}},
		{func() { p.o.Exact = true; _ = p.tidy() }, []*part{alive, abandoned[unselected.Path]}},
	} {
		step.do()
		want := []string{mine}
		for _, p := range step.leaves {
			want = append(want, filepath.Base(p.name))
		}
		slices.Sort(want)
		if got := named(t, filepath.Join(dir, "sub")); !slices.Equal(got, want) {
			t.Errorf("left are %q, want %q", got, want)
		}
	}
	if got := p.leftovers(f); !slices.Equal(got, []string{abandoned[f.Path].name}) || len(p.leftovers(f)) > 0 {
		t.Errorf("left over of %s are %q", f.Path, got)
	}
	if err := alive.become("sub/old"); err != nil {
		t.Fatal(err)
	}
	if got := named(t, filepath.Join(dir, "sub")); !slices.Contains(got, "old") {
		t.Errorf("the folder holds %q", got)
	}
}

// A part that a sweep took before it was locked is none.
func TestAPartIsHeldOnlyUnderItsName(t *testing.T) {
	_, root := partsFolder(t)
	p := mustPart(t, root, file("a", 1))
	if held, err := (&part{root: root, name: p.name, file: p.file}).hold(); held || err != nil {
		t.Errorf("held a second time: %t, %v", held, err)
	}
	p.unlock()
	removeAbandoned(root, p.name)
	if held, err := p.hold(); held || err != nil {
		t.Errorf("held without its name: %t, %v", held, err)
	}
	if err := root.WriteFile(p.name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if held, err := p.hold(); held || err != nil {
		t.Errorf("held under another's name: %t, %v", held, err)
	}
}

// journaled makes a part of 4 pieces in 2 links, of which two have landed.
func journaled(t *testing.T, root *os.Root) (*part, partID) {
	t.Helper()
	const size = 30 << 20
	id := partID{file("a", size), newLayout(size, 16<<20)}
	p := mustPart(t, root, id.File)
	if err := p.begin(p.file, id); err != nil {
		t.Fatal(err)
	}
	for _, piece := range []int{0, 2, 3} {
		if err := p.note(p.file, piece, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.note(p.file, 3, false); err != nil {
		t.Fatal(err)
	}
	return p, id
}

func TestAPartIsGoneOnWith(t *testing.T) {
	_, root := partsFolder(t)
	p, id := journaled(t, root)
	if _, _, ok := adoptPart(root, p.name, id); ok {
		t.Error("the part of a living pull was taken over")
	}
	die(p)
	again, landed, ok := adoptPart(root, p.name, id)
	if !ok || !slices.Equal(landed, []int{0, 2}) {
		t.Fatalf("taken over %t with %v landed", ok, landed)
	}
	if _, _, ok := adoptPart(root, p.name, id); ok {
		t.Error("taken over twice")
	}
	if err := again.note(again.file, 1, true); err != nil {
		t.Fatal(err)
	}
	die(again)
	again, landed, ok = adoptPart(root, p.name, id)
	if !ok || !slices.Equal(landed, []int{0, 1, 2}) {
		t.Fatalf("taken over again %t with %v landed", ok, landed)
	}
	// It ends between the cut of its journal and its new name.
	if err := again.cut(again.file); err != nil {
		t.Fatal(err)
	}
	die(again)
	again, landed, ok = adoptPart(root, p.name, id)
	if !ok || !slices.Equal(landed, []int{0, 1, 2, 3}) {
		t.Fatalf("taken over whole %t with %v landed", ok, landed)
	}
	die(again)
	if again, landed, ok = adoptPart(root, p.name, id); !ok || len(landed) != 4 {
		t.Fatalf("a journal that was written anew: %t with %v landed", ok, landed)
	}
	if err := errors.Join(again.cut(again.file), again.become("a")); err != nil {
		t.Fatal(err)
	}
	if info, err := root.Stat("a"); err != nil || info.Size() != id.Size {
		t.Errorf("%v, %v", info, err)
	}
}

// A journal that is torn, or of something else, is none: the part is not gone on with.
func TestATornJournalIsNone(t *testing.T) {
	for what, tear := range map[string]func(*part, *partID) error{
		"of another digest":   func(_ *part, id *partID) error { id.Digest = ballast.EmptyDigest; return nil },
		"of another layout":   func(_ *part, id *partID) error { id.layout = newLayout(id.Size, 0); return nil },
		"of a shorter file":   func(_ *part, id *partID) error { id.Size--; return nil },
		"without its end":     func(p *part, id *partID) error { return p.file.Truncate(id.Size + headSize + 1) },
		"longer":              func(p *part, id *partID) error { return p.file.Truncate(id.Size + headSize + 9) },
		"without all of it":   func(p *part, id *partID) error { return p.file.Truncate(id.Size + 1) },
		"cut inside the file": func(p *part, id *partID) error { return p.file.Truncate(id.Size - 1) },
		"empty":               func(p *part, _ *partID) error { return p.file.Truncate(0) },
		"zeros": func(p *part, id *partID) error {
			return errors.Join(p.file.Truncate(0), p.file.Truncate(id.Size+headSize+int64(id.pieces())))
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir, root := partsFolder(t)
			p, id := journaled(t, root)
			if err := tear(p, &id); err != nil {
				t.Fatal(err)
			}
			die(p)
			if _, landed, ok := adoptPart(root, p.name, id); ok {
				t.Errorf("taken over with %v landed", landed)
			}
			if got := named(t, dir); len(got) != 0 {
				t.Errorf("it keeps its room: the folder holds %q", got)
			}
		})
	}
	t.Run("bit by bit", func(t *testing.T) {
		_, root := partsFolder(t)
		p, id := journaled(t, root)
		die(p)
		head, name := headOf(id), p.name
		for i := range 8 * len(head) {
			torn := slices.Clone(head)
			torn[i/8] ^= 1 << (i % 8)
			file, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
			if err != nil {
				t.Fatal(err)
			}
			_, err = file.WriteAt(torn, id.Size)
			if err := errors.Join(err, file.Truncate(id.Size+headSize+int64(id.pieces())), file.Close()); err != nil {
				t.Fatal(err)
			}
			if _, _, ok := adoptPart(root, name, id); ok {
				t.Fatalf("taken over with bit %d of its journal's head turned", i)
			}
		}
	})
}

// A full disk is told before anything travels, where the file system can tell.
func TestReserveTakesTheRoom(t *testing.T) {
	dir, root := partsFolder(t)
	p := mustPart(t, root, file("a", 1))
	if err := reserve(p.file, 1<<20); err != nil {
		t.Fatal(err)
	}
	if info, err := p.file.Stat(); err != nil || info.Size() != 1<<20 {
		t.Errorf("%v, %v", info, err)
	}
	if runtime.GOOS != "linux" {
		return
	}
	if err := reserve(p.file, 1<<62); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EFBIG) {
		t.Errorf("4 EiB were reserved: %v", err)
	}
	if err := p.begin(p.file, partID{file("a", 1<<62), newLayout(1<<62, 0)}); err == nil {
		t.Error("a part of 4 EiB was begun")
	}
	if p.leave(); len(named(t, dir)) > 0 {
		t.Errorf("a part for which there is no room keeps some: %q", named(t, dir))
	}
}

// A file that cannot be given its name is let go: its part is not held, and another pull goes on with it.
func TestAFileThatCannotBeSettledIsLetGo(t *testing.T) {
	_, root := partsFolder(t)
	p, id := journaled(t, root)
	p.file.Close()
	if err := (&pull{root: root}).settle(t.Context(), &arrival{partID: id, part: p}); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("settled: %v", err)
	}
	again, _, ok := adoptPart(root, p.name, id)
	if !ok {
		t.Fatal("its part is still held")
	}
	again.drop()
}

// An entry of the cache is open to whom the umask opens files, and to nobody else.
func TestReadOnlyOpensAFileToNobody(t *testing.T) {
	_, root := partsFolder(t)
	file, err := root.OpenFile("a", os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := errors.Join(file.Chmod(0o640), makeReadOnly(file)); err != nil {
		t.Fatal(err)
	}
	if info, err := file.Stat(); err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
