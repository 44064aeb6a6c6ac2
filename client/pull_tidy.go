package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/ballast-registry/ballast"
)

// sweep looks at the parts that earlier pulls left in the version's folders: those of files that the version has there wait
// to be gone on with, and the others are removed, so that their room is there again.
func (p *pull) sweep() {
	ours, ofVersion := p.paths(), make(map[string]bool)
	folders := map[string]bool{".": true}
	for _, f := range p.all {
		folders[path.Dir(f.Path)] = true
		ofVersion[partKey(f.Path, f.Digest.Encoded())] = true
	}
	for folder := range folders {
		entries, _ := fs.ReadDir(p.root.FS(), folder) // what cannot be read is told of when it is written to
		for _, e := range entries {
			at := path.Join(folder, e.Name())
			if !isPartial(at) || ours[at] {
				continue
			}
			if key := partKey(at, partialDigest(at)); ofVersion[key] {
				p.parts[key] = append(p.parts[key], at)
			} else {
				removeAbandoned(p.root, at)
			}
		}
	}
}

// partKey is where parts with a digest are looked for: in the folder of the file.
func partKey(at, digest string) string { return digest + " " + path.Dir(at) }

// leftovers are the names of parts of f that earlier pulls left, for one caller.
func (p *pull) leftovers(f ballast.File) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := partKey(f.Path, f.Digest.Encoded())
	names := p.parts[key]
	delete(p.parts, key)
	return names
}

// paths are those of the version's files, selected or not, and of the folders that they lie in.
func (p *pull) paths() map[string]bool {
	out := make(map[string]bool, len(p.all))
	for _, f := range p.all {
		for at := f.Path; at != "."; at = path.Dir(at) {
			out[at] = true
		}
	}
	return out
}

// tidy counts, and with Exact removes, what is in the folder and not in the version, and removes parts that earlier pulls
// left anywhere in it, but for those of files that were not selected now.
func (p *pull) tidy() error {
	others, parts, err := p.strangers()
	for _, at := range parts {
		if !p.mayGoOn(at) {
			removeAbandoned(p.root, at)
		}
	}
	if err != nil || !p.o.Exact {
		p.others = len(others)
		return p.inTheWay(err)
	}
	return p.remove(others)
}

// mayGoOn reports whether a part is of a file of the version that was not selected.
func (p *pull) mayGoOn(part string) bool {
	for _, f := range p.all {
		if _, wanted := p.wanted[f.Path]; !wanted && partKey(f.Path, f.Digest.Encoded()) == partKey(part, partialDigest(part)) {
			return true
		}
	}
	return false
}

// strangers are what is in the folder and not in the version: files, with Exact also whole folders, and parts.
func (p *pull) strangers() (others map[string]fs.DirEntry, parts []string, err error) {
	ours := p.paths()
	others = map[string]fs.DirEntry{}
	err = fs.WalkDir(p.root.FS(), ".", func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && p.o.Exact || at == ".":
			return err
		case err != nil: // somebody else's folder, or gone meanwhile
		case ours[at]: // whatever its name looks like
		case isPartial(at) && d.Type().IsRegular():
			parts = append(parts, at)
		case d.IsDir() && !p.o.Exact: // its files are counted
		case d.IsDir():
			others[at] = d
			return fs.SkipDir
		default:
			others[at] = d
		}
		return nil
	})
	return others, parts, err
}

// remove removes entries of the folder, and lists the files among and in them.
func (p *pull) remove(entries map[string]fs.DirEntry) error {
	for at, d := range entries {
		files := []string{at}
		if d.IsDir() {
			files = filesIn(p.root.FS(), at)
		}
		if err := p.root.RemoveAll(at); err != nil {
			return p.inTheWay(err)
		}
		p.removed = append(p.removed, files...)
	}
	return nil
}

func filesIn(fsys fs.FS, dir string) (paths []string) {
	_ = fs.WalkDir(fsys, dir, func(at string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, at)
		}
		return nil
	})
	return paths
}

// inTheWay explains an error of the local folder.
func (p *pull) inTheWay(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("folder %q: its disk is full; free some room and run it again: what has arrived is kept: %w", p.o.Dir, err)
	case errors.As(err, &pe):
		return p.blocked(pe.Path, pe.Err)
	case errors.As(err, &le):
		return p.blocked(le.New, le.Err)
	}
	return err
}

func (p *pull) blocked(path string, cause error) error {
	return ballast.Errorf(ballast.CodeInvalid, "%q in folder %q: %w; move it away, or pull into another folder", path, p.o.Dir, cause)
}
