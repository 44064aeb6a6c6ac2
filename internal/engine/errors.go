package engine

import (
	"context"
	"errors"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// AsError is what a caller may hear of an error of the engine. It is ballast.AsError that also knows what the index can
// suffer. Inside the engine such an error has no code, so that it never passes for a verdict about an upload.
func AsError(err error) *ballast.Error {
	e := ballast.AsError(err)
	if err == nil || e.Code != ballast.CodeInternal {
		return e
	}
	switch {
	case errors.Is(err, index.ErrCorrupt):
		return ballast.Errorf(ballast.CodeIntegrity, "the registry's index is damaged where this request has to read; its operator has to put back a copy of the index").Because(err)
	case errors.Is(err, index.ErrNewer):
		return ballast.Errorf(ballast.CodeUnavailable, "a newer version of the registry wrote what this request has to read; its operator has to run that version").Because(err)
	case errors.Is(err, index.ErrFull):
		return ballast.Errorf(ballast.CodeUnavailable, "the disk of the registry's index is full: nothing can be changed until its operator makes room; then try again").Because(err)
	case errors.Is(err, index.ErrFailed):
		return ballast.Errorf(ballast.CodeUnavailable, "the registry reads its index and does not write to it any more, since a write failed; its operator has to look at the disk and to start the service anew").Because(err)
	}
	return e
}

// storeError turns an error of the object store into one that may cross the wire. Typed errors pass.
func storeError(err error) error {
	var typed *ballast.Error
	switch {
	case err == nil || errors.As(err, &typed):
		return err
	case errors.Is(err, context.Canceled):
		return ballast.Errorf(ballast.CodeUnavailable, "the request was cancelled").Because(err)
	case errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded):
		e := ballast.Errorf(ballast.CodeUnavailable, "the object store does not answer; try again").Because(err)
		e.RetryAfter = 2
		return e
	case errors.Is(err, objstore.ErrDenied):
		return ballast.Errorf(ballast.CodeUnavailable, "the object store refuses the registry: its credentials, their rights or its clock are wrong; its operator has to look").Because(err)
	case errors.Is(err, objstore.ErrNoBucket):
		return ballast.Errorf(ballast.CodeUnavailable, "the object store has no such bucket: the registry's settings are wrong, or somebody removed it; its operator has to look").Because(err)
	case errors.Is(err, objstore.ErrUnknown):
		e := ballast.Errorf(ballast.CodeUnavailable, "the registry does not understand what the object store, or something before it, answers; try again, and tell its operator if that lasts").Because(err)
		e.RetryAfter = 2
		return e
	}
	return err
}
