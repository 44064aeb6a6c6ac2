//go:build failpoints

package failpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Hook is called at each moment of each step, by whichever goroutine takes it. An error takes the place of what the step
// returns; before the write it also keeps it from happening.
type Hook func(ctx context.Context, s Step, m Moment) error

// hook is the process's own: steps are taken by background work too, which no test hands anything to.
var hook atomic.Pointer[Hook]

// Set installs the hook of the process; nil takes it away. It takes the place of what the environment says.
func Set(h Hook) {
	if h == nil {
		h = func(context.Context, Step, Moment) error { return nil }
	}
	hook.Store(&h)
}

// Do runs write, which is the change of the step, between the two moments of the step.
func Do(ctx context.Context, s Step, write func(context.Context) error) error {
	h := hook.Load()
	if h == nil {
		fromEnvironment()
		h = hook.Load()
	}
	if err := (*h)(ctx, s, Before); err != nil {
		return err
	}
	err := write(ctx)
	if err := (*h)(ctx, s, After); err != nil {
		return err
	}
	return err
}

// ErrInjected is the error of a step that was made to fail by the environment.
var ErrInjected = errors.New("failpoint: made to fail")

var fromEnvironment = sync.OnceFunc(func() {
	h, err := parse(os.Getenv(Variable))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	Set(h)
})

func parse(order string) (Hook, error) {
	if order == "" {
		return nil, nil
	}
	if file, ok := strings.CutPrefix(order, "tell:"); ok && file != "" {
		return tell(file), nil
	}
	fields := append(strings.Split(order, ":"), "1")
	if len(fields) < 4 || len(fields) > 5 {
		return nil, fmt.Errorf("failpoint: %s=%s: want <step>:<moment>:<action>[:<n>]", Variable, order)
	}
	n, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil || n < 1 {
		return nil, fmt.Errorf("failpoint: %s=%s: %q is no number from 1 on", Variable, order, fields[3])
	}
	step, err := ParseStep(fields[0])
	if err != nil {
		return nil, err
	}
	act, ok := map[string]func() error{"kill": kill, "hold": hold, "error": fail}[fields[2]]
	moment := Moment(fields[1])
	if !ok || moment != Before && moment != After {
		return nil, fmt.Errorf("failpoint: %s=%s: no such moment or action", Variable, order)
	}
	var met atomic.Int64
	return func(_ context.Context, s Step, m Moment) error {
		if s != step || m != moment || met.Add(1) != n {
			return nil
		}
		return act()
	}, nil
}

// ParseStep returns the step of a name.
func ParseStep(name string) (Step, error) {
	for _, s := range Steps() {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("failpoint: there is no step %q", name)
}

// tell writes down which steps begin.
func tell(file string) Hook {
	return func(_ context.Context, s Step, m Moment) error {
		if m == After {
			return nil
		}
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(f, s)
		return errors.Join(err, f.Close())
	}
}

func fail() error { return ErrInjected }

// hold stops the process, all of it, until it is killed.
func hold() error {
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	select {}
}

// kill ends the process as kill -9 does.
func kill() error {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
