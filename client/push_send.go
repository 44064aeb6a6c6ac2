package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
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

// askAll asks in batches of what is waiting: small while sending is fast, large when it is slow.
func (p *push) askAll(ctx context.Context, blobs <-chan *blob, jobs chan<- job) error {
	for {
		batch := gather(blobs, ballast.MaxBlobsPerCall)
		if len(batch) == 0 {
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
	batch := []*blob{b}
	for len(batch) < limit {
		select {
		case b, ok := <-blobs:
			if !ok {
				return batch
			}
			batch = append(batch, b)
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
	if b.partSize > 0 {
		q.Method, q.PartSize = ballast.MethodMultipart, b.partSize
	}
	for _, n := range numbers {
		q.Parts = append(q.Parts, ballast.PartDigest{Number: n, SHA256: b.parts[n-1].Encoded()})
	}
	return q
}

// sending is the state of one blob on its way.
type sending struct {
	p    *push
	b    *blob
	left []int // numbers of the parts that the store does not hold yet; nil before the parts are cut
	last error // of the last transfer that failed
}

// sendBlob does what the answers say until the blob is there. Tries that move nothing are limited.
func (p *push) sendBlob(ctx context.Context, j job) error {
	s := &sending{p: p, b: j.blob}
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
		answers, err := p.inquire(ctx, []ballast.BlobRequest{s.b.ask(s.batch())})
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
	}
	err = s.transfer(ctx, *a.Request, 0, s.b.source.size)
	done, err = s.outcome(ctx, err)
	return done, done, err
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
	case !retryStore(err):
		return false, gaveUp(s.b.source.path, err, sendAgain)
	}
	s.p.c.log.InfoContext(ctx, "a transfer is tried again", attrFile, s.b.source.path, attrError, err)
	s.last = err
	return false, nil
}

// stepParts sends the signed parts of an answer, after it has cut the file the way that the registry wants it.
func (s *sending) stepParts(ctx context.Context, a ballast.BlobAnswer) (moved, done bool, err error) {
	if s.left == nil || a.PartSize != s.b.partSize {
		first := s.left == nil
		if err := s.p.cut(ctx, s.b, a.PartSize); err != nil {
			return false, false, err
		}
		s.left = make([]int, ballast.PartCount(s.b.source.size, s.b.partSize))
		for i := range s.left {
			s.left[i] = i + 1
		}
		if len(a.Parts) == 0 && len(a.Have) == 0 {
			return first, false, nil
		}
	}
	before := len(s.left)
	sent, err := s.sendParts(ctx, a.Parts)
	if err != nil {
		return false, false, err
	}
	for _, n := range a.Have {
		s.countPresent(n)
	}
	s.left = slices.DeleteFunc(s.left, func(n int) bool { return slices.Contains(sent, n) || slices.Contains(a.Have, n) })
	return len(s.left) < before, len(s.left) == 0, nil
}

// countPresent moves the progress for a part that an earlier push sent.
func (s *sending) countPresent(number int) {
	if slices.Contains(s.left, number) {
		s.p.o.Progress.bytes(PhaseUpload, s.b.source.path, ballast.PartLength(s.b.source.size, s.b.partSize, number))
	}
}

// batch is the next parts to have signed: few, because signed requests age.
func (s *sending) batch() []int {
	return s.left[:min(len(s.left), 4*cap(s.p.slots), ballast.MaxPartsPerCall)]
}

// sendParts sends parts in parallel and returns the numbers of those that arrived.
func (s *sending) sendParts(ctx context.Context, parts []ballast.PartAnswer) (sent []int, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cap(s.p.slots))
	var mu sync.Mutex
	for _, part := range parts {
		if !slices.Contains(s.left, part.Number) {
			continue
		}
		g.Go(func() error {
			from := int64(part.Number-1) * s.b.partSize
			err := s.transfer(ctx, part.Request, from, ballast.PartLength(s.b.source.size, s.b.partSize, part.Number))
			mu.Lock()
			defer mu.Unlock()
			done, err := s.outcome(ctx, err)
			if done {
				sent = append(sent, part.Number)
			}
			return err
		})
	}
	err = g.Wait()
	return sent, err
}

// transfer sends a range of the file when a slot is free.
func (s *sending) transfer(ctx context.Context, sr ballast.SignedRequest, from, size int64) error {
	if err := pass(ctx, s.p.slots, struct{}{}); err != nil {
		return err
	}
	defer func() { <-s.p.slots }()
	f, err := os.Open(s.b.source.file)
	if err != nil {
		return unusable(s.b.source.file, err)
	}
	defer f.Close()
	count := &counter{progress: s.p.o.Progress, phase: PhaseUpload, path: s.b.source.path}
	body := io.TeeReader(&exact{io.NewSectionReader(f, from, size), size, s.b.source.path}, count)
	if err := s.p.c.put(ctx, sr, body, size); err != nil {
		count.undo()
		return err
	}
	s.p.sent.Add(size)
	return nil
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
