package hub

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// entry is a file or a folder of a tree.
type entry struct {
	Type       string      `json:"type"` // "file" or "directory"
	OID        string      `json:"oid"`
	Size       int64       `json:"size"`
	Path       string      `json:"path"`
	LFS        *lfs        `json:"lfs,omitempty"`
	LastCommit *lastCommit `json:"lastCommit,omitempty"`
}

type lastCommit struct {
	ID    string       `json:"id"`
	Title string       `json:"title"`
	Date  ballast.Time `json:"date"`
}

// find is where a path is among files, or would be.
func find(files []ballast.File, path string) (int, bool) {
	return slices.BinarySearchFunc(files, path, func(f ballast.File, p string) int { return strings.Compare(f.Path, p) })
}

func fileEntry(f ballast.File) entry {
	text := pointer(f)
	return entry{Type: "file", OID: blobID(text), Size: f.Size, Path: f.Path, LFS: &lfs{OID: f.Digest.Encoded(), Size: f.Size, PointerSize: len(text)}}
}

// folderEntry is a folder, whose id stands for the commit and the path: it is the same whenever it is listed.
func folderEntry(s engine.Snapshot, path string) entry {
	sum := sha256.Sum256([]byte(s.Version.Digest.String() + "\x00" + path))
	return entry{Type: "directory", OID: hex.EncodeToString(sum[:])[:commitDigits], Path: path}
}

// spot is a place in a tree: a folder, or a file.
type spot struct {
	folder string
	file   *ballast.File
}

// spots lists a folder by path, a folder before what is in it; recursive lists all that is below. Folders may be a hundred
// times as many as files, so they are yielded one by one. ok is false when there is no such folder.
func spots(s engine.Snapshot, folder string, recursive bool) (list iter.Seq[spot], ok bool) {
	if folder != "" {
		folder += "/"
	}
	begin, _ := find(s.Files, folder)
	ok = folder == "" || begin < len(s.Files) && strings.HasPrefix(s.Files[begin].Path, folder)
	return func(yield func(spot) bool) {
		open := "" // the folder listed last
		for i := range s.Files[begin:] {
			f := &s.Files[begin+i]
			below, within := strings.CutPrefix(f.Path, folder)
			if !within {
				return
			}
			depth := strings.Count(below, "/")
			if !recursive {
				depth = min(depth, 1)
			}
			at := len(folder)
			for range depth {
				at += strings.Index(f.Path[at:], "/") + 1
				if sub := f.Path[:at]; !strings.HasPrefix(open, sub) {
					open = sub
					if !yield(spot{folder: strings.TrimSuffix(sub, "/")}) {
						return
					}
				}
			}
			if (recursive || depth == 0) && !yield(spot{file: f}) {
				return
			}
		}
	}, ok
}

// entriesAt describes what is at some spots.
func entriesAt(s engine.Snapshot, spots []spot) []entry {
	list := make([]entry, 0, len(spots))
	for _, at := range spots {
		if at.file == nil {
			list = append(list, folderEntry(s, at.folder))
		} else {
			list = append(list, fileEntry(*at.file))
		}
	}
	return list
}

// dated adds the version to each entry, when expand asks for it: it is the one commit that a snapshot knows of.
func dated(s engine.Snapshot, list []entry, expand bool) []entry {
	if expand {
		last := &lastCommit{commitOf(s.Version), title(s.Version), s.Version.CreatedAt}
		for i := range list {
			list[i].LastCommit = last
		}
	}
	return list
}

// tree answers a page of a folder. The link to the next page names the commit, so that all pages are of one version.
func (h *Hub) tree(w http.ResponseWriter, r *request) error {
	s, err := h.snapshot(w, r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	list, ok := spots(s, r.path, isTrue(q.Get("recursive")))
	if !ok {
		w.Header().Set(headerCode, entryNotFound)
		return ballast.Errorf(ballast.CodeNotFound, "%s has no folder %q", s.Version.Key, r.path)
	}
	at := "/api/models/" + r.repo + "/tree/" + commitOf(s.Version)
	if r.path != "" {
		at += "/" + url.PathEscape(r.path)
	}
	page, err := pageOf(h, w, r, at, list)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, dated(s, entriesAt(s, page), isTrue(q.Get("expand"))))
}

// isTrue reads a flag; Python writes it with a capital.
func isTrue(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

// maxPathsBytes bounds what pathsInfo reads.
const maxPathsBytes = 4 << 20

// pathsInfo answers what is at some paths; those where nothing is it leaves out.
func (h *Hub) pathsInfo(w http.ResponseWriter, r *request) error {
	asked, err := h.readPaths(w, r)
	if err != nil {
		return err
	}
	return long(func(h *Hub, w http.ResponseWriter, r *request) error { return h.whatIsAt(w, r, asked) })(h, w, r)
}

func (h *Hub) whatIsAt(w http.ResponseWriter, r *request, asked paths) error {
	s, err := h.snapshot(w, r)
	if err != nil {
		return err
	}
	list := []entry{}
	for _, path := range asked.Paths {
		if at, ok := find(s.Files, path); ok {
			list = append(list, fileEntry(s.Files[at]))
		} else if at, _ := find(s.Files, path+"/"); at < len(s.Files) && strings.HasPrefix(s.Files[at].Path, path+"/") {
			list = append(list, folderEntry(s, path))
		}
	}
	return writeJSON(w, http.StatusOK, dated(s, list, asked.Expand))
}

// paths is what pathsInfo is asked: JSON from JavaScript, a form from Python.
type paths struct {
	Paths  pathList `json:"paths"`
	Expand bool     `json:"expand"`
}

// pathList is given up at the first path too many, while it is decoded: the longest body, of empty paths, would take twenty
// times its bytes.
type pathList []string

func (l *pathList) add(path string) error {
	if len(*l) == ballast.MaxFiles {
		return ballast.Errorf(ballast.CodeTooLarge, "over %d paths; ask for fewer at once", ballast.MaxFiles)
	}
	*l = append(*l, path)
	return nil
}

// UnmarshalJSON implements json.Unmarshaler. Errors: too_large.
func (l *pathList) UnmarshalJSON(text []byte) error {
	*l = nil
	d := json.NewDecoder(bytes.NewReader(text))
	switch open, err := d.Token(); {
	case err != nil || open == nil:
		return err
	case open != json.Delim('['):
		return fmt.Errorf("hub: paths: %.20q is no list", text)
	}
	for d.More() {
		var path string
		if err := errors.Join(d.Decode(&path), l.add(path)); err != nil {
			return err
		}
	}
	return nil
}

// parseForm reads a form field by field: net/url reads no more than 10,000 of them, and keeps those that nobody asked for.
func parseForm(body []byte) (asked paths, err error) {
	for field := range bytes.SplitSeq(body, []byte("&")) {
		name, text, _ := strings.Cut(string(field), "=")
		value, err := url.QueryUnescape(text)
		switch {
		case err != nil:
			return asked, err
		case name == "expand":
			asked.Expand = isTrue(value)
		case name == "paths":
			if err := asked.Paths.add(value); err != nil {
				return asked, err
			}
		}
	}
	return asked, nil
}

// readPaths reads the body. Whoever sends it slowly keeps waiting who of its own scope sends one, and nobody's answers.
func (h *Hub) readPaths(w http.ResponseWriter, r *request) (asked paths, err error) {
	size := r.ContentLength
	if size < 0 || size > maxPathsBytes {
		size = maxPathsBytes
	}
	leave, err := h.bodies.Take(r.Context(), r.principal.Turn(), size)
	if err != nil {
		return asked, err
	}
	defer leave()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPathsBytes))
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && kind == "application/json" {
		err = json.Unmarshal(body, &asked)
	} else if err == nil {
		asked, err = parseForm(body)
	}
	if err != nil && ballast.CodeOf(err) != ballast.CodeTooLarge {
		err = ballast.Errorf(ballast.CodeInvalid, "the body is neither a form nor JSON with paths, or has over %d bytes", maxPathsBytes).Because(err)
	}
	return asked, err
}
