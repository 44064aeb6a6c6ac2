package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOrderOfAPush reads the order of writes and syncs from the system calls of one push.
func TestOrderOfAPush(t *testing.T) {
	need(t, nil, "strace")
	calls := traceAPush(t)
	if err := inOrder(calls); err != nil {
		t.Fatal(err)
	}
	// The control: the same calls without those that one rule asks for, or with two of them in the wrong order.
	push := stepsOf(calls)
	for broken, calls := range map[error][]call{
		errBytes:    without(calls, "fsync", objectBytes, calls[0], push.record),
		errStore:    without(calls, "syncfs", "", push.firstBlob, push.verified),
		errManifest: without(calls, "syncfs", "", push.verified, push.sealed),
		errSeal:     without(calls, "fdatasync", indexFile, push.sealed, push.record),
		errRecord:   without(calls, "syncfs", "", push.record, push.ready),
		errAnswer:   without(calls, "fdatasync", indexFile, push.ready, push.answer),
		errSteps:    slices.DeleteFunc(slices.Clone(calls), func(c call) bool { return c == push.sealed }),
	} {
		if err := inOrder(calls); !errors.Is(err, broken) {
			t.Errorf("planted: %v; found: %v", broken, err)
		}
	}
	early := push.answer
	early.from, early.to = push.sealed.from-2, push.sealed.from-1
	if err := inOrder(append(slices.DeleteFunc(slices.Clone(calls), func(c call) bool { return c == push.answer }), early)); !errors.Is(err, errAnswer) {
		t.Errorf("planted: an answer before the seal; found: %v", err)
	}
}

// What the order of a push must be.
var (
	errSteps    = errors.New("a step of the push is not among the system calls")
	errBytes    = errors.New("an object gets its name before its bytes are flushed")
	errStore    = errors.New("a blob is verified in the index before the store is flushed")
	errManifest = errors.New("a version is sealed in the index before the store is flushed")
	errSeal     = errors.New("a record is put before the seal is flushed")
	errRecord   = errors.New("a version is ready in the index before its record is flushed")
	errAnswer   = errors.New("a version is answered as ready before the index is flushed")
)

const (
	indexFile   = "/index.db>"
	objectBytes = "/.sgwtmp/" // in the path of a file that has no name yet
	syncsCommit = 2           // of the index: one of the pages, one of the page that makes them count
)

// steps are the calls by which a push is known.
type steps struct {
	firstBlob call // gets its name
	verified  call // the first blob, in the index
	sealed    call // the version, in the index
	record    call // gets its name
	ready     call // the version, in the index
	answer    call // that the version is ready
}

func stepsOf(calls []call) steps {
	inIndex := func(text string) call {
		return first(calls, func(c call) bool { return c.name == "pwrite64" && c.has(indexFile, text) })
	}
	return steps{
		firstBlob: first(calls, call.namesBlob),
		verified:  inIndex(`\"state\":\"verified\"`),
		sealed:    inIndex(`\"status\":\"sealed\"`),
		record:    first(calls, func(c call) bool { return c.name == "linkat" && c.has("/models/", `"00000001.json"`) }),
		ready:     inIndex(`\"status\":\"ready\"`),
		answer:    first(calls, func(c call) bool { return c.name == "write" && c.has("<TCP", "HTTP/1.1 200", `\"status\":\"ready\"`) }),
	}
}

// inOrder is nil when every sync has begun and ended where the push depends on it.
func inOrder(calls []call) error {
	s := stepsOf(calls)
	for _, step := range []call{s.firstBlob, s.verified, s.sealed, s.record, s.ready, s.answer} {
		if step == (call{}) {
			return fmt.Errorf("%w: %+v", errSteps, s)
		}
	}
	if err := bytesFirst(calls); err != nil {
		return err
	}
	for _, c := range calls {
		switch {
		case !c.namesBlob():
		case c.to < s.verified.from && syncs(calls, "syncfs", "", c, s.verified) == 0:
			return fmt.Errorf("%w: %s", errStore, c)
		case syncs(calls, "syncfs", "", c, s.sealed) == 0:
			return fmt.Errorf("%w: %s", errManifest, c)
		}
	}
	for _, rule := range []struct {
		sync, of       string
		times          int
		after, before  call
		otherwiseError error
	}{
		{"fdatasync", indexFile, syncsCommit, s.sealed, s.record, errSeal},
		{"syncfs", "", 1, s.record, s.ready, errRecord},
		{"fdatasync", indexFile, syncsCommit, s.ready, s.answer, errAnswer},
	} {
		if syncs(calls, rule.sync, rule.of, rule.after, rule.before) < rule.times {
			return rule.otherwiseError
		}
	}
	return nil
}

// bytesFirst wants each file flushed after all else that was done with it, and then named.
func bytesFirst(calls []call) error {
	last := map[string]call{} // of a file without a name, by its descriptor in the store's process
	for _, c := range calls {
		if fd, path, ok := strings.Cut(c.args, "<"); ok && strings.Contains(path, objectBytes) && c.name != "linkat" {
			last[fd] = c
		}
		if c.name != "linkat" || !c.has("/s3/") {
			continue
		}
		m := linkedFile.FindStringSubmatch(c.args)
		if m == nil || last[m[1]].name != "fsync" || last[m[1]].to >= c.from {
			return fmt.Errorf("%w: %s", errBytes, c)
		}
		delete(last, m[1])
	}
	return nil
}

var linkedFile = regexp.MustCompile(`/fd>, "(\d+)"`)

// syncs counts the flushes of a kind that begin after one call has ended, and end before another begins.
func syncs(calls []call, name, of string, after, before call) (n int) {
	for _, c := range calls {
		if c.name == name && c.has(of) && c.from > after.to && c.to < before.from {
			n++
		}
	}
	return n
}

// without leaves out the calls of a kind from one call to another.
func without(calls []call, name, of string, after, before call) []call {
	return slices.DeleteFunc(slices.Clone(calls), func(c call) bool {
		return c.name == name && c.has(of) && c.from >= after.from && c.to <= before.to
	})
}

// call is a system call that has succeeded.
type call struct {
	name, args string
	from, to   int // lines of the log
}

// String returns the call without what was written.
func (c call) String() string { return fmt.Sprintf("line %d: %s(%.200s", c.from, c.name, c.args) }

func (c call) has(parts ...string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(c.args, part) })
}

func (c call) namesBlob() bool { return c.name == "linkat" && c.has("/blobs/sha256/") }

func first(calls []call, is func(call) bool) call {
	if i := slices.IndexFunc(calls, is); i >= 0 {
		return calls[i]
	}
	return call{}
}

var (
	wholeLine   = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (\d+)`)
	beginLine   = regexp.MustCompile(`^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (\d+)`)
)

// parse reads a log of strace -f, in the order in which the calls began.
func parse(log string) (calls []call) {
	begun := map[string]call{} // by thread
	n := 0
	for line := range strings.Lines(log) {
		n++
		if m := wholeLine.FindStringSubmatch(line); m != nil {
			calls = append(calls, call{m[2], m[3], n, n})
		} else if m := beginLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			begun[m[1]] = call{name: m[2], args: m[3], from: n}
		} else if m := resumedLine.FindStringSubmatch(line); m != nil {
			c := begun[m[1]]
			c.args, c.to = c.args+m[3], n
			calls = append(calls, c)
		}
	}
	slices.SortFunc(calls, func(a, b call) int { return a.from - b.from })
	return calls
}

// traceAPush returns the system calls of a service that serves one push: small files, and one in parts.
func traceAPush(t *testing.T) []call {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace")
	const names = "trace=fsync,fdatasync,syncfs,linkat,pwrite64,write"
	traced := program{wrapper: []string{"strace", "-f", "-yy", "-s", "65536", "--seccomp-bpf", "-qq", "-e", "signal=none", "-e", names, "-o", log, "--"}}
	s := must[*service](t)(traced.launch(t.Context(), t, filepath.Join(t.TempDir(), "data")))
	c, err := s.client(nil)
	check(t, err)
	p := newPublishers(t, 1, 0)[0]
	p.next = 3
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err = p.push(ctx, c, p.attempts)
	check(t, err)
	for { // the last line may come after the answer
		text := must[[]byte](t)(os.ReadFile(log))
		if calls := parse(string(text)); stepsOf(calls).answer != (call{}) {
			return calls
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no answer among the system calls in %s", log)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
