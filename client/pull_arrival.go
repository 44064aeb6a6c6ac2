package client

import (
	"encoding/hex"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
)

// arrival is a file that is being fetched: pieces that land in any order, and stretches that are hashed in theirs. The
// stock's lock guards what changes.
type arrival struct {
	partID
	access *access
	part   *part // since it is open

	stage     stage
	pieces    []pieceState
	stretches []*stretch
	unproved  int  // stretches
	doubted   bool // its chain did not fit what was fetched
}

// stage is how far an arrival is.
type stage int

const (
	stageWaiting stage = iota // for a worker to open it
	stageOpening
	stageOpen
	stageArrived // all of it is proved
)

// pieceState is where a piece is.
type pieceState uint8

const (
	pieceFree   pieceState = iota // to be fetched
	pieceTaken                    // being fetched
	pieceLanded                   // in the part
)

// stretch is what is hashed in one go: a link that is proved by the chain, or all of the file.
type stretch struct {
	a          *arrival
	first, end int         // pieces
	before     hash.State  // of hashing at its start
	behind     *hash.State // that hashing has to come to; nil at the file's end, where it is the digest
	next       int         // the first piece that is not hashed
	sum        *hash.Stretch
	busy       bool // somebody hashes it
	stale      bool // of a chain that is no longer believed
	found      bool // some of it was there from an earlier pull
	wrong      int  // times that it was not what it has to be
}

// wrongAtMost is how often a stretch is fetched.
const wrongAtMost = 2

// newArrival makes the arrival of a file that is not empty. A chain of another form than the file's is none.
func newArrival(f ballast.File, info ballast.FileInfo, way *access) *arrival {
	a := &arrival{access: way}
	chain := chainOf(f, info)
	if chain == nil {
		info.LinkSize = 0
	}
	a.partID = partID{f, newLayout(f.Size, info.LinkSize)}
	a.cut(chain)
	return a
}

// cut makes the pieces and stretches of a file with a chain, or without one.
func (a *arrival) cut(chain []hash.State) {
	a.pieces = make([]pieceState, a.layout.pieces())
	before := hash.Start()
	for i := range len(chain) + 1 {
		s := &stretch{a: a, first: i * a.perLink, next: i * a.perLink, end: len(a.pieces), before: before}
		if i < len(chain) {
			s.end, s.behind = s.first+a.perLink, &chain[i]
			before = chain[i]
		}
		a.stretches = append(a.stretches, s)
	}
	a.unproved = len(a.stretches)
}

func chainOf(f ballast.File, info ballast.FileInfo) []hash.State {
	if info.LinkSize < ballast.MinPartSize || info.LinkSize%hash.BlockSize != 0 || len(info.Chain) != ballast.PartCount(f.Size, info.LinkSize)-1 {
		return nil
	}
	chain := make([]hash.State, len(info.Chain))
	for i, text := range info.Chain {
		if n, err := hex.Decode(chain[i][:], []byte(text)); n != len(chain[i]) || err != nil {
			return nil
		}
	}
	return chain
}

// right reports whether a stretch that was hashed is what it has to be.
func (s *stretch) right() bool {
	if s.behind == nil {
		return s.sum.Digest() == s.a.Digest
	}
	return s.sum.State() == *s.behind
}

// String names the range for people.
func (s *stretch) String() string {
	return fmt.Sprintf("%q, bytes %d to %d", s.a.Path, s.a.start(s.first), s.a.start(s.end)-1)
}

// doubt gives the chain up: the whole file is one stretch, hashed from what has landed.
func (a *arrival) doubt() {
	for _, s := range a.stretches {
		s.stale = true
	}
	a.doubted = true
	a.stretches = []*stretch{{a: a, end: len(a.pieces), before: hash.Start()}}
	a.unproved = 1
}

// otherBytes is the verdict on a file that stays wrong.
func (a *arrival) otherBytes(actual digest.Digest) error {
	e := ballast.Errorf(ballast.CodeIntegrity, "%q: what the object store sent has another digest, twice: expected %s, actual %s; the stored object is damaged, or something on the way changes it: tell the registry's operator", a.Path, a.Digest, actual)
	e.Expected, e.Actual = a.Digest, actual
	return e
}
