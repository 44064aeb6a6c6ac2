package index_test

import (
	"encoding/binary"
	"hash/crc32"
	"runtime"
	"sync/atomic"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/ballast-registry/ballast/internal/index"
)

// BenchmarkUpdate commits one item of 512 bytes an operation: by 64 goroutines with Bolt and with bbolt's own Batch, and
// by one with Bolt and with bbolt's Update.
func BenchmarkUpdate(b *testing.B) {
	value := make([]byte, 512)
	b.Run("store=Bolt/clients=64", func(b *testing.B) { benchParallel(b, benchBolt(b, value)) })
	b.Run("store=Batch/clients=64", func(b *testing.B) {
		db := benchBbolt(b)
		benchParallel(b, func(key []byte) error {
			return db.Batch(func(tx *bbolt.Tx) error { return benchPut(tx, key, value) })
		})
	})
	b.Run("store=Bolt/clients=1", func(b *testing.B) { benchOne(b, benchBolt(b, value)) })
	b.Run("store=bbolt/clients=1", func(b *testing.B) {
		db := benchBbolt(b)
		benchOne(b, func(key []byte) error {
			return db.Update(func(tx *bbolt.Tx) error { return benchPut(tx, key, value) })
		})
	})
}

func benchBolt(b *testing.B, value []byte) func(key []byte) error {
	s, err := index.OpenBolt(b.TempDir()+"/index.db", index.BoltOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return func(key []byte) error {
		return s.Update(b.Context(), func(tx index.Tx) error { return tx.Put(key, value) })
	}
}

func benchBbolt(b *testing.B) *bbolt.DB {
	db, err := bbolt.Open(b.TempDir()+"/index.db", 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, InitialMmapSize: 64 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("data")); return err })
	if err != nil {
		b.Fatal(err)
	}
	return db
}

// benchPut writes as many bytes as Bolt does.
func benchPut(tx *bbolt.Tx, key, value []byte) error {
	return tx.Bucket([]byte("data")).Put(key, append(value[:len(value):len(value)], make([]byte, crc32.Size)...))
}

func benchKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func benchParallel(b *testing.B, update func(key []byte) error) {
	const clients = 64
	var n atomic.Uint64
	b.SetParallelism((clients + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := update(benchKey(n.Add(1))); err != nil {
				b.Error(err)
			}
		}
	})
}

func benchOne(b *testing.B, update func(key []byte) error) {
	for n := uint64(0); b.Loop(); n++ {
		if err := update(benchKey(n)); err != nil {
			b.Fatal(err)
		}
	}
}
