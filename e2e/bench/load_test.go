package bench_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	labstack "github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"
)

// echoVariable makes the test binary a server that answers each path with what it was told on its input, and does no
// more: a bare handler of echo, without authentication, limits or log.
const echoVariable = "BALLAST_BENCH_ECHO"

// canned is an answer as it was seen.
type canned struct {
	Status int
	Header http.Header
	Body   []byte
}

// echo serves the answers that it reads from in, and says on out where.
func echo(in io.Reader, out io.Writer) error {
	var answers map[string]canned
	if err := json.NewDecoder(in).Decode(&answers); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, l.Addr())
	e := labstack.New()
	for path, a := range answers {
		e.GET(path, func(c labstack.Context) error {
			w := c.Response()
			header := w.Header()
			for name, values := range a.Header {
				header[name] = values
			}
			w.WriteHeader(a.Status)
			_, err := w.Write(a.Body)
			return err
		})
	}
	return http.Serve(l, e)
}

// process is a server that is measured.
type process struct {
	at  string // host:port
	pid int
}

// startEcho starts the bare server for the time of the benchmark.
func startEcho(b *testing.B, answers map[string]canned) process {
	b.Helper()
	text, err := json.Marshal(answers)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(b.Context()), os.Args[0])
	cmd.Env, cmd.Stdin, cmd.Stderr = append(os.Environ(), echoVariable+"=1"), bytes.NewReader(text), os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return process{strings.TrimSpace(line), cmd.Process.Pid}
}

// processorTime is what a process has used so far, to a hundredth of a second.
func (p process) processorTime(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name, which may hold anything
	fields := strings.Fields(rest)
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// loading is a kind of request that is sent over and over, on many connections at once.
type loading struct {
	requests [][]byte // as they go over the wire, taken in turn
	status   int      // of every answer
}

// request writes a request as it goes over the wire.
func request(method, path, token string, body []byte) []byte {
	var raw bytes.Buffer
	fmt.Fprintf(&raw, "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, path)
	if token != "" {
		fmt.Fprintf(&raw, "Authorization: Bearer %s\r\n", token)
	}
	if body != nil {
		fmt.Fprintf(&raw, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	raw.WriteString("\r\n")
	raw.Write(body)
	return raw.Bytes()
}

// run loads a server for a while and returns how many answers a second came. The client does no more than find the end of
// each answer: on one machine, what it used the server would not have.
func (l loading) run(b *testing.B, at string, connections int, d time.Duration) (rate float64) {
	b.Helper()
	var n atomic.Int64
	began := time.Now()
	deadline := began.Add(d)
	var g errgroup.Group
	for c := range connections {
		g.Go(func() error {
			conn, err := net.Dial("tcp", at)
			if err != nil {
				return err
			}
			defer conn.Close()
			r := bufio.NewReaderSize(conn, 16<<10)
			for i := c; time.Now().Before(deadline); i += connections {
				if _, err := conn.Write(l.requests[i%len(l.requests)]); err != nil {
					return err
				}
				status, err := skim(r)
				if err == nil && status != l.status {
					err = fmt.Errorf("answered %d", status)
				}
				if err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	return float64(n.Load()) / time.Since(began).Seconds()
}

var errAnswer = errors.New("no answer of HTTP/1.1 with a length")

// skim reads an answer and returns its status.
func skim(r *bufio.Reader) (status int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil || len(line) < 12 {
		return 0, errors.Join(err, errAnswer)
	}
	for _, digit := range line[9:12] {
		status = status*10 + int(digit-'0')
	}
	const name = "Content-Length: "
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return status, err
		}
		if len(line) <= 2 {
			break
		}
		if len(line) > len(name) && string(line[:len(name)]) == name {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):]))); err != nil {
				return status, err
			}
		}
	}
	if length < 0 {
		return status, errAnswer
	}
	_, err = r.Discard(length)
	return status, err
}
