package s3dev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile of the data folder is held by the store's process, and says its id and where it listens.
const lockFile = "s3.lock"

// Running returns how to reach the store that another process runs on a data folder; nil when none does. It changes nothing,
// and what it returns must not be closed.
func Running(data string) (*Server, error) {
	f, err := os.Open(filepath.Join(data, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("s3dev: %w", err)
	}
	defer f.Close() // which gives the lock back
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return nil, nil
	}
	text, err := os.ReadFile(f.Name())
	lines := strings.Fields(string(text))
	if err != nil || len(lines) < 2 {
		return nil, fmt.Errorf("s3dev: a store runs in %s and does not say where; it may be starting: try again", data)
	}
	file := filepath.Join(data, "s3.credentials")
	keys, err := ReadKeys(file)
	if err != nil {
		return nil, err
	}
	return &Server{Endpoint: "http://" + reachable(lines[1]), Bucket: Bucket, Region: region, CredentialsFile: file, Keys: keys}, nil
}
