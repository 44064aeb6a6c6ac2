package client

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
)

// part is the unfinished file of one that is being fetched. It lies beside its place under a random name, so that two
// pulls into one folder do not meet. Its lock, which ends with the process however that ends, says that its pull lives.
type part struct {
	root *os.Root
	name string
	file *os.File
	lock *os.File // another handle than file, held longer; nil where there are no locks
}

// partTries is how often newPart begins anew when another pull took its file for an abandoned one.
const partTries = 5

// newPart makes the part of f.
func newPart(root *os.Root, f ballast.File) (*part, error) {
	for range partTries {
		p := &part{root: root, name: partialName(f)}
		var err error
		if p.file, err = root.OpenFile(p.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666); err != nil {
			return nil, err
		}
		held, err := p.hold()
		if held {
			return p, nil
		}
		if p.drop(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%q: another program removes it over and over", partialName(f))
}

// hold takes the lock. It reports false when a sweep came between the making of the file and its lock.
func (p *part) hold() (held bool, err error) {
	lock, err := p.root.OpenFile(p.name, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	locked, err := tryLock(lock)
	if err == nil && locked && p.isNamed() {
		p.lock = lock
		return true, nil
	}
	_ = lock.Close() // nothing was written to it
	return err != nil, nil
}

// isNamed reports whether the file still has its name.
func (p *part) isNamed() bool {
	mine, err := p.file.Stat()
	if err != nil {
		return false
	}
	named, err := p.root.Lstat(p.name)
	return err == nil && os.SameFile(mine, named)
}

// become moves a whole file to its place. Closing comes first, since it may tell of bytes that could not be written;
// the lock goes last, since a part without one is anybody's to remove.
func (p *part) become(path string) error {
	defer p.unlock()
	if err := p.file.Close(); err != nil {
		_ = p.root.Remove(p.name)
		return err
	}
	err := p.root.Rename(p.name, path)
	if err != nil {
		_ = p.root.Remove(p.name)
	}
	return err
}

// drop removes the part.
func (p *part) drop() {
	defer p.unlock()
	_ = p.file.Close()
	_ = p.root.Remove(p.name)
}

func (p *part) unlock() {
	if p.lock != nil {
		_ = p.lock.Close() // nothing was written to it
	}
}

func isPartial(p string) bool {
	ok, _ := path.Match(ballast.PartialPattern, path.Base(p))
	return ok
}

func partialName(f ballast.File) string {
	return path.Join(path.Dir(f.Path), strings.Replace(ballast.PartialPattern, "*", rand.Text(), 1))
}

// staleAfter is the age at which a part without a lock can belong to no running pull: those write all the time.
const staleAfter = time.Hour

// removeAbandoned removes the part at name, a regular file, unless its pull may live: it does while the lock is held,
// and where there are no locks while the file is young. The lock is held over the removal, so that a pull that has just
// made the file sees either the lock or that its file is gone.
func removeAbandoned(root *os.Root, name string) {
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	file, err := root.OpenFile(name, os.O_WRONLY, 0)
	free := false
	if err == nil {
		defer file.Close()
		free, err = tryLock(file)
	}
	if err != nil {
		free = time.Since(info.ModTime()) > staleAfter
	}
	if free {
		_ = root.Remove(name) // it may be somebody else's, and is in nobody's way
	}
}
