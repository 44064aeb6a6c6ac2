package client

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// hashes remembers what files were hashed to, so that a file which nobody touched is not read again. A file is the same one
// when its device, inode, path, size and both of its times are: whoever writes into a file can put back its time of
// modification, and not the time of change of its inode.
//
// There is a file for each folder that files were pushed from, a line for each of these. It is replaced whole, with what
// others put there in the meantime; a line that is damaged is none. What cannot be read or written is not remembered.
type hashes struct {
	dir    string // empty: nothing is remembered
	ignore bool

	mu      sync.Mutex
	folders map[string]*knownFolder
	saved   time.Time
}

// knownFolder is what is remembered of one folder's files, by their paths.
type knownFolder struct {
	files map[string]known
	dirty bool
}

// known is what is remembered of one file.
type known struct {
	Path   string        `json:"path"` // absolute
	Digest digest.Digest `json:"digest"`
	Chain  []string      `json:"chain,omitempty"` // of links of linkSize bytes
	identity
	Hashed time.Time `json:"hashed"` // when reading began
}

// identity is what is the same for a file that nobody touched. The zero one is of a system that does not tell.
type identity struct {
	Device   uint64    `json:"device"`
	Inode    uint64    `json:"inode"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Changed  time.Time `json:"changed"`
}

func (i identity) equal(other identity) bool {
	return i.Device == other.Device && i.Inode == other.Inode && i.Size == other.Size && i.Modified.Equal(other.Modified) && i.Changed.Equal(other.Changed)
}

// settled is how long before it is hashed a file must have been left alone: a change within one tick of a file system's
// clock, which is 2 s at worst, does not show in its times.
const settled = 2 * time.Second

// trusted reports whether what is remembered can be of no earlier content. A time in the future is no time.
func (k known) trusted() bool {
	limit := k.Hashed.Add(-settled)
	return k.Inode != 0 && k.Modified.Before(limit) && k.Changed.Before(limit)
}

// saveEvery is what hashing is lost at most when the push is killed, and the file that is just being read.
const saveEvery = 10 * time.Second

const (
	maxKnownBytes   = 16 << 20 // of a folder's file
	maxKnownFolders = 4096     // more are removed, those first that were written longest ago
)

func newHashes(dir string, ignore bool) *hashes {
	h := &hashes{dir: dir, ignore: ignore, folders: make(map[string]*knownFolder), saved: time.Now()}
	if dir == "" {
		if cache, err := os.UserCacheDir(); err == nil {
			h.dir = filepath.Join(cache, "ballast", "hashes")
		}
	}
	return h
}

// digest returns what a file was hashed to when it was last read, if it is as it was, and the states on the way there.
func (h *hashes) digest(file string, info fs.FileInfo) (d digest.Digest, chain []string, ok bool) {
	id, ok := identityOf(info)
	path, err := filepath.Abs(file)
	if h.dir == "" || h.ignore || !ok || err != nil {
		return "", nil, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	k, found := h.folder(filepath.Dir(path)).files[path]
	if !found || !k.equal(id) || !k.trusted() {
		return "", nil, false
	}
	if len(k.Chain) == ballast.PartCount(k.Size, linkSize)-1 {
		chain = k.Chain
	}
	return k.Digest, chain, true
}

// keep remembers a file that was read between began and now, if it was left alone for long enough before.
func (h *hashes) keep(file string, info fs.FileInfo, d digest.Digest, chain []string, began time.Time) {
	id, ok := identityOf(info)
	path, err := filepath.Abs(file)
	k := known{Path: path, Digest: d, Chain: chain, identity: id, Hashed: began.Round(0)}
	if h.dir == "" || !ok || err != nil || !k.trusted() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	folder := h.folder(filepath.Dir(path))
	if old, found := folder.files[path]; found && old.equal(id) && old.Digest == d && len(old.Chain) == len(chain) && old.trusted() {
		return
	}
	folder.files[path], folder.dirty = k, true
	if time.Since(h.saved) > saveEvery {
		h.write()
	}
}

// folder reads what is remembered of a folder, once.
func (h *hashes) folder(dir string) *knownFolder {
	f := h.folders[dir]
	if f == nil {
		f = &knownFolder{files: readKnown(h.at(dir))}
		h.folders[dir] = f
	}
	return f
}

func (h *hashes) at(dir string) string {
	return filepath.Join(h.dir, ballast.DigestOf([]byte(dir)).Encoded())
}

// save writes down what is new.
func (h *hashes) save() {
	if h.dir == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write()
}

func (h *hashes) write() {
	h.saved = time.Now()
	wrote := false
	for dir, f := range h.folders {
		if f.dirty {
			f.dirty, wrote = false, true
			writeKnown(h.at(dir), f.files)
		}
	}
	if wrote {
		h.prune()
	}
}

// prune removes what was written longest ago.
func (h *hashes) prune() {
	entries, err := os.ReadDir(h.dir)
	if err != nil || len(entries) <= maxKnownFolders {
		return
	}
	age := func(e os.DirEntry) time.Time {
		info, err := e.Info()
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return age(a).Compare(age(b)) })
	for _, e := range entries[:len(entries)-maxKnownFolders] {
		_ = os.Remove(filepath.Join(h.dir, e.Name()))
	}
}

// readKnown reads the lines that are whole.
func readKnown(file string) map[string]known {
	files := make(map[string]known)
	f, err := os.Open(file)
	if err != nil {
		return files
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() > maxKnownBytes {
		return files
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		if k, ok := parseKnown(lines.Bytes()); ok {
			files[k.Path] = k
		}
	}
	return files
}

// A line is the CRC-32C of what follows it, as 8 hex digits, a blank, and a known as JSON.
func parseKnown(line []byte) (k known, ok bool) {
	sum, text, ok := bytes.Cut(line, []byte(" "))
	if !ok || string(sum) != checkOf(text) || json.Unmarshal(text, &k) != nil {
		return k, false
	}
	_, err := ballast.ParseDigest(k.Digest.String())
	return k, err == nil
}

func checkOf(text []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
}

// writeKnown replaces a folder's file. What another push has put there since it was read stays, where it is of another file
// or newer.
func writeKnown(file string, files map[string]known) {
	for path, k := range readKnown(file) {
		if own, ok := files[path]; !ok || own.Hashed.Before(k.Hashed) {
			files[path] = k
		}
	}
	all := make([]known, 0, len(files))
	for _, k := range files {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b known) int { return cmp.Or(b.Hashed.Compare(a.Hashed), cmp.Compare(a.Path, b.Path)) })
	var out bytes.Buffer
	for _, k := range all {
		text, err := json.Marshal(k)
		if err != nil || out.Len()+len(text)+10 > maxKnownBytes {
			continue
		}
		fmt.Fprintf(&out, "%s %s\n", checkOf(text), text)
	}
	dir := filepath.Dir(file)
	if os.MkdirAll(dir, 0o700) != nil {
		return
	}
	fresh, err := os.CreateTemp(dir, filepath.Base(file)+".*")
	if err != nil {
		return
	}
	_, err = fresh.Write(out.Bytes())
	if cerr := fresh.Close(); err != nil || cerr != nil || os.Rename(fresh.Name(), file) != nil {
		_ = os.Remove(fresh.Name())
	}
}
