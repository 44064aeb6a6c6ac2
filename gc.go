package ballast

// GCState says where a run of gc stands.
type GCState string

// The states of a run.
const (
	GCNone    GCState = "none" // none since the service was started
	GCRunning GCState = "running"
	GCDone    GCState = "done"
	GCFailed  GCState = "failed" // what it had done by then stays done; the next run goes on
)

// GCRequest is the body of POST /v1/admin/gc.
type GCRequest struct {
	DryRun bool `json:"dry_run,omitempty"` // count, and change nothing
}

// GCCounts are things that a run removed, or would have.
type GCCounts struct {
	Blobs      int64 `json:"blobs"`      // whose bytes went
	Bytes      int64 `json:"bytes"`      // of these, as far as their sizes are known
	Uploads    int64 `json:"uploads"`    // whose lease was over
	Staging    int64 `json:"staging"`    // objects of uploads that are over
	Multiparts int64 `json:"multiparts"` // that were left open though their bytes are there
	References int64 `json:"references"` // of versions whose manifest went: their files wait from here on
	Records    int64 `json:"records"`    // of blobs that have no bytes any more
}

// Add adds other counts to these.
func (c *GCCounts) Add(more GCCounts) {
	c.Blobs += more.Blobs
	c.Bytes += more.Bytes
	c.Uploads += more.Uploads
	c.Staging += more.Staging
	c.Multiparts += more.Multiparts
	c.References += more.References
	c.Records += more.Records
}

// GCWaiting is what nobody uses and whose grace is not over.
type GCWaiting struct {
	Blobs int64 `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

// GCScope is what a run found in one scope.
type GCScope struct {
	Scope   Scope     `json:"scope"`
	Removed GCCounts  `json:"removed"`
	Waiting GCWaiting `json:"waiting"`
}

// MaxGCScopes is the number of scopes that GCRun lists.
const MaxGCScopes = 1000

// GCRun is one run of gc, under way or over.
type GCRun struct {
	State        GCState   `json:"state"`
	DryRun       bool      `json:"dry_run,omitempty"`
	By           string    `json:"by,omitempty"` // empty: the clock
	StartedAt    Time      `json:"started_at,omitzero"`
	EndedAt      Time      `json:"ended_at,omitzero"`
	Error        *Error    `json:"error,omitempty"` // the first, when it failed
	Removed      GCCounts  `json:"removed"`         // in a dry run: would be
	Waiting      GCWaiting `json:"waiting"`
	Scopes       []GCScope `json:"scopes"`              // those with most bytes first, at most MaxGCScopes
	ScopesCut    int       `json:"scopes_cut,omitzero"` // others, which the sums hold
	GraceSeconds int64     `json:"grace_seconds"`       // how long what nobody uses stays
}
