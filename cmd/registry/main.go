// Command ballast is the model registry: the service, and the client that publishes and fetches models.
//
//	ballast serve                      runs the registry
//	ballast doctor                     says whether it would be safe, and what to change
//	ballast login URL                  remembers a registry and a token for it
//	ballast push DIR|FILE NAME[:VERSION]
//	ballast import SOURCE NAME[:VERSION]
//	ballast pull REF [DIR]
//	ballast ls, show, children         look
//	ballast set, stage, alias          say what a version is
//	ballast promote, rollback, production
//	ballast retire, rm, restore        take versions away, and back
//	ballast gc                         remove what nobody uses
//	ballast events                     what happened
//	ballast token                      who may do what
//	ballast task                       what versions can be for
//
// A setting is taken from its flag, else from its BALLAST_… variable, else from the configuration file. The client reads
// BALLAST_URL, BALLAST_TOKEN and BALLAST_TOKEN_FILE, and $XDG_CONFIG_HOME/ballast/config.json, which login writes.
//
// With --json a command writes exactly one JSON document to stdout, {"error": …} when it failed; everything meant for
// people goes to stderr then. Only events --follow writes one document a line.
//
// Exit codes: 0 done, 1 failed, 2 usage, 3 not found or retired, 4 denied, 5 conflict, 6 integrity, 7 unavailable, try
// again.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by -ldflags "-X main.version=…".
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}
