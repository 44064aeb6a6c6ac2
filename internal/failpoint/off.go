//go:build !failpoints

package failpoint

import "context"

// Do runs write, which is the change of the step. It returns what write returns.
func Do(ctx context.Context, _ Step, write func(context.Context) error) error { return write(ctx) }
