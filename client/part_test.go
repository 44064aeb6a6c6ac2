package client

import (
	"os"
	"path/filepath"
	"slices"
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

// What a killed pull left goes at the next one's start, however young it is; what a living one writes stays, however
// old. A version published through the API alone may hold a file that is named as pull names its unfinished ones.
func TestPartsGoWithTheirPull(t *testing.T) {
	dir, root := partsFolder(t)
	f := ballast.File{Path: "sub/a"}
	if err := root.Mkdir("sub", 0o777); err != nil {
		t.Fatal(err)
	}
	alive, err := newPart(root, f)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.drop()
	dead, err := newPart(root, f)
	if err != nil {
		t.Fatal(err)
	}
	die(dead)
	mine := ".ballast-mine.part"
	if err := root.WriteFile("sub/"+mine, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * staleAfter)
	if err := root.Chtimes(alive.name, old, old); err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Base(alive.name), mine}
	slices.Sort(want)
	for name, act := range map[string]func(*pull) error{
		"sweep": func(p *pull) error { p.sweep(); return nil }, "tidy": (*pull).tidy,
		"tidy exactly": func(p *pull) error { p.o.Exact = true; return p.tidy() },
	} {
		if err := act(&pull{root: root, all: []ballast.File{f, {Path: "sub/" + mine}}}); err != nil {
			t.Fatal(err)
		}
		if got := named(t, filepath.Join(dir, "sub")); !slices.Equal(got, want) {
			t.Errorf("%s left %q, want %q", name, got, want)
		}
	}
	if err := alive.become("sub/a"); err != nil {
		t.Fatal(err)
	}
	if got := named(t, filepath.Join(dir, "sub")); !slices.Contains(got, "a") {
		t.Errorf("the folder holds %q", got)
	}
}

// A part that a sweep took before it was locked is none.
func TestAPartIsHeldOnlyUnderItsName(t *testing.T) {
	_, root := partsFolder(t)
	p, err := newPart(root, ballast.File{Path: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.drop()
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
