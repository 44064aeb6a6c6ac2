package s3dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	startLimit  = time.Minute            // from spawn to the child's report, on a loaded machine
	endLimit    = 5 * time.Second        // from the closed pipe to SIGKILL
	firstPause  = 100 * time.Millisecond // before the first restart; doubles
	longPause   = 10 * time.Second       // the longest pause
	reportLimit = 64 << 10               // bytes of a report
)

// The parent and the child talk over the child's standard streams: the parent writes one command and then keeps the
// pipe open for as long as it lives, so that its end, however it dies, is the child's end too. The child writes one
// report to stdout when it listens or gives up; everything that it prints goes to stderr.
type (
	command struct {
		Data    string `json:"data"`
		Listen  string `json:"listen"`
		Movable bool   `json:"movable"` // a taken port moves to the next free one
		Fsync   bool   `json:"fsync"`   // flush each object before acknowledging it
	}
	report struct {
		Address string   `json:"address,omitempty"`
		Folders []string `json:"folders,omitempty"` // what a flush must cover
		Error   string   `json:"error,omitempty"`
		Taken   bool     `json:"taken,omitempty"` // the error is ErrAddressTaken
	}
)

// process is a running child.
type process struct {
	cmd   *exec.Cmd
	pipe  io.Closer // closing it tells the child to end
	ended chan struct{}
	err   error // of Wait, set before ended is closed
}

// spawn starts a child and waits for its report.
func (s *Server) spawn(ctx context.Context, listen string, movable bool) (*process, report, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, report{}, fmt.Errorf("s3dev: finding the own binary: %w", err)
	}
	cmd := exec.Command(exe, s.opt.Args...) //nolint:gosec // the binary itself
	cmd.Env = append(os.Environ(), s.opt.Env...)
	cmd.Stderr = &lineLogger{log: s.opt.Logger}
	cmd.WaitDelay = endLimit
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, report{}, fmt.Errorf("s3dev: pipes to the store's process: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, report{}, fmt.Errorf("s3dev: starting the store's process: %w", err)
	}
	p := &process{cmd: cmd, pipe: stdin, ended: make(chan struct{})}
	reports := make(chan report, 1)
	go p.wait(stdout, reports)

	order := command{Data: s.opt.Data, Listen: listen, Movable: movable, Fsync: s.fsync}
	sendErr := json.NewEncoder(stdin).Encode(order) // a child that is gone already shows in its report
	rep, err := p.started(ctx, reports)
	if err != nil {
		p.end()
		return nil, report{}, errors.Join(err, sendErr)
	}
	return p, rep, nil
}

// wait passes the report on, then reaps the child.
func (p *process) wait(stdout io.Reader, reports chan<- report) {
	var rep report
	if err := json.NewDecoder(io.LimitReader(stdout, reportLimit)).Decode(&rep); err != nil {
		rep = report{Error: "the store's process ended or spoke nonsense before it listened (see the log)"}
	}
	reports <- rep
	_, _ = io.Copy(io.Discard, stdout)
	p.err = p.cmd.Wait()
	close(p.ended)
}

func (p *process) started(ctx context.Context, reports <-chan report) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	select {
	case rep := <-reports:
		if rep.Taken {
			return rep, fmt.Errorf("%w: %s", ErrAddressTaken, rep.Error)
		}
		if rep.Error != "" {
			return rep, fmt.Errorf("s3dev: starting the store: %s", rep.Error)
		}
		return rep, nil
	case <-ctx.Done():
		return report{}, fmt.Errorf("s3dev: waiting for the store to listen: %w", ctx.Err())
	}
}

// end closes the pipe and returns when the child is gone, killing it if it lingers.
func (p *process) end() {
	_ = p.pipe.Close()
	select {
	case <-p.ended:
	case <-time.After(endLimit):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// supervise restarts the child on its own address until life ends. URLs that clients hold name that address, so it
// never moves.
func (s *Server) supervise(life context.Context, child *process) {
	defer close(s.stopped)
	defer s.closeFolders()
	pause := firstPause
	for {
		if began := time.Now(); child != nil {
			select {
			case <-life.Done():
				child.end()
				return
			case <-child.ended:
				_ = child.pipe.Close()
			}
			if time.Since(began) > longPause {
				pause = firstPause
			}
			s.opt.Logger.ErrorContext(life, "the embedded store's process died; starting it again", logError, child.err)
		}
		select {
		case <-life.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
		var err error
		if child, _, err = s.spawn(life, s.address, false); err != nil {
			s.opt.Logger.ErrorContext(life, "the embedded store does not start", logError, err)
		}
	}
}

// Keys of log attributes.
const (
	logError = "error"
	logLine  = "line"
)

// lineLogger logs what is written to it, line by line, each cut at lineLimit bytes.
type lineLogger struct {
	log  interface{ Info(msg string, args ...any) }
	rest []byte
}

const lineLimit = 4096

// Write implements io.Writer.
func (l *lineLogger) Write(p []byte) (int, error) {
	for chunk := range strings.Lines(string(p)) {
		l.rest = append(l.rest, chunk[:min(len(chunk), lineLimit-len(l.rest))]...)
		if strings.HasSuffix(chunk, "\n") {
			if line := strings.TrimSpace(string(l.rest)); line != "" {
				l.log.Info("embedded store", logLine, line)
			}
			l.rest = l.rest[:0]
		}
	}
	return len(p), nil
}
