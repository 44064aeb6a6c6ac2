// Package canary gives tests their logger. It is one at debug level, and reads every line that it is given: a line that
// holds a token, a signature, or a secret that a test registered fails the test.
//
// The secrets that are in use all through the tests are the canaries: tokens that were minted, signed URLs, the keys of the
// stores, the key of the records.
package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"sync"
)

// Quiet as the level to show is none.
const Quiet = slog.LevelError + 100

// patterns are what a secret looks like that nobody had to register.
var patterns = regexp.MustCompile(`(?i)x-amz-(signature|security-token)(=|%3d)[0-9a-z]{8}|bal_[0-9a-z]{10}_[0-9a-z]{4}|\b(bearer|basic) +[0-9a-z._+/=-]{16}|eyJ[0-9a-z_-]{8,}\.[0-9a-z_-]{8,}\.`)

// process is what the test binary shares between its tests.
var process struct {
	mu      sync.Mutex
	secrets [][]byte
	lines   int
	late    []string // leaks that were found when their test was over
}

// Secret registers a secret for the rest of the test binary. Its hexadecimal and base64 forms are as secret.
func Secret(secrets ...string) {
	process.mu.Lock()
	defer process.mu.Unlock()
	for _, s := range secrets {
		if len(s) < 8 { // or it is found in anything
			panic(fmt.Sprintf("canary: a secret of %d bytes", len(s)))
		}
		b := []byte(s)
		if slices.ContainsFunc(process.secrets, func(known []byte) bool { return bytes.Equal(known, b) }) {
			continue
		}
		process.secrets = append(process.secrets, b, []byte(hex.EncodeToString(b)), []byte(base64.StdEncoding.EncodeToString(b)), []byte(base64.RawURLEncoding.EncodeToString(b)))
	}
}

// Find returns the secret in a text, or "".
func Find(text []byte) string {
	if m := patterns.Find(text); m != nil {
		return string(m)
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	for _, s := range process.secrets {
		if bytes.Contains(text, s) {
			return string(s)
		}
	}
	return ""
}

// Lines is how many lines were read so far.
func Lines() int {
	process.mu.Lock()
	defer process.mu.Unlock()
	return process.lines
}

// Late returns the leaks that nobody could be told of.
func Late() []string {
	process.mu.Lock()
	defer process.mu.Unlock()
	return process.late
}

// T is what is needed of a test.
type T interface {
	Error(args ...any)
	Cleanup(func())
}

// Log returns the logger of a test. Lines from the level show on are in the test's output too, if it has one.
func Log(t T, show slog.Level) *slog.Logger {
	all := slog.NewTextHandler(Reader(t, io.Discard), &slog.HandlerOptions{Level: slog.LevelDebug})
	shown, ok := t.(interface{ Output() io.Writer })
	if show >= Quiet || !ok {
		return slog.New(all)
	}
	return slog.New(slog.NewMultiHandler(all, slog.NewTextHandler(shown.Output(), &slog.HandlerOptions{Level: show})))
}

// Reader returns a writer that reads what passes to another one, for a test with a logger of its own.
func Reader(t T, to io.Writer) io.Writer {
	r := &reader{t: t, to: to}
	t.Cleanup(r.end)
	return r
}

type reader struct {
	to io.Writer

	mu sync.Mutex
	t  T // nil once the test is over
}

func (r *reader) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t = nil
}

// Write implements io.Writer. A logger writes a line at a time.
func (r *reader) Write(line []byte) (int, error) {
	found := Find(line)
	process.mu.Lock()
	process.lines++
	process.mu.Unlock()
	if found != "" {
		r.tell(fmt.Sprintf("a line of the log holds the secret %q: %s", found, line))
	}
	return r.to.Write(line)
}

func (r *reader) tell(leak string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.t != nil {
		r.t.Error(leak)
		return
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	process.late = append(process.late, leak)
}
