package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// What the index can suffer reaches callers typed; a defect stays one.
func TestAsError(t *testing.T) {
	for _, c := range []struct {
		err  error
		code ballast.Code
	}{
		{index.ErrCorrupt, ballast.CodeIntegrity},
		{index.ErrNewer, ballast.CodeUnavailable},
		{index.ErrFull, ballast.CodeUnavailable},
		{index.ErrFailed, ballast.CodeUnavailable},
		{index.ErrTooLarge, ballast.CodeInternal},
		{errors.New("x"), ballast.CodeInternal},
		{ballast.Errorf(ballast.CodeRetired, "x"), ballast.CodeRetired},
	} {
		wrapped := fmt.Errorf("index: key %q: %w", "secret", c.err)
		e := engine.AsError(wrapped)
		if e.Code != c.code || c.code != ballast.CodeRetired && !errors.Is(e, c.err) {
			t.Errorf("%v: got %v", c.err, e)
		}
	}
	if defect := ballast.Errorf(ballast.CodeInternal, "x"); engine.AsError(defect) != defect || defect.Unwrap() != nil {
		t.Error("a typed defect did not stay as it was")
	}
	if engine.AsError(nil) != nil {
		t.Error("no error became one")
	}
}

// A claim that cannot be read is not a lost one: nothing is written meanwhile, and all goes on afterwards.
func TestUnreadableOwnerMarkIsNoVerdict(t *testing.T) {
	m, r := memRig(t, func(o *engine.Options) {
		o.Limits.FenceAge, o.Limits.RecordTimeout, o.Limits.TakeOverWait = 30*time.Millisecond, time.Second, 2*time.Second
	})
	const key = "index/owner.json"
	for name, damage := range map[string]func(){
		"not understood": func() { m.Fail(objstoretest.OpGet, 0, objstore.ErrUnknown, false) },
		"cut short": func() {
			if _, err := m.Put(t.Context(), key, []byte(`{"index_id":"`), objstore.Condition{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			mark := read(t, m, key)
			damage()
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
				_, err := r.open(t, writer, "m")
				if err != nil {
					wantCode(t, err, ballast.CodeUnavailable)
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("an upload is opened on a claim that nobody could read")
				}
				if name == "not understood" {
					damage() // it strikes once
				}
			}
			m.Heal()
			if _, err := m.Put(t.Context(), key, mark, objstore.Condition{}); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
				if _, err := r.push(t, writer, "m", small(name)); err == nil {
					break
				} else if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
		})
	}
}

func read(t *testing.T, b objstore.Bucket, key string) []byte {
	t.Helper()
	r, _, err := b.Get(t.Context(), key, objstore.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var body [4096]byte
	n, _ := r.Read(body[:])
	return body[:n]
}

// failing is an index's store that takes no writes any more.
type failing struct {
	index.Store
	failed atomic.Bool
}

func (f *failing) Update(ctx context.Context, fn func(index.Tx) error) error {
	if f.failed.Load() {
		return fmt.Errorf("%w: input/output error", index.ErrFailed)
	}
	return f.Store.Update(ctx, fn)
}

// An index that a failed commit closed for writing: reads go on, writes say what to do, and the service says that it is
// not ready, so that whatever looks after it starts it anew.
func TestIndexThatFailed(t *testing.T) {
	s, db := memStore(t), &failing{Store: index.NewMem()}
	r := start(t, s, db, options(t, s, db))
	v := r.mustPush(t, writer, "m:1", small("a"))
	half := must(r.open(t, writer, "m:2"))
	if err := r.sendAll(t, writer, half.ID, small("b")); err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	db.failed.Store(true)
	if got := must(r.Version(t.Context(), reader, ref("m"))); got.Key != v.Key {
		t.Errorf("latest is %s", got.Key)
	}
	must(r.Files(t.Context(), reader, ref("m"), engine.ListFiles{Limit: 10, URLs: true}))
	_, opened := r.open(t, writer, "m:3")
	_, committed := r.Commit(t.Context(), writer, half.ID, ballast.CommitRequest{Files: small("b").files()})
	for what, err := range map[string]error{"open": opened, "commit": committed, "ready": r.Ready(t.Context())} {
		if e := engine.AsError(err); err == nil || e.Code != ballast.CodeUnavailable || !strings.Contains(e.Detail, "start the service anew") {
			t.Errorf("%s: %v", what, e)
		}
	}
	r.Close()
	db.failed.Store(false)
	r = start(t, s, db, r.opt)
	if _, err := r.commit(t, writer, half.ID, small("b").files(), ballast.Metadata{}); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}
