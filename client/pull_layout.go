package client

// layout cuts a file into links, which are proved apart, and each link into pieces, which are noted as they land. The last
// of each has what remains.
type layout struct {
	size, link, piece int64 // bytes, all positive
	perLink           int   // pieces of a link
}

const (
	pieceGoal = 8 << 20 // bytes: what a killed pull fetches again, for each transfer
	maxPieces = 1 << 16 // of a file in one link; links round it up
)

// newLayout cuts a file of size bytes. Without a link size the file is one link.
func newLayout(size, link int64) layout {
	if link <= 0 || link > size {
		link = size
	}
	goal := max(pieceGoal, (size+maxPieces-1)/maxPieces)
	perLink := (link + goal - 1) / goal
	return layout{size, link, (link + perLink - 1) / perLink, int(perLink)}
}

func (l layout) pieces() int {
	return int(l.size/l.link)*l.perLink + int((l.size%l.link+l.piece-1)/l.piece)
}

// start is the offset of a piece, or the end of the file for the number of pieces.
func (l layout) start(piece int) int64 {
	return min(int64(piece/l.perLink)*l.link+int64(piece%l.perLink)*l.piece, l.size)
}
