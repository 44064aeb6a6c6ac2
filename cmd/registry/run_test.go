package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

func TestEveryCodeHasItsExitCode(t *testing.T) {
	want := map[ballast.Code]int{
		ballast.CodeInvalid: 2, ballast.CodeTooLarge: 2,
		ballast.CodeNotFound: 3, ballast.CodeRetired: 3, ballast.CodeGone: 3,
		ballast.CodeUnauthenticated: 4, ballast.CodeDenied: 4, ballast.CodeQuotaExceeded: 4,
		ballast.CodeAlreadyExists: 5, ballast.CodeConflict: 5, ballast.CodeReferenced: 5, ballast.CodeMissing: 5,
		ballast.CodeLeaseLost: 5, ballast.CodeBusy: 5, ballast.CodePrecondition: 5,
		ballast.CodeIntegrity: 6, ballast.CodeRateLimited: 7, ballast.CodeUnavailable: 7, ballast.CodeInternal: 1,
	}
	for _, code := range ballast.Codes() {
		if got, known := want[code]; !known || exitOf(code) != got {
			t.Errorf("%s: exit code %d, want %d", code, exitOf(code), got)
		}
	}
}

func TestReport(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	cases := []struct {
		ctx  context.Context
		err  error
		code int
		says string
	}{
		{t.Context(), nil, 0, ""},
		{t.Context(), errors.New("disk full"), 1, "disk full"},
		{t.Context(), fmt.Errorf("wrapped: %w", ballast.Errorf(ballast.CodeIntegrity, "other bytes")), 6, "other bytes"},
		{cancelled, ballast.Errorf(ballast.CodeUnavailable, "cut"), 1, "interrupted"},
		{t.Context(), &ballast.Error{Code: ballast.CodeInternal, Detail: "a defect", RequestID: "r-1"}, 1, "request id r-1"},
		{t.Context(), ballast.Errorf(ballast.CodeUnauthenticated, "no token"), 4, "ballast login URL"},
	}
	for _, c := range cases {
		var stdout, stderr bytes.Buffer
		a := &app{stdout: &stdout, stderr: &stderr}
		if code := a.report(c.ctx, true, c.err); code != c.code || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%v: exit code %d, %q", c.err, code, stderr.String())
		}
		var doc struct{ Error *ballast.Error }
		if c.err == nil {
			continue
		}
		if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil || doc.Error == nil || doc.Error.Code == "" {
			t.Errorf("%v: document %q, %v", c.err, stdout.String(), err)
		}
	}
}

func TestPlainProgressTellsOfALongFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		show, stop := newPlain(&out)
		show(client.Event{Phase: client.PhaseUpload, Files: 1, Total: 100 << 20})
		for range 12 {
			time.Sleep(time.Second)
			show(client.Event{Phase: client.PhaseUpload, Path: "a", Bytes: 4 << 20})
		}
		show(client.Event{Phase: client.PhaseUpload, Path: "a", Done: true})
		stop()
		want := "upload: 1 file, 100 MiB\nupload: 20 MiB of 100 MiB, 4.0 MiB/s, 20s left\nupload: 40 MiB of 100 MiB, 4.0 MiB/s, 15s left\nupload a\n"
		if out.String() != want {
			t.Errorf("said %q", out.String())
		}
	})
}

func TestWhatWasInterruptedSaysHowToGoOn(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	cut := ballast.Errorf(ballast.CodeUnavailable, "cut")
	for want, err := range map[string]error{
		"what has arrived":       cutPull.because(cancelled, cut),
		"again to go on":         cutPush.because(cancelled, cut),
		"ballast: interrupted\n": cut,
	} {
		var stderr bytes.Buffer
		a := &app{stdout: io.Discard, stderr: &stderr}
		if code := a.report(cancelled, false, err); code != exitFailed || !strings.Contains(stderr.String(), want) {
			t.Errorf("exit code %d, %q", code, stderr.String())
		}
	}
	if err := cutPull.because(t.Context(), cut); !errors.Is(err, cut) {
		t.Errorf("not interrupted: %v", err)
	}
}

// Bars end whatever they were told: with what an earlier run left, with a file that never ends, and with less than planned.
func TestBarsEnd(t *testing.T) {
	var out bytes.Buffer
	show, stop := newBars(&out)
	for _, e := range []client.Event{
		{Phase: client.PhaseDownload, Files: 2, Total: 2 * ownBar}, {Phase: client.PhaseDownload, Total: -5},
		{Phase: client.PhaseDownload, Path: "sub/model-00001-of-00002.safetensors", Size: ownBar}, {Phase: client.PhaseDownload, Path: "b", Size: ownBar - 5},
		{Phase: client.PhaseDownload, Path: "sub/model-00001-of-00002.safetensors", Bytes: ownBar}, {Phase: client.PhaseDownload, Path: "b", Bytes: 1},
		{Phase: client.PhaseVerify, Files: 2, Total: 2 * ownBar}, {Phase: client.PhaseVerify, Path: "b", Bytes: 1}, {Note: "look here"},
		{Phase: client.PhaseDownload, Path: "sub/model-00001-of-00002.safetensors", Done: true},
	} {
		show(e)
	}
	ended := make(chan struct{})
	go func() { stop(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("they do not end")
	}
}

func TestTalliesAddUpAndTakeBack(t *testing.T) {
	var out bytes.Buffer
	show, stop := newLines(&out)
	for _, e := range []client.Event{
		{Phase: client.PhaseUpload, Files: 2, Total: 10}, {Phase: client.PhaseUpload, Path: "a", Bytes: 6},
		{Phase: client.PhaseUpload, Path: "a", Bytes: -6}, {Phase: client.PhaseUpload, Path: "a", Bytes: 7},
		{Phase: client.PhaseUpload, Path: "a", Done: true}, {Phase: client.PhaseUpload, Note: "look here"},
	} {
		show(e)
	}
	stop()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if want := `{"phase":"upload","files":2,"files_done":1,"total":10,"bytes":7}`; lines[len(lines)-1] != want {
		t.Errorf("last line %s", lines[len(lines)-1])
	}
	if !strings.Contains(out.String(), "look here") {
		t.Error("the note is not shown")
	}
}
