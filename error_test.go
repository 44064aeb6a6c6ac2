package ballast_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

func TestEveryCodeHasItsStatus(t *testing.T) {
	want := map[ballast.Code]int{
		ballast.CodeInvalid: 400, ballast.CodeTooLarge: 413, ballast.CodeUnauthenticated: 401, ballast.CodeDenied: 403,
		ballast.CodeQuotaExceeded: 403, ballast.CodeNotFound: 404, ballast.CodeAlreadyExists: 409, ballast.CodeConflict: 409,
		ballast.CodeReferenced: 409, ballast.CodeMissing: 409, ballast.CodeLeaseLost: 409, ballast.CodeBusy: 409,
		ballast.CodePrecondition: 412, ballast.CodeRetired: 410, ballast.CodeGone: 410, ballast.CodeIntegrity: 422,
		ballast.CodeRateLimited: 429, ballast.CodeUnavailable: 503, ballast.CodeInternal: 500,
	}
	got := map[ballast.Code]int{}
	for _, c := range ballast.Codes() {
		got[c] = c.Status()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s := ballast.Code("unheard of").Status(); s != 500 {
		t.Errorf("an unknown code has status %d", s)
	}
}

func TestErrorOnTheWire(t *testing.T) {
	e := ballast.Errorf(ballast.CodeConflict, "%s is held", "acme::m::1").Because(errors.New("s3cret"))
	e.Holder = &ballast.Holder{Upload: "u", CreatedBy: "ci", ExpiresAt: ballast.At(time.Unix(0, 0))}
	e.Expected, e.Missing, e.RetryAfter = someDigest, []digest.Digest{ballast.EmptyDigest}, 1.5
	text := string(must(json.Marshal(e)))
	want := `{"code":"conflict","detail":"acme::m::1 is held","expected":"` + someDigest + `","missing":["` + string(ballast.EmptyDigest) +
		`"],"holder":{"upload":"u","created_by":"ci","expires_at":"1970-01-01T00:00:00.000000Z"},"retry_after":1.5}`
	if text != want {
		t.Errorf("got %s\nwant %s", text, want)
	}
	var back ballast.Error
	if err := json.Unmarshal([]byte(text), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, &back, cmpopts.IgnoreUnexported(ballast.Error{})); diff != "" {
		t.Error(diff)
	}
	if back.Retry() != 1500*time.Millisecond || e.Error() != "conflict: acme::m::1 is held" {
		t.Error(back.Retry(), e)
	}
}

func TestAsError(t *testing.T) {
	e := ballast.Errorf(ballast.CodeBusy, "reading: %w", io.ErrUnexpectedEOF)
	wrapped := fmt.Errorf("engine: %w", e)
	if ballast.AsError(wrapped) != e || ballast.CodeOf(wrapped) != ballast.CodeBusy || !errors.Is(wrapped, io.ErrUnexpectedEOF) {
		t.Error("an Error is lost in a chain")
	}
	unknown := ballast.AsError(io.ErrClosedPipe)
	if unknown.Code != ballast.CodeInternal || !errors.Is(unknown, io.ErrClosedPipe) {
		t.Errorf("%v", unknown)
	}
	if text := string(must(json.Marshal(unknown))); strings.Contains(text, io.ErrClosedPipe.Error()) {
		t.Errorf("the cause reached the wire: %s", text)
	}
	if ballast.AsError(nil) != nil || ballast.CodeOf(nil) != "" {
		t.Error("nil is an error")
	}
}
