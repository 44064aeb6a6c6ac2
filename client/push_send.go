package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
)

// busyLimit is how long a push waits for the registry to finish removing a blob.
const busyLimit = 5 * time.Minute

// sendAgain is what a push that gave up says of another try.
const sendAgain = "try again: what has arrived is not sent twice"

// job is a blob and what the registry said of it.
type job struct {
	blob   *blob
	answer ballast.BlobAnswer
}

// sendAll asks for the blobs that feed hands on and sends those that are not there, while feed goes on.
func (p *push) sendAll(ctx context.Context, feed func(context.Context, chan<- *blob) error) error {
	g, ctx := errgroup.WithContext(ctx)
	blobs, jobs := make(chan *blob, ballast.MaxBlobsPerCall), make(chan job)
	g.Go(func() error {
		defer close(blobs)
		return feed(ctx, blobs)
	})
	g.Go(func() error {
		defer close(jobs)
		return p.askAll(ctx, blobs, jobs)
	})
	for range cap(p.slots) {
		g.Go(func() error {
			for j := range jobs {
				if err := p.sendBlob(ctx, j); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// batchBytes bounds what is asked about at once, because signed requests age while they wait.
const batchBytes = 4 << 30

// askAll asks in batches of what is waiting: small while sending is fast, large when it is slow.
func (p *push) askAll(ctx context.Context, blobs <-chan *blob, jobs chan<- job) error {
	for {
		batch := gather(blobs, ballast.MaxBlobsPerCall)
		if len(batch) == 0 {
			p.fed.Store(true)
			return nil
		}
		asks := make([]ballast.BlobRequest, len(batch))
		for i, b := range batch {
			asks[i] = b.ask(nil)
		}
		answers, err := p.inquire(ctx, asks)
		if err != nil {
			return err
		}
		p.planSending(batch, answers)
		for i, b := range batch {
			if !toSend(answers[i]) {
				continue
			}
			if err := pass(ctx, jobs, job{b, answers[i]}); err != nil {
				return err
			}
		}
	}
}

// gather waits for one blob and takes what else is there without waiting. None: the channel is closed.
func gather(blobs <-chan *blob, limit int) []*blob {
	b, ok := <-blobs
	if !ok {
		return nil
	}
	batch, bytes := []*blob{b}, b.source.size
	for len(batch) < limit && bytes < batchBytes {
		select {
		case b, ok := <-blobs:
			if !ok {
				return batch
			}
			batch, bytes = append(batch, b), bytes+b.source.size
		default:
			return batch
		}
	}
	return batch
}

// inquire makes the call and holds the answer to its form.
func (p *push) inquire(ctx context.Context, asks []ballast.BlobRequest) ([]ballast.BlobAnswer, error) {
	resp, err := p.c.Blobs(ctx, p.upload.ID, ballast.BlobsRequest{Blobs: asks})
	if err != nil {
		return nil, err
	}
	same := func(q ballast.BlobRequest, a ballast.BlobAnswer) bool { return q.Digest == a.Digest }
	if !slices.EqualFunc(asks, resp.Blobs, same) {
		return nil, ballast.Errorf(ballast.CodeInternal, "the registry answered about other blobs than it was asked for; report this defect")
	}
	return resp.Blobs, nil
}

// toSend reports whether a blob is not there yet.
func toSend(a ballast.BlobAnswer) bool {
	return a.State != ballast.BlobStored && a.State != ballast.BlobVerified
}

func (p *push) planSending(batch []*blob, answers []ballast.BlobAnswer) {
	plan := Event{Phase: PhaseUpload}
	for i, a := range answers {
		if toSend(a) {
			plan.Files++
			plan.Total += batch[i].source.size
		}
	}
	if plan.Files > 0 {
		p.o.Progress.tell(plan)
	}
}

// ask is the question about b, with the parts to be signed.
func (b *blob) ask(numbers []int) ballast.BlobRequest {
	q := ballast.BlobRequest{Digest: b.digest, Size: b.source.size, Method: ballast.MethodPut}
	switch {
	case b.partSize > 0:
		q.Method, q.PartSize = ballast.MethodMultipart, b.partSize
	case len(b.chain) > 0:
		q.LinkSize, q.Chain = linkSize, b.chain
	}
	for _, n := range numbers {
		q.Parts = append(q.Parts, ballast.PartDigest{Number: n, SHA256: b.parts[n-1].Encoded()})
	}
	return q
}

// sending is the state of one blob on its way.
type sending struct {
	p *push
	b *blob
	// left are the numbers of the parts that the store does not hold yet; nil before the parts are cut.
	left []int
	mu   sync.Mutex
	last error // of the last transfer that failed; mu guards it while parts travel
	// inParts says that a PUT did not do and parts are asked for; the registry keeps it a PUT while others wait for that.
	inParts bool
	stale   atomic.Bool // the last signed request was stale when it was its turn
}

// sendBlob does what the answers say until the blob is there. Tries that move nothing are limited.
func (p *push) sendBlob(ctx context.Context, j job) error {
	s := &sending{p: p, b: j.blob}
	p.o.Progress.tell(Event{Phase: PhaseUpload, Path: j.blob.source.path, Size: j.blob.source.size})
	deadline := time.Now().Add(busyLimit)
	for stuck := 0; stuck < p.c.tries; {
		if j.answer.State == ballast.BlobBusy {
			if time.Now().After(deadline) {
				return ballast.Errorf(ballast.CodeBusy, "%q: the registry is still removing an earlier copy; try again in a few minutes", s.b.source.path)
			}
			if err := p.c.backoff(ctx, 1, (&ballast.Error{RetryAfter: max(j.answer.RetryAfter, 0.1)}).Retry()); err != nil {
				return err
			}
		} else {
			moved, done, err := s.step(ctx, j.answer)
			if done {
				p.o.Progress.tell(Event{Phase: PhaseUpload, Path: j.blob.source.path, Done: true})
			}
			if err != nil || done {
				return err
			}
			if stuck++; moved {
				stuck = 0
			} else if err := p.c.backoff(ctx, stuck, 0); err != nil {
				return err
			}
		}
		answers, err := p.inquire(ctx, []ballast.BlobRequest{s.b.ask(nil)})
		if err != nil {
			return err
		}
		j.answer = answers[0]
	}
	if s.last == nil {
		s.last = ballast.Errorf(ballast.CodeUnavailable, "the registry gives no way to send it; try again")
	}
	return gaveUp(s.b.source.path, s.last, sendAgain)
}

// step acts on one answer. moved tells whether anything came closer; err is final.
func (s *sending) step(ctx context.Context, a ballast.BlobAnswer) (moved, done bool, err error) {
	switch {
	case a.State == ballast.BlobStored || a.State == ballast.BlobVerified:
		return true, true, nil
	case a.Method == ballast.MethodMultipart:
		return s.stepParts(ctx, a)
	case a.Request == nil:
		return false, false, nil
	case s.inParts && s.b.partSize == 0: // the store was looked at, and it is not there
		s.b.partSize = s.p.way.cut(s.b.source.size)
		return true, false, nil
	}
	err = s.transfer(ctx, *a.Request, 0, s.b.source.size)
	if s.mayCut() && (errors.Is(err, errSlow) || errors.Is(err, errSilent) || errors.Is(err, errStalled)) {
		s.p.way.tore()
		s.inParts, s.last = true, err
		return true, false, nil
	}
	stale := errors.Is(err, errStale) // the next one is fresh, or is sent all the same
	done, err = s.outcome(ctx, err)
	return done || stale, done, err
}

// mayCut reports whether a file that goes up whole may go in parts instead.
func (s *sending) mayCut() bool {
	return !s.inParts && s.b.partSize == 0 && s.p.way.fixed == 0 && s.b.source.size > ballast.DefaultPartSize
}

// outcome sorts the end of a transfer: there, to be tried again, or final.
func (s *sending) outcome(ctx context.Context, err error) (done bool, _ error) {
	var e *storeError
	var here *ballast.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &here): // of the file, whatever the transport made of it
		return false, about(s.b.source.path, here)
	case errors.As(err, &e) && e.Status == http.StatusPreconditionFailed:
		return true, nil // somebody else sent it; the commit decides
	case errors.As(err, &e) && e.wrongBytes():
		return false, changed(s.b.source.path).Because(err)
	case errors.Is(err, errStale):
		return false, nil
	case !retryStore(err):
		return false, gaveUp(s.b.source.path, err, sendAgain)
	}
	s.p.c.log.InfoContext(ctx, "a transfer is tried again", attrFile, s.b.source.path, attrError, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = err
	return false, nil
}

// stepParts sends the parts that the store does not hold. It asks for a few signed requests at a time, the next ones while
// the last of these travel.
func (s *sending) stepParts(ctx context.Context, a ballast.BlobAnswer) (moved, done bool, err error) {
	anew := s.left == nil || a.PartSize != s.b.partSize
	if err := s.b.cut(a.PartSize); err != nil {
		return false, false, err
	}
	if anew {
		s.left = make([]int, len(s.b.parts))
		for i := range s.left {
			s.left[i] = i + 1
		}
	}
	before := len(s.left)
	s.present(a.Have)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(cap(s.p.slots))
	var arrived arrivals
	var failed error
	for batch := range slices.Chunk(slices.Clone(s.left), min(2*cap(s.p.slots), ballast.MaxPartsPerCall)) {
		var parts []ballast.PartAnswer
		var have []int
		if parts, have, failed = s.sign(gctx, batch); failed != nil || parts == nil {
			break
		}
		arrived.add(have...)
		for _, part := range parts {
			g.Go(func() error { return s.sendPart(gctx, part, &arrived) })
		}
	}
	if err = g.Wait(); err == nil { // what ended the group comes first
		err = failed
	}
	s.left = slices.DeleteFunc(s.left, func(n int) bool { return slices.Contains(arrived.numbers, n) })
	return len(s.left) < before, err == nil && len(s.left) == 0, err
}

// arrivals are the numbers of parts that the store holds.
type arrivals struct {
	mu      sync.Mutex
	numbers []int
}

func (a *arrivals) add(numbers ...int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.numbers = append(a.numbers, numbers...)
}

func (s *sending) sendPart(ctx context.Context, part ballast.PartAnswer, arrived *arrivals) error {
	from := int64(part.Number-1) * s.b.partSize
	err := s.transfer(ctx, part.Request, from, ballast.PartLength(s.b.source.size, s.b.partSize, part.Number))
	done, err := s.outcome(ctx, err)
	if done {
		arrived.add(part.Number)
	}
	return err
}

// sign declares parts and gets signed requests for those that the store does not hold; have are the others. Nothing: the
// blob has come to another state, which the next question shows.
func (s *sending) sign(ctx context.Context, numbers []int) (parts []ballast.PartAnswer, have []int, err error) {
	if err := s.p.hashParts(ctx, s.b, numbers); err != nil {
		return nil, nil, err
	}
	answers, err := s.p.inquire(ctx, []ballast.BlobRequest{s.b.ask(numbers)})
	if err != nil {
		return nil, nil, err
	}
	a := answers[0]
	if a.State != ballast.BlobMissing || a.Method != ballast.MethodMultipart || a.PartSize != s.b.partSize {
		return nil, nil, nil
	}
	asked := func(n int) bool { return slices.Contains(numbers, n) }
	for _, n := range a.Have {
		if asked(n) {
			s.tell(n)
			have = append(have, n)
		}
	}
	parts = slices.DeleteFunc(a.Parts, func(part ballast.PartAnswer) bool { return !asked(part.Number) })
	return append([]ballast.PartAnswer{}, parts...), have, nil
}

// present takes off the list what an earlier push sent, or this one without hearing of it.
func (s *sending) present(have []int) {
	s.left = slices.DeleteFunc(s.left, func(n int) bool {
		if !slices.Contains(have, n) {
			return false
		}
		s.tell(n)
		return true
	})
}

// tell moves the progress for a part that is there.
func (s *sending) tell(number int) {
	s.p.o.Progress.bytes(PhaseUpload, s.b.source.path, ballast.PartLength(s.b.source.size, s.b.partSize, number))
}

// errStale is of a signed request that expired before it was its turn.
var errStale = errors.New("the signed request expired before it was sent")

// errSlow ends a PUT that parts will overtake.
var errSlow = errors.New("one stream is slow")

// transfer sends a range of the file when a slot is free. What the store puts off is sent again by the same request.
func (s *sending) transfer(ctx context.Context, sr ballast.SignedRequest, from, size int64) error {
	if err := pass(ctx, s.p.slots, struct{}{}); err != nil {
		return err
	}
	defer func() { <-s.p.slots }()
	for try := 1; ; try++ {
		if stale := s.p.c.clock.stale(sr); !s.stale.Swap(stale) && stale {
			return errStale // twice in a row it is a clock that is wrong: the store tells
		}
		err := s.once(ctx, sr, from, size)
		var e *storeError
		if !errors.As(err, &e) || !e.transient() || try == s.p.c.tries {
			return err
		}
		s.p.c.log.InfoContext(ctx, "the store puts a transfer off", attrFile, s.b.source.path, attrTry, try, attrError, err)
		if err := s.p.c.backoff(ctx, try, e.retryAfter); err != nil {
			return err
		}
	}
}

func (s *sending) once(ctx context.Context, sr ballast.SignedRequest, from, size int64) error {
	f, err := os.Open(s.b.source.file)
	if err != nil {
		return unusable(s.b.source.file, err)
	}
	defer f.Close()
	count := &counter{progress: s.p.o.Progress, phase: PhaseUpload, path: s.b.source.path}
	body := io.TeeReader(&exact{io.NewSectionReader(f, from, size), size, s.b.source.path}, count)
	began := time.Now()
	ctx, cancel := context.WithCancelCause(s.p.way.trace(ctx))
	defer cancel(nil)
	if size == s.b.source.size && s.mayCut() {
		go s.watch(ctx, cancel, began, count)
	}
	if err := s.p.c.put(ctx, sr, body, size); err != nil {
		count.undo()
		return err
	}
	s.p.way.moved(size, time.Since(began))
	s.p.sent.Add(size)
	return nil
}

// watch ends a PUT that parts will overtake.
func (s *sending) watch(ctx context.Context, end context.CancelCauseFunc, began time.Time, count *counter) {
	for wait := watchAfter; sleep(ctx, wait) == nil; wait = watchEvery {
		busy, idle := len(s.p.slots), 0
		if s.p.fed.Load() {
			idle = cap(s.p.slots) - busy
		}
		if s.p.way.better(s.b.source.size, count.n.Load(), time.Since(began), idle, busy) {
			end(errSlow)
			return
		}
	}
}

// exact fails where a file ends before the size that it had.
type exact struct {
	r    io.Reader
	left int64
	path string
}

func (e *exact) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if e.left -= int64(n); err == io.EOF && e.left > 0 {
		err = changed(e.path)
	}
	return n, err
}

// missingBlobs feeds sendAll with the blobs that a commit found missing.
func (p *push) missingBlobs(missing []digest.Digest) func(context.Context, chan<- *blob) error {
	return func(ctx context.Context, found chan<- *blob) error {
		for _, d := range missing {
			b, err := p.blobOf(d)
			if err != nil {
				return err
			}
			if err := pass(ctx, found, b); err != nil {
				return err
			}
		}
		return nil
	}
}

// blobOf is the blob that a commit says is missing.
func (p *push) blobOf(d digest.Digest) (*blob, error) {
	b := p.blobs[d]
	if b == nil {
		return nil, ballast.Errorf(ballast.CodeInternal, "the registry misses %s, which no pushed file has; report this defect", d)
	}
	return b, nil
}
