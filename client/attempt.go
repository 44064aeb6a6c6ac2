package client

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"

	"github.com/ballast-registry/ballast"
)

// attempts remembers the attempt of an upload from its opening until it is settled, in a file of its own for each
// registry, target and folder. It holds no secret: only the same principal gets the upload back.
type attempts struct {
	file string // empty: nothing is remembered
	text *string
	left *bool // by an earlier push, or by one beside this one
}

func newAttempts(dir, registry string, target ballast.Ref, path string) attempts {
	a := attemptsIn("")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return a
		}
		dir = filepath.Join(cache, "ballast", "attempts")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return a
	}
	of := ballast.DigestOf([]byte(strings.Join([]string{registry, target.String(), abs}, "\x00")))
	a.file = filepath.Join(dir, of.Encoded())
	return a
}

// attemptsIn are those that a file remembers.
func attemptsIn(file string) attempts { return attempts{file, new(string), new(bool)} }

// current returns the attempt that an earlier push left, or a new one. One that cannot be saved is good for this push.
func (a attempts) current() string {
	if *a.text == "" {
		*a.text = rand.Text()
		if a.file != "" {
			a.claim()
		}
	}
	return *a.text
}

// claim saves the attempt unless one is saved already, which then is the attempt. The link makes it whole or not there:
// of two pushes that begin at once one saves and both get the same.
func (a attempts) claim() {
	if err := os.MkdirAll(filepath.Dir(a.file), 0o700); err != nil {
		return
	}
	fresh := a.file + "." + *a.text
	if err := os.WriteFile(fresh, []byte(*a.text), 0o600); err != nil {
		return
	}
	defer os.Remove(fresh)
	if os.Link(fresh, a.file) == nil {
		return
	}
	if b, err := os.ReadFile(a.file); err == nil && len(b) >= 16 && len(b) <= 64 {
		*a.text, *a.left = string(b), true
		return
	}
	_ = os.Rename(fresh, a.file) // what lies there is of no use
}

// forget makes the next attempt a new one.
func (a attempts) forget() {
	*a.text, *a.left = "", false
	if a.file != "" {
		_ = os.Remove(a.file)
	}
}
