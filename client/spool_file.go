package client

import (
	"context"
	"crypto/sha1" // git's ids are made of it
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	gohash "hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
)

// proofEvery is how many bytes of a file come between two proofs: what one that was killed fetches again.
const proofEvery = 1 << 20

// spooled is a file in the spool. Beside it lies its proof: the version that it is of, a number of bytes, and the SHA-256 of
// so many of its first bytes. A process that is killed leaves both as they were written; whatever else happens to the
// machine, bytes that do not fit the proof are fetched again.
type spooled struct {
	spool  *spool
	of     OriginFile
	id     [sha256.Size]byte
	file   *os.File
	proof  *os.File
	proven int64 // bytes

	sum *hash.Hasher
	git gohash.Hash // nil when nothing is compared with it
}

// proofSize is the length of a proof: id, bytes, SHA-256.
const proofSize = sha256.Size + 8 + sha256.Size

// openFile opens the file that is to become f, and reads what of it an earlier run left, for its parts too.
func (s *spool) openFile(ctx context.Context, f OriginFile, partSize int64) (*spooled, error) {
	p := &spooled{spool: s, of: f, id: sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", f.Path, f.Version, f.Size))}
	var err error
	for name, to := range map[string]**os.File{p.bytesName(): &p.file, p.proofName(): &p.proof} {
		if *to, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			p.close()
			return nil, s.trouble(f.Path, f.Size, err)
		}
	}
	if err := p.adopt(ctx, partSize); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *spooled) name() string {
	return p.spool.path(ballast.DigestOf([]byte(p.of.Path)).Encoded()[:32])
}

func (p *spooled) bytesName() string { return p.name() + ".bytes" }
func (p *spooled) proofName() string { return p.name() + ".proof" }

// adopt keeps of the file what is proven.
func (p *spooled) adopt(ctx context.Context, partSize int64) error {
	size, want := p.readProof()
	p.begin(partSize)
	if n, err := io.Copy(p, &live{ctx, io.NewSectionReader(p.file, 0, size)}); err != nil || n != size || p.sum.Digest() != want {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.begin(partSize)
	}
	p.proven = p.sum.Size()
	info, err := p.file.Stat()
	if err == nil && info.Size() > p.proven {
		err = p.file.Truncate(p.proven)
	}
	if err == nil {
		_, err = p.file.Seek(p.proven, io.SeekStart)
	}
	if err != nil {
		return p.spool.trouble(p.of.Path, p.lacking(), err)
	}
	return nil
}

func (p *spooled) begin(partSize int64) {
	p.sum, p.git = hash.New(partSize), nil
	if p.of.GitBlob != "" {
		p.git = sha1.New()
		fmt.Fprintf(p.git, "blob %d\x00", p.of.Size)
	}
}

// Write implements io.Writer: it hashes.
func (p *spooled) Write(b []byte) (int, error) {
	if p.git != nil {
		p.git.Write(b)
	}
	return p.sum.Write(b)
}

func (p *spooled) lacking() int64 { return p.of.Size - p.sum.Size() }

// keep appends bytes that came.
func (p *spooled) keep(b []byte) error {
	n, err := p.file.Write(b)
	_, _ = p.Write(b[:n])
	if err == nil && p.sum.Size()-p.proven >= proofEvery {
		err = p.prove()
	}
	if err != nil {
		return p.spool.trouble(p.of.Path, p.lacking(), err)
	}
	return nil
}

// prove writes the proof of all bytes so far, in its place. One that was torn proves nothing.
func (p *spooled) prove() error {
	if p.proven == p.sum.Size() {
		return nil
	}
	sum := ballast.DigestSum(p.sum.Digest())
	record := make([]byte, 0, proofSize)
	record = append(record, p.id[:]...)
	record = binary.BigEndian.AppendUint64(record, uint64(p.sum.Size()))
	record = append(record, sum[:]...)
	if _, err := p.proof.WriteAt(record, 0); err != nil {
		return err
	}
	p.proven = p.sum.Size()
	return nil
}

// readProof returns how many bytes of the file are proven by what; 0 by the digest of none.
func (p *spooled) readProof() (size int64, sum digest.Digest) {
	var record [proofSize]byte
	if _, err := p.proof.ReadAt(record[:], 0); err != nil || [sha256.Size]byte(record[:sha256.Size]) != p.id {
		return 0, ballast.EmptyDigest
	}
	size = int64(binary.BigEndian.Uint64(record[sha256.Size:]))
	if size < 0 || size > p.of.Size {
		return 0, ballast.EmptyDigest
	}
	return size, ballast.DigestFromSum([sha256.Size]byte(record[sha256.Size+8:]))
}

// verdict compares a file that is whole with what the origin states of it.
func (p *spooled) verdict(from Origin) error {
	switch actual := p.sum.Digest(); {
	case p.of.Digest != "" && actual != p.of.Digest:
		e := ballast.Errorf(ballast.CodeIntegrity, "%q: %s states the digest %s, and its bytes have %s; nothing of it was sent: tell whoever runs that place", p.of.Path, from, p.of.Digest, actual)
		e.Expected, e.Actual = p.of.Digest, actual
		return e
	case p.git != nil && hex.EncodeToString(p.git.Sum(nil)) != p.of.GitBlob:
		return ballast.Errorf(ballast.CodeIntegrity, "%q: %s states the git id %s, and its bytes have another; nothing of it was sent: tell whoever runs that place", p.of.Path, from, p.of.GitBlob)
	}
	return nil
}

// close keeps the file for the next run.
func (p *spooled) close() {
	if p.sum != nil && p.proof != nil {
		_ = p.prove() // else the next run fetches a little more
	}
	for _, f := range []*os.File{p.file, p.proof} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// remove takes the file out of the spool.
func (p *spooled) remove() error {
	return errors.Join(removeIfThere(p.bytesName()), removeIfThere(p.proofName()))
}

func removeIfThere(name string) error {
	if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
