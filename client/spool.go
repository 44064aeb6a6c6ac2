package client

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// spool is the folder that an import has on this machine while it runs: one for each registry, origin and target. In it lie
//
//	attempt   of the upload, as attempts saves it
//	lock      held by the import that runs
//	digests   a line for each file whose digest only fetching it tells
//	*.bytes   a file that is being fetched, or sent
//	*.proof   how much of it is known to be right
//
// A file leaves it as soon as the registry has its contents, and the folder goes with the last one.
type spool struct {
	dir  string
	lock *os.File

	mu    sync.Mutex
	known map[string]spooledDigest // by path
	notes *os.File
}

// spooledDigest is a line of digests: what a version of a file has.
type spooledDigest struct {
	Path    string        `json:"path"`
	Version string        `json:"version"`
	Size    int64         `json:"size"` // bytes
	Digest  digest.Digest `json:"digest"`
}

// spoolLife is how long an import that was given up keeps what it fetched.
const spoolLife = 14 * 24 * time.Hour

// openSpool opens the folder of an import below dir, and removes those of imports that nobody went on with. Errors: conflict
// while another import has it.
func openSpool(dir, registry string, from Origin, target ballast.Ref) (*spool, error) {
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, ballast.Errorf(ballast.CodeInvalid, "no folder to keep files in until they are sent: name one with --spool")
		}
		dir = filepath.Join(cache, "ballast", "imports")
	}
	of := ballast.DigestOf([]byte(strings.Join([]string{registry, target.String(), from.String()}, "\x00")))
	s := &spool{dir: filepath.Join(dir, of.Encoded()[:32]), known: make(map[string]spooledDigest)}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, s.trouble("", 0, err)
	}
	if err := s.take(); err != nil {
		return nil, err
	}
	sweepSpools(dir, time.Now().Add(-spoolLife))
	if err := s.readNotes(); err != nil {
		s.close()
		return nil, s.trouble("", 0, err)
	}
	return s, nil
}

// take locks the folder. Where there are no locks nobody is kept from it.
func (s *spool) take() (err error) {
	if s.lock, err = os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return s.trouble("", 0, err)
	}
	if held, err := tryLock(s.lock); err == nil && !held {
		s.close()
		return ballast.Errorf(ballast.CodeConflict, "another import from the same place to the same target runs on this machine, with the folder %s; wait for it, or end it", s.dir)
	}
	return nil
}

// sweepSpools removes the folders of imports in which nothing happened since a time. Where there are no locks nobody could tell
// whether one runs, and all stay.
func sweepSpools(dir string, since time.Time) {
	found, _ := filepath.Glob(filepath.Join(dir, strings.Repeat("[0-9a-f]", 32), "lock"))
	for _, lock := range found {
		if old := (&spool{dir: filepath.Dir(lock)}); !old.touched(since) {
			old.sweep(since)
		}
	}
}

func (s *spool) sweep(since time.Time) {
	lock, err := os.OpenFile(s.path("lock"), os.O_RDWR, 0)
	if err != nil {
		return
	}
	s.lock = lock
	defer s.close()
	if held, err := tryLock(lock); err == nil && held && !s.touched(since) {
		_ = os.RemoveAll(s.dir) // what stays is in nobody's way
	}
}

// touched reports whether a file of the folder was written since a time, or may have been.
func (s *spool) touched(since time.Time) bool {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return true
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || !info.ModTime().Before(since) {
			return true
		}
	}
	return false
}

func (s *spool) path(name string) string { return filepath.Join(s.dir, name) }

func (s *spool) close() {
	for _, f := range []*os.File{s.notes, s.lock} {
		if f != nil {
			_ = f.Close() // notes are hints
		}
	}
}

// remove removes the folder, of an import that is done. The lock goes last.
func (s *spool) remove() {
	_ = os.RemoveAll(s.dir) // what stays is in nobody's way
	s.close()
}

// memory keeps the attempt of the upload.
func (s *spool) memory() attempts { return attemptsIn(s.path("attempt")) }

// readNotes reads the digests of an earlier run. A line that a crash cut is none.
func (s *spool) readNotes() (err error) {
	s.notes, err = os.OpenFile(s.path("digests"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(s.notes)
	for lines.Scan() {
		var n spooledDigest
		if json.Unmarshal(lines.Bytes(), &n) != nil {
			continue
		}
		if _, err := ballast.ParseDigest(n.Digest.String()); err == nil {
			s.known[n.Path] = n
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return err
	}
	_, err = s.notes.WriteString("\n") // ends a line that was cut
	return err
}

// digestOf is the digest of a file, where it is stated or an earlier fetch of the same version told.
func (s *spool) digestOf(f OriginFile) (digest.Digest, bool) {
	if f.Size == 0 {
		return ballast.EmptyDigest, true
	}
	if f.Digest != "" {
		return f.Digest, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.known[f.Path]
	return n.Digest, ok && n.Version == f.Version && n.Size == f.Size && f.Version != ""
}

// note keeps the digest that fetching a file told.
func (s *spool) note(f OriginFile, d digest.Digest) error {
	if f.Digest != "" {
		return nil
	}
	n := spooledDigest{f.Path, f.Version, f.Size, d}
	line, err := json.Marshal(n)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[f.Path] = n
	if _, err := s.notes.Write(append(line, '\n')); err != nil {
		return s.trouble(f.Path, 0, err)
	}
	return nil
}

// trouble says what the folder suffers. lacking is how many bytes of the file at path were still to come.
func (s *spool) trouble(path string, lacking int64, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s, where files lie until they are sent: %w; mend that, or name another folder with --spool", s.dir, bareOfPath(err))
	}
	what := ""
	if lacking > 0 {
		what = fmt.Sprintf(" for %q, of which %d bytes are still to come", path, lacking)
	}
	return fmt.Errorf("%s, where files lie until they are sent, has no room%s: %w; make room and run the same command again, or name a folder elsewhere with --spool", s.dir, what, bareOfPath(err))
}

// bareOfPath strips what stands before the reason: the folder is named already.
func bareOfPath(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
