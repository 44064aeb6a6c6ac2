package bench_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// bareVariable makes the test binary the bare loop: parallel ranges of presigned URLs into files, each range hashed and
// compared with nothing. It does what no copy can do without, and knows nothing of registries, retries or journals. Set to
// "unhashed" it leaves even the hashing out.
const bareVariable = "BALLAST_BENCH_BARE"

const (
	bareConnections = 8
	bareRange       = 64 << 20
	bareBuffer      = 256 << 10
)

// bareFile is one line of what the loop is to fetch.
type bareFile struct {
	URL, Path string
	Size      int64
}

// bare reads the files from in and fetches them into the folder args[0].
func bare(in io.Reader, args []string) error {
	var files []bareFile
	if err := json.NewDecoder(in).Decode(&files); err != nil {
		return err
	}
	type piece struct {
		bareFile
		to        *os.File
		from, end int64
	}
	var pieces []piece
	for _, f := range files {
		at := filepath.Join(args[0], f.Path)
		if err := os.MkdirAll(filepath.Dir(at), 0o777); err != nil {
			return err
		}
		to, err := os.Create(at)
		if err != nil {
			return err
		}
		if err := to.Truncate(f.Size); err != nil {
			return err
		}
		for from := int64(0); from < f.Size; from += bareRange {
			pieces = append(pieces, piece{f, to, from, min(from+bareRange, f.Size)})
		}
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: bareConnections, DisableCompression: true}}
	var next atomic.Int64
	g, ctx := errgroup.WithContext(context.Background())
	for range bareConnections {
		g.Go(func() error {
			buffer := make([]byte, bareBuffer)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(pieces) {
					return nil
				}
				p := pieces[i]
				if err := bareGet(ctx, client, p.bareFile, p.to, p.from, p.end, buffer); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func bareGet(ctx context.Context, client *http.Client, f bareFile, to *os.File, from, end int64, buffer []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, end-1))
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	sum := sha256.New()
	for from < end {
		n, err := res.Body.Read(buffer)
		if n == 0 && err != nil {
			return fmt.Errorf("%s: %s: %w", f.Path, res.Status, err)
		}
		if os.Getenv(bareVariable) != "unhashed" {
			sum.Write(buffer[:n])
		}
		if _, err := to.WriteAt(buffer[:n], from); err != nil {
			return err
		}
		from += int64(n)
	}
	sum.Sum(nil)
	return nil
}

// bareInput is what the loop reads.
func bareInput(files []bareFile) io.Reader {
	text, err := json.Marshal(files)
	if err != nil {
		panic(err)
	}
	return bytes.NewReader(text)
}

// sumOf is the SHA-256 of a file.
func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
