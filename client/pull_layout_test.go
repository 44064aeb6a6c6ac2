package client

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
)

// Pieces cover the file without gap or overlap, none crosses a link, and a journal of them stays small.
func TestPiecesCoverTheFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.Int64Range(1, 100), rapid.Int64Range(1, 1<<30), rapid.Int64Range(1, ballast.MaxFileSize)).Draw(t, "size")
		link := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(ballast.MinPartSize, 100<<20), rapid.Int64Range(1, size)).Draw(t, "link")
		if link > 0 && size/link > ballast.MaxParts {
			return
		}
		l := newLayout(size, link)
		n := l.pieces()
		if n < 1 || n > maxPieces+2*ballast.MaxParts || l.start(0) != 0 || l.start(n) != size {
			t.Fatalf("%+v: %d pieces from %d to %d", l, n, l.start(0), l.start(n))
		}
		for p := range n {
			from, to := l.start(p), l.start(p+1)
			if from >= to || to-from > l.piece || from/l.link != (to-1)/l.link {
				t.Fatalf("%+v: piece %d is %d to %d", l, p, from, to)
			}
			if (p%l.perLink == 0) != (from%l.link == 0) {
				t.Fatalf("%+v: piece %d at %d begins a link, or not", l, p, from)
			}
		}
	})
}
