package client

import "sync/atomic"

// Phase is what an Event tells of.
type Phase string

// The phases. Those of a push are hash, upload and verify, of a pull download and verify, of an import hash, copy and
// verify; they overlap.
const (
	PhaseHash     Phase = "hash"     // reading local files; import: the registry reads the source
	PhaseUpload   Phase = "upload"   // sending bytes to the object store
	PhaseCopy     Phase = "copy"     // the store copies
	PhaseVerify   Phase = "verify"   // push: the registry checks what arrived; pull: what arrives or lies there already is hashed
	PhaseDownload Phase = "download" // fetching bytes from the object store
)

// Event tells of progress. Exactly one kind of news is in it:
//
//   - a plan, when Files or Total is set: how much the phase has to do, as far as is known by now;
//   - a beginning, when Size is set: the file begins in this phase, and has so many bytes to go;
//   - bytes, when Bytes is set: moved since the last event of that file; negative when a transfer starts over;
//   - Done: the file is finished in this phase;
//   - a Note: something a person should read.
type Event struct {
	Phase Phase  `json:"phase"`
	Path  string `json:"path,omitempty"` // the file; empty when the news is of the whole phase
	Files int    `json:"files,omitempty"`
	Total int64  `json:"total,omitempty"` // bytes; negative when less is to do than was planned
	Size  int64  `json:"size,omitempty"`
	Bytes int64  `json:"bytes,omitempty"`
	Done  bool   `json:"done,omitempty"`
	Note  string `json:"note,omitempty"`
}

// Progress receives events. It is called from several goroutines at once and must not block. nil is silence.
type Progress func(Event)

func (p Progress) tell(e Event) {
	if p != nil {
		p(e)
	}
}

func (p Progress) bytes(phase Phase, path string, n int64) {
	if n != 0 {
		p.tell(Event{Phase: phase, Path: path, Bytes: n})
	}
}

// counter tells of the bytes that pass, and can take them back. A transport may still read a body whose answer is in,
// hence the atomic.
type counter struct {
	progress Progress
	phase    Phase
	path     string
	n        atomic.Int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	c.progress.bytes(c.phase, c.path, int64(len(p)))
	return len(p), nil
}

// undo takes back what was counted.
func (c *counter) undo() { c.progress.bytes(c.phase, c.path, -c.n.Swap(0)) }
