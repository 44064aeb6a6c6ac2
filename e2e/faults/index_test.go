package faults_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

func indexFile(data string) string { return filepath.Join(data, "index.db") }

// item is a key of an index at rest and its value.
type item struct{ key, value []byte }

func items(t *testing.T, data string) (all []item) {
	t.Helper()
	bolt := must[*index.Bolt](t)(index.OpenBolt(indexFile(data), index.BoltOptions{}))
	defer bolt.Close()
	check(t, bolt.View(t.Context(), func(tx index.Tx) error {
		for i, err := range tx.Scan(nil, nil, false) {
			if err != nil {
				return err
			}
			all = append(all, item{bytes.Clone(i.Key), bytes.Clone(i.Value)})
		}
		return nil
	}))
	return all
}

// flipped is an index file with a bit of one value flipped, in old copies of its page too.
func (i item) flipped(t *testing.T, file []byte) []byte {
	t.Helper()
	bad, found := bytes.Clone(file), 0
	pair := append(bytes.Clone(i.key), i.value...)
	pair = binary.BigEndian.AppendUint32(pair, crc32.Checksum(pair, crc32.MakeTable(crc32.Castagnoli))) // or it may be a key alone, of a page above
	for at := 0; ; found++ {
		next := bytes.Index(file[at:], pair)
		if next < 0 {
			break
		}
		at += next + len(i.key)
		bad[at+len(i.value)/2] ^= 4 // of an empty value, in its checksum
	}
	if found == 0 {
		t.Fatalf("%q is not in the file", i.key)
	}
	return bad
}

// TestFlippedBit: a bit of a version's item is flipped while nothing runs. The service starts, answers integrity about
// that version and serves all others; who checks the index hears of it.
func TestFlippedBit(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		w := newWorld(t, s)
		w.finish(w.half)
		check(t, w.push("kept:2", newModel()))
		w.stop(t)
		whole := must[[]byte](t)(os.ReadFile(indexFile(w.data)))
		damaged := 0
		for _, i := range items(t, w.data) {
			if i.key[0] == 'v' && bytes.Contains(i.key, []byte("kept")) && bytes.Contains(i.value, []byte(`"version":"2"`)) {
				check(t, os.WriteFile(indexFile(w.data), i.flipped(t, whole), 0o600))
				damaged++
			}
		}
		if damaged != 1 {
			t.Fatalf("the version has %d items", damaged)
		}
		w.again(serveCommand(t, s.Through(w.front), w.data))
		check(t, w.shown())
		check(t, w.pull("kept:1"))
		check(t, w.pull("half:1"))
		check(t, refused("damaged version", errorOf(w.c.Version(t.Context(), ref("kept:2"))), ballast.CodeIntegrity))
		check(t, refused("latest", errorOf(w.c.Version(t.Context(), ref("kept"))), ballast.CodeIntegrity))
		check(t, refused("pull", w.pull("kept:2"), ballast.CodeIntegrity))
		w.wantExit(6, "show", "kept:2")
		check(t, w.push("beside:1", newModel()))
		check(t, w.watch.verdict())
		w.stop(t)
		wantWords(t, w.log.String(), "cannot be read; it was passed over")
		bucket := must[*objstore.S3](t)(objstore.Open(t.Context(), s.Config()))
		if err := enginetest.AtRest(context.WithoutCancel(t.Context()), w.data, bucket); err == nil || !strings.Contains(err.Error(), "unknown: ") {
			t.Errorf("the checker says %v", err)
		}
	})
}

// again starts a service on the folder of one that has ended.
func (w *world) again(cmd *exec.Cmd) {
	w.t.Helper()
	w.service = start(w.t, w.data, cmd)
	w.watch.registry = strings.TrimPrefix(w.url, "http://")
	w.c = must[*client.Client](w.t)(client.New(client.Options{URL: w.url, Token: w.bearer, Tries: 1, Transport: w.watch}))
}

// TestCutIndex: a service whose index file is cut short does not start, says why and leaves the file as it is.
func TestCutIndex(t *testing.T) {
	t.Parallel()
	s := testenv.Embedded(t)
	w := newWorld(t, s)
	w.stop(t)
	whole := must[[]byte](t)(os.ReadFile(indexFile(w.data)))
	used := len(bytes.TrimRight(whole, "\x00")) / os.Getpagesize() // the file is longer than what it holds
	for _, left := range []int{0, 1, 3, used / 2, used - 1} {
		cut := whole[:left*os.Getpagesize()]
		check(t, os.WriteFile(indexFile(w.data), cut, 0o600))
		said := refusal(t, serveCommand(t, s, w.data))
		wantWords(t, said, "index.db", "the file is ")
		if now := must[[]byte](t)(os.ReadFile(indexFile(w.data))); !bytes.Equal(now, cut) {
			t.Errorf("%d pages: the file was changed", left)
		}
	}
	check(t, os.WriteFile(indexFile(w.data), whole, 0o600)) // the control
	w.atRest()
}
