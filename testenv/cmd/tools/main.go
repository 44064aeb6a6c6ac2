// Command tools builds the pinned programs that tests and lint run, or those named as arguments, and prints their paths.
//
//	go run ./testenv/cmd/tools [minio mc s5cmd rclone golangci-lint]
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/ballast-registry/ballast/testenv/tool"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string, stdout, stderr io.Writer) error {
	if len(names) == 0 {
		all, err := tool.Names()
		if err != nil {
			return err
		}
		names = all
	}
	for _, name := range names {
		path, err := tool.Build(ctx, name, stderr)
		if err != nil {
			return err
		}
		fmt.Fprintln(stdout, path)
	}
	return nil
}
