package main

import "github.com/ballast-registry/ballast/internal/s3dev"

// s3devCmd is the process of the embedded object store, which serve starts.
type s3devCmd struct{}

// Run implements the command.
func (*s3devCmd) Run() error { panic(exit(s3dev.Child())) }
