//go:build !linux && !darwin

package client

import (
	"errors"
	"os"
)

// tryLock has no locks to try here.
func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
