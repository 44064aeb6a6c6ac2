package engine

import (
	"time"

	"github.com/ballast-registry/ballast/internal/index"
)

// LeaseUse is what became of the lease of a pending upload.
type LeaseUse string

// The uses. An upload loses its label and its pins with its lease.
const (
	LeaseRenewed   LeaseUse = "renewed"   // a call renewed it
	LeaseCommitted LeaseUse = "committed" // a commit was accepted, which takes none any more
	LeaseParts     LeaseUse = "parts"     // it was over, and parts that had come meanwhile renewed it
	LeaseExpired   LeaseUse = "expired"   // it was over, and the upload ended
)

// LeaseUses are all of them.
func LeaseUses() []LeaseUse {
	return []LeaseUse{LeaseRenewed, LeaseCommitted, LeaseParts, LeaseExpired}
}

// usedLease tells what was left of an upload's lease at a time. u is the upload as it was before.
func (e *Engine) usedLease(use LeaseUse, u index.Upload, at time.Time) {
	e.leases(use, max(0, u.LeaseUntil.Sub(at)))
}
