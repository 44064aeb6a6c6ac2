package bench_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"
)

// bareUploads is the value of bareVariable that makes the test binary a loop that uploads: each part is read, hashed, signed
// for with its SHA-256, and sent. It does not know what a file's digest is, and nobody checks the whole.
const bareUploads = "uploads"

// barePush reads endpoint, region, bucket and keys from in, a line each, and puts the files of args[0] under args[1].
func barePush(in io.Reader, args []string) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	said := strings.Split(string(text), "\n")
	at, err := url.Parse(said[0])
	if err != nil {
		return err
	}
	core, err := minio.NewCore(at.Host, &minio.Options{Creds: credentials.NewStaticV4(said[3], said[4], ""), Region: said[1]})
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(args[0])
	if err != nil {
		return err
	}
	l := &uploadLoop{core: core, bucket: said[2], http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: bareConnections}}}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		l.add(filepath.Join(args[0], e.Name()), args[1]+"/"+e.Name(), info.Size())
	}
	return l.run(context.Background())
}

// uploadLoop is what the loop has to do: parts of files, or whole small ones.
type uploadLoop struct {
	core   *minio.Core
	bucket string
	http   *http.Client
	pieces []uploadPiece
}

type uploadPiece struct {
	of           *uploadFile
	number       int // of a part, from 1
	offset, size int64
}

type uploadFile struct {
	path, key string
	parts     int

	begin sync.Once
	id    string // of the multipart
	err   error
	mu    sync.Mutex
	done  []minio.CompletePart
}

func (l *uploadLoop) add(path, key string, size int64) {
	f := &uploadFile{path: path, key: key, parts: int((size + bareRange - 1) / bareRange)}
	for n := range f.parts {
		from := int64(n) * bareRange
		l.pieces = append(l.pieces, uploadPiece{f, n + 1, from, min(bareRange, size-from)})
	}
}

func (l *uploadLoop) run(ctx context.Context) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range bareConnections {
		g.Go(func() error {
			var buffer []byte
			for {
				i := int(next.Add(1)) - 1
				if i >= len(l.pieces) {
					return nil
				}
				p := l.pieces[i]
				if int64(cap(buffer)) < p.size {
					buffer = make([]byte, p.size)
				}
				if err := l.send(ctx, p, buffer[:p.size]); err != nil {
					return fmt.Errorf("%s: %w", p.of.path, err)
				}
			}
		})
	}
	return g.Wait()
}

func (l *uploadLoop) send(ctx context.Context, p uploadPiece, buffer []byte) error {
	f, err := os.Open(p.of.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.ReadAt(buffer, p.offset); err != nil {
		return err
	}
	sum := sha256.Sum256(buffer)
	header := http.Header{"X-Amz-Checksum-Sha256": {base64.StdEncoding.EncodeToString(sum[:])}}
	query := url.Values{}
	if p.of.parts > 1 {
		p.of.begin.Do(func() {
			p.of.id, p.of.err = l.core.NewMultipartUpload(ctx, l.bucket, p.of.key, minio.PutObjectOptions{UserMetadata: map[string]string{"X-Amz-Checksum-Algorithm": "SHA256"}})
		})
		if p.of.err != nil {
			return p.of.err
		}
		query.Set("uploadId", p.of.id)
		query.Set("partNumber", strconv.Itoa(p.number))
	}
	signed, err := l.core.PresignHeader(ctx, http.MethodPut, l.bucket, p.of.key, time.Hour, query, header)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, signed.String(), bytes.NewReader(buffer))
	if err != nil {
		return err
	}
	req.Header = header
	res, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if said, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, said)
	}
	if p.of.parts == 1 {
		return nil
	}
	return l.sent(ctx, p, minio.CompletePart{PartNumber: p.number, ETag: strings.Trim(res.Header.Get("ETag"), `"`), ChecksumSHA256: header.Get("X-Amz-Checksum-Sha256")})
}

// sent completes the multipart with its last part.
func (l *uploadLoop) sent(ctx context.Context, p uploadPiece, part minio.CompletePart) error {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	if p.of.done = append(p.of.done, part); len(p.of.done) < p.of.parts {
		return nil
	}
	ordered := make([]minio.CompletePart, p.of.parts)
	for _, d := range p.of.done {
		ordered[d.PartNumber-1] = d
	}
	_, err := l.core.CompleteMultipartUpload(ctx, l.bucket, p.of.key, p.of.id, ordered, minio.PutObjectOptions{})
	return err
}
