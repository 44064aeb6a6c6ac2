package client

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"

	"github.com/ballast-registry/ballast"
)

// partID is what a part is of: the file, and how it is cut.
type partID struct {
	ballast.File
	layout
}

// journal says which pieces of a part have landed. It lies in the part itself, behind the place of the file's last byte, and
// is cut off before the file gets its name: a head that binds it to the file and its layout, and one byte a piece, written
// after the piece. What it says is never relied on: a pull that goes on hashes what lies there. So whatever a crash or a loss
// of power keeps of part and journal, it costs fetching something again and no more.
type journal struct {
	head int64 // offset; 0: no journal is kept
	size int64 // of the file
}

const (
	journalMark = "ballast-part-1\n\x00"
	headSize    = int64(len(journalMark)) + 64 + 3*8 + 4
)

// headOf is the head of a journal: mark, digest, size, link and piece size, and a checksum, since a head may be torn.
func headOf(id partID) []byte {
	b := append([]byte(journalMark), id.Digest.Encoded()...)
	for _, n := range []int64{id.Size, id.link, id.piece} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// begin takes the room for a file and its journal, and writes a journal in which no piece has landed.
func (j *journal) begin(file *os.File, id partID) error {
	head := headOf(id)
	if err := reserve(file, id.Size+int64(len(head)+id.pieces())); err != nil {
		return err
	}
	if _, err := file.WriteAt(head, id.Size); err != nil {
		return err
	}
	j.head, j.size = id.Size, id.Size
	return nil
}

// resume reads the journal that another pull left. ok is false when it is not of this file and layout, or torn; an error says
// nothing of that.
func (j *journal) resume(file *os.File, id partID) (landed []int, ok bool, err error) {
	info, err := file.Stat()
	if err != nil {
		return nil, false, err
	}
	j.head, j.size = id.Size, id.Size
	head, pieces := headOf(id), id.pieces()
	if info.Size() == id.Size { // it ended between the cut of its journal and its new name
		if err := j.begin(file, id); err != nil {
			return nil, false, err
		}
		for i := range pieces {
			if err := j.note(file, i, true); err != nil {
				return nil, false, err
			}
			landed = append(landed, i)
		}
		return landed, true, nil
	}
	b := make([]byte, len(head)+pieces)
	n, _ := file.ReadAt(b, j.head) // a part that cannot be read is of no use either
	if n != len(b) || info.Size() != j.head+int64(len(b)) || !bytes.Equal(b[:len(head)], head) {
		return nil, false, nil
	}
	for i, mark := range b[len(head):] {
		if mark == 1 {
			landed = append(landed, i)
		}
	}
	return landed, true, nil
}

// note says that a piece has landed, or that it has not.
func (j *journal) note(file *os.File, piece int, landed bool) error {
	if j.head == 0 {
		return nil
	}
	mark := []byte{0}
	if landed {
		mark[0] = 1
	}
	_, err := file.WriteAt(mark, j.head+headSize+int64(piece))
	return err
}

// cut removes the journal from a file that is proved. Whoever ends between this and the new name leaves a part that is as long
// as the file: all of it had landed.
func (j *journal) cut(file *os.File) error {
	if j.head == 0 {
		return nil
	}
	return file.Truncate(j.size)
}
