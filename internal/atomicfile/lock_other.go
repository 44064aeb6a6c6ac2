//go:build !linux && !darwin

package atomicfile

import "errors"

// lockFolder knows no lock of folders here.
func lockFolder(string) (unlock func(), err error) { return nil, errors.ErrUnsupported }
