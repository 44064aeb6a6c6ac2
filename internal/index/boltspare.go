package index

import (
	"fmt"
	"sync"

	"go.etcd.io/bbolt"
)

// boltSpare keeps one read transaction for the next View while nothing is written: to begin one, find the bucket and end it
// takes as long as a get. It is the state of the last commit. No Update meets it: it would hold back the pages that the
// Update may use again, and a file that grows waits for all that read it.
type boltSpare struct {
	mu    sync.Mutex
	shut  bool
	turns uint64       // how often it was shut and opened
	kept  boltSnapshot // of no bucket: none
}

// boltReading is a read transaction.
type boltReading struct {
	boltSnapshot
	turn uint64 // of the spare when it began
}

// take returns the transaction that is kept, or begins one.
func (s *boltSpare) take(db *bbolt.DB) (boltReading, error) {
	s.mu.Lock()
	r := boltReading{s.kept, s.turns}
	s.kept = boltSnapshot{}
	s.mu.Unlock()
	if r.data != nil {
		return r, nil
	}
	tx, err := db.Begin(false)
	if err != nil {
		return r, err
	}
	fault := boltGuard(func() { r.boltSnapshot = newBoltSnapshot(tx) })
	if fault == nil && r.data == nil {
		fault = fmt.Errorf("%w: its items are gone", ErrCorrupt)
	}
	if fault != nil {
		_ = tx.Rollback()
	}
	return r, fault
}

// leave keeps a transaction, or ends it when something may have been written since, or when one is kept.
func (s *boltSpare) leave(r boltReading) {
	s.mu.Lock()
	keep := !s.shut && r.turn == s.turns && s.kept.data == nil
	if keep {
		s.kept = r.boltSnapshot
	}
	s.mu.Unlock()
	if !keep {
		r.end()
	}
}

// close ends what is kept, and has nothing kept until open.
func (s *boltSpare) close() {
	s.mu.Lock()
	kept := s.kept
	s.shut, s.turns, s.kept = true, s.turns+1, boltSnapshot{}
	s.mu.Unlock()
	if kept.data != nil {
		kept.end()
	}
}

func (s *boltSpare) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut, s.turns = false, s.turns+1
}
