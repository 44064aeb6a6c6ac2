package client

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ballast-registry/ballast"
)

// originError marks what an origin answered, or did not.
type originError struct{ cause error }

func (e *originError) Error() string { return e.cause.Error() }
func (e *originError) Unwrap() error { return e.cause }

const (
	// originStall ends a stream of an origin that brings no byte for so long.
	originStall = 2 * time.Minute
	// originGain is how many bytes a stream must bring for the tries before it to be forgotten.
	originGain = 1 << 20
	// originBuffer is how many bytes of a stream are in memory at once.
	originBuffer = 256 << 10
)

// fetch makes a file whole in the spool and holds it to what the origin states. Where a stream breaks it opens the next one
// at that byte. A file with other bytes than were stated is removed.
func (m *importing) fetch(ctx context.Context, f OriginFile) (*spooled, error) {
	s, err := m.spool.openFile(ctx, f, m.way.partSize(f.Size))
	if err != nil {
		return nil, err
	}
	m.o.Progress.bytes(PhaseDownload, f.Path, s.sum.Size()) // of an earlier run
	err = m.again(ctx, f, func() (moved int64, err error) {
		before := s.sum.Size()
		err = m.stream(ctx, s)
		return s.sum.Size() - before, err
	})
	if err != nil {
		s.close()
		return nil, err
	}
	if err := s.verdict(m.from); err != nil {
		s.close()
		return nil, errors.Join(&originError{err}, s.remove())
	}
	if err := s.prove(); err != nil {
		s.close()
		return nil, m.spool.trouble(f.Path, 0, err)
	}
	m.o.Progress.tell(Event{Phase: PhaseDownload, Path: f.Path, Done: true})
	return s, nil
}

// stream appends to a file what one stream of the origin brings.
func (m *importing) stream(ctx context.Context, s *spooled) error {
	for s.lacking() > 0 {
		err := m.read(ctx, s.of, s.sum.Size(), s.lacking(), func(b []byte) error {
			m.o.Progress.bytes(PhaseDownload, s.of.Path, int64(len(b)))
			return s.keep(b)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// read hands the bytes of one stream to take. Errors that are originErrors are of the origin.
func (m *importing) read(ctx context.Context, f OriginFile, offset, length int64, take func([]byte) error) error {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(originStall, func() {
		cancel(ballast.Errorf(ballast.CodeUnavailable, "%s sent nothing for %s", m.from, originStall))
	})
	defer stalled.Stop()
	body, err := m.from.Open(limited, f, offset, length)
	if err != nil {
		return m.originBroke(ctx, limited, err)
	}
	defer body.Close()
	buffer := make([]byte, min(originBuffer, length))
	for got := int64(0); got < length; {
		n, err := body.Read(buffer[:min(int64(len(buffer)), length-got)])
		if got += int64(n); n > 0 {
			stalled.Reset(originStall)
			m.fetched.Add(int64(n))
			if err := take(buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil && got < length {
			return m.originBroke(ctx, limited, err)
		}
	}
	return nil
}

// originBroke is what an error of a stream means: that the caller gave up, that nothing came for long, or err.
func (m *importing) originBroke(ctx, limited context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		err = context.Cause(limited)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return &originError{err}
}

// again does what until it succeeds, or until the origin's refusal is final or comes too often without bytes in between.
func (m *importing) again(ctx context.Context, f OriginFile, what func() (moved int64, err error)) error {
	for try := 1; ; try++ {
		moved, err := what()
		var of *originError
		if err == nil || ctx.Err() != nil || !errors.As(err, &of) {
			return err
		}
		if moved >= originGain {
			try = 1
		}
		asked, mayPass := passing(of.cause)
		if !mayPass || try >= m.c.tries {
			return &originError{m.originRefused(f, of.cause, mayPass)}
		}
		m.c.log.InfoContext(ctx, "a file is asked for again", attrFile, f.Path, attrTry, try, attrError, of.cause)
		if err := m.c.backoff(ctx, try, asked); err != nil {
			return err
		}
	}
}

// passing reports whether what an origin answered may be over at another try, and how long it asks to wait.
func passing(err error) (asked time.Duration, ok bool) {
	var e *ballast.Error
	if !errors.As(err, &e) {
		return 0, true // no answer, or half of one
	}
	switch e.Code {
	case ballast.CodeUnavailable, ballast.CodeRateLimited, ballast.CodeBusy:
		return e.Retry(), true
	}
	return 0, false
}

// originRefused is the last error of a file, with its name.
func (m *importing) originRefused(f OriginFile, err error, mayPass bool) error {
	var e *ballast.Error
	if !errors.As(err, &e) {
		e = ballast.Errorf(ballast.CodeUnavailable, "%s broke off: %s", m.from, err).Because(err)
	}
	more := *e
	if mayPass {
		more.Detail += "; run the same command again to go on"
	}
	return about(f.Path, &more)
}

// readAt fills b with bytes of a file at the origin.
func (m *importing) readAt(ctx context.Context, f OriginFile, b []byte, off int64) error {
	if len(b) == 0 {
		return nil
	}
	have := int64(0)
	return m.again(ctx, f, func() (int64, error) {
		before := have
		err := m.read(ctx, f, off+have, int64(len(b))-have, func(p []byte) error {
			have += int64(copy(b[have:], p))
			return nil
		})
		return have - before, err
	})
}
