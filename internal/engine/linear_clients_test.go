package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// client makes random calls, one after the other, and notes what was answered.
type client struct {
	*rand.Rand
	t    *testing.T
	h    *history
	id   int
	seen map[seenAlias]int8 // revisions
}

type seenAlias struct {
	n     *historyName
	alias int8
}

func newClient(t *testing.T, h *history, id int) *client {
	return &client{rand.New(rand.NewPCG(h.seed, uint64(h.round)<<16|uint64(id))), t, h, id, map[seenAlias]int8{}}
}

func (c *client) oneIn(n int) bool { return c.IntN(n) == 0 }

// intruder marks the context of calls that come between the steps of another.
type intruder struct{}

// call makes one of the client's calls, a push being several.
func (c *client) call() {
	n := c.h.names[c.IntN(len(c.h.names))]
	content := int8(1 + c.IntN(linearContents))
	switch i := c.IntN(26); {
	case i < 5:
		if id := c.create(n, c.anyAttempt()); id != "" {
			c.publish(n, id, content)
		}
	case i < 7:
		c.create(n, c.anyAttempt())
	case i < 9:
		if id := c.anyUpload(n); id != "" {
			c.publish(n, id, content)
		}
	case i < 11:
		if id := c.anyUpload(n); id != "" {
			c.abort(n, id)
		}
	case i < 12:
		if id := c.anyUpload(n); id != "" {
			c.show(n, id)
		}
	case i < 17:
		c.read(n, content)
	case i < 22:
		c.setAlias(n, c.anyAlias(), c.anyLabel(n))
	case i < 24:
		c.deleteAlias(n, c.anyAlias())
	default:
		c.aliases(n)
	}
}

// whileSealed makes calls that must know a sealed version from a ready one.
func (c *client) whileSealed(n *historyName, label int8) {
	c.readLabel(n, label, reader)
	for _, id := range c.someUploads(n) {
		c.abort(n, id)
	}
	switch c.IntN(5) {
	case 0:
		c.readLabel(n, label, writer)
	case 1:
		c.setAlias(n, c.anyAlias(), label)
	case 2:
		c.readLatest(n)
	default: // the attempt that is open, if it is, or another one
		c.create(n, min(2*label-int8(c.IntN(2)), linearAttempts))
	}
}

func (c *client) anyAttempt() int8 { return int8(1 + c.IntN(linearAttempts)) }
func (c *client) anyAlias() int8   { return int8(c.IntN(linearAliases)) }

// anyUpload draws one of the latest uploads that clients know of, or "".
func (c *client) anyUpload(n *historyName) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.uploads[max(0, len(n.uploads)-1-c.IntN(4))]
}

func (c *client) someUploads(n *historyName) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.uploads[max(1, len(n.uploads)-2):]...)
}

// anyLabel draws mostly a version that was seen.
func (c *client) anyLabel(n *historyName) int8 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.labels) == 0 || c.oneIn(8) {
		return int8(1 + c.IntN(linearLabels))
	}
	return n.labels[c.IntN(len(n.labels))]
}

// openSteps is how many steps of a name's history may be of calls without an answer. Each may lie anywhere after its call,
// or nowhere, and the checker's time grows with their number as an exponential does: with 6 it was 2 s at worst in 600
// histories, with 9 it was 47 s.
const openSteps = 6

// hurry is a context that now and then ends during the call, or before it. steps is how many the call leaves open then.
func (c *client) hurry(n *historyName, steps int32) (context.Context, context.CancelFunc) {
	if !c.oneIn(12) || n.open.Add(steps) > openSteps {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), time.Duration(c.IntN(3)*c.IntN(1000))*time.Microsecond)
}

// cutOff stands for the answer of a call that was cut off.
const cutOff ballast.Code = "(cut off)"

// unanswered reports whether a call was cut off, so that nobody knows what it did.
func unanswered(ctx context.Context, err error, u ballast.Upload) bool {
	code := ballast.CodeOf(err)
	cut := code == ballast.CodeInternal || code == ballast.CodeUnavailable || u.Status == ballast.UploadVerifying
	return ctx.Err() != nil && (cut || errors.Is(err, ctx.Err()))
}

func (c *client) create(n *historyName, attempt int8) (id string) {
	req := ballast.CreateUpload{Name: n.name, Attempt: fmt.Sprintf("attempt-%d-%s", attempt, ballast.DigestOf([]byte(n.name.Fold())).Encoded()[:16])}
	if label := linearLabelOf(attempt); label > 0 {
		req.Version = ballast.MajorVersion(uint64(label))
	}
	call := time.Since(c.h.begin)
	u, created, err := c.h.registry.CreateUpload(context.Background(), writer, req)
	out := n.upload(u, err)
	out.created = created
	var refused *ballast.Error
	if errors.As(err, &refused) {
		out.content = n.digests[refused.Expected]
		if refused.Holder != nil {
			out.upload = n.number(refused.Holder.Upload)
		}
	}
	show := fmt.Sprintf("create attempt %d, label %d -> %q upload %d content %d %s", attempt, linearLabelOf(attempt), out.code, out.upload, out.content, out.status)
	c.h.record(n, c.id, call, true, show, out.create(attempt))
	c.h.count("create", out.code)
	return u.ID
}

// publish sends a content for an upload, and commits it. What was committed is read back.
func (c *client) publish(n *historyName, id string, content int8) {
	c.send(n, id, content)
	ctx, cancel := c.hurry(n, 3)
	defer cancel()
	number, call := n.number(id), time.Since(c.h.begin)
	u, err := c.h.registry.Commit(ctx, writer, id, ballast.CommitRequest{Files: n.files(content)})
	out := n.upload(u, err)
	show := fmt.Sprintf("commit upload %d, content %d -> %q %s label %d content %d", number, content, out.code, out.status, out.label, out.content)
	answered, steps := true, []linearStep{}
	switch {
	case unanswered(ctx, err, u):
		answered, out.code = false, cutOff
		steps = append(steps, linearTryAccept(number, content), linearTrySeal(number), linearTryReady(number))
	case out.code == "" && out.status == ballast.UploadDone && out.content == content:
		steps = append(steps, linearAccept(number, content), linearSeal(number, out.label), linearReady(number))
	case out.code == ballast.CodeLeaseLost:
		steps = append(steps, linearTryAccept(number, content), linearGone(number))
	case out.code == ballast.CodeConflict:
		steps = append(steps, linearOther(number, content))
	default:
		steps = append(steps, linearImpossible)
	}
	c.h.record(n, c.id, call, answered, show, steps...)
	c.h.count("commit", out.code)
	if out.code == "" && out.label > 0 {
		n.mu.Lock()
		n.labels = append(n.labels, out.label)
		n.mu.Unlock()
		c.readLabel(n, out.label, reader)
	}
}

// linearImpossible is the step of an answer that no state gives.
func linearImpossible(s linearState) (linearState, bool) { return s, false }

// send pins a content to an upload and sends what is missing. An upload that takes nothing any more says so to the
// commit too.
func (c *client) send(n *historyName, id string, content int8) {
	body := n.contents[content]
	want := ballast.BlobRequest{Digest: ballast.DigestOf(body), Size: int64(len(body)), Method: ballast.MethodPut}
	a, err := c.h.registry.Blobs(context.Background(), writer, id, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{want}})
	if err != nil || a.Blobs[0].Request == nil {
		return
	}
	if status := c.h.mem.Do(*a.Blobs[0].Request, body, nil); status != http.StatusOK && status != http.StatusPreconditionFailed {
		c.t.Errorf("PUT: %d", status)
	}
}

func (c *client) abort(n *historyName, id string) {
	ctx, cancel := c.hurry(n, 1)
	defer cancel()
	number, call := n.number(id), time.Since(c.h.begin)
	err := c.h.registry.AbortUpload(ctx, writer, id)
	out := linearOutcome{code: ballast.CodeOf(err)}
	show := fmt.Sprintf("abort upload %d -> %q", number, out.code)
	if unanswered(ctx, err, ballast.Upload{}) {
		c.h.record(n, c.id, call, false, show, linearTryAbort(number))
		c.h.count("abort", cutOff)
		return
	}
	c.h.record(n, c.id, call, true, show, out.abort(number))
	c.h.count("abort", out.code)
}

func (c *client) show(n *historyName, id string) {
	call := time.Since(c.h.begin)
	out := n.upload(c.h.registry.Upload(context.Background(), writer, id, 0))
	show := fmt.Sprintf("show upload %d -> %q %s label %d content %d", n.number(id), out.code, out.status, out.label, out.content)
	c.h.record(n, c.id, call, true, show, out.show(n.number(id)))
	c.h.count("show", out.code)
}

// read reads by a reference of some form.
func (c *client) read(n *historyName, content int8) {
	switch c.IntN(5) {
	case 0:
		c.readLabel(n, c.anyLabel(n), reader)
	case 1:
		c.readLabel(n, c.anyLabel(n), writer)
	case 2:
		for d, number := range n.digests {
			if number == content {
				c.version(n, reader, ballast.Ref{Name: n.name, Digest: d}, func(s *linearState) int8 {
					return s.latest(func(v linearVersion) bool { return v.content == content })
				})
			}
		}
	case 3:
		alias := c.anyAlias()
		ref := ballast.Ref{Name: n.name, Alias: linearAliasName(alias)}
		c.version(n, reader, ref, func(s *linearState) int8 { return s.aliases[alias].to })
	default:
		c.readLatest(n)
	}
}

func (c *client) readLabel(n *historyName, label int8, p engine.Principal) {
	ref := ballast.Ref{Name: n.name, Version: ballast.MajorVersion(uint64(label))}
	c.version(n, p, ref, func(*linearState) int8 { return label })
}

func (c *client) readLatest(n *historyName) {
	c.version(n, reader, ballast.Ref{Name: n.name}, func(s *linearState) int8 {
		return s.latest(func(linearVersion) bool { return true })
	})
}

func (c *client) version(n *historyName, p engine.Principal, ref ballast.Ref, which func(*linearState) int8) {
	call := time.Since(c.h.begin)
	v, err := c.h.registry.Version(context.Background(), p, ref)
	out := linearOutcome{code: ballast.CodeOf(err)}
	if err == nil {
		out.label, out.content, out.ready = int8(v.Version.Major()), n.digests[v.Digest], v.Status == ballast.StatusReady
	}
	show := fmt.Sprintf("%s reads %s -> %q label %d content %d ready %t", p.Name, ref, out.code, out.label, out.content, out.ready)
	c.h.record(n, c.id, call, true, show, out.read(p.ID == writer.ID, which))
	c.h.count("read", out.code)
}

func linearAliasName(alias int8) ballast.Alias {
	return must(ballast.ParseAlias([]string{"stable", "beta"}[alias]))
}

// ifMatch draws the condition of a change: mostly the revision that the client saw last, or none.
func (c *client) ifMatch(n *historyName, alias int8) (revision int8, condition *int64) {
	if c.oneIn(5) {
		return -1, nil
	}
	revision = c.seen[seenAlias{n, alias}]
	wide := int64(revision)
	return revision, &wide
}

func (c *client) setAlias(n *historyName, alias, to int8) {
	ifMatch, condition := c.ifMatch(n, alias)
	c.moveAlias(n, alias, to, ifMatch, condition)
}

func (c *client) moveAlias(n *historyName, alias, to, ifMatch int8, condition *int64) {
	ctx, cancel := c.hurry(n, 1)
	defer cancel()
	if c.id >= historyClients {
		ctx = context.WithValue(ctx, intruder{}, true)
	}
	call := time.Since(c.h.begin)
	a, err := c.h.registry.SetAlias(ctx, writer, ballast.Scope{}, n.name, linearAliasName(alias), ballast.MajorVersion(uint64(to)), condition)
	out := linearOutcome{code: ballast.CodeOf(err), label: int8(a.Version.Major()), revision: int8(a.Revision)}
	show := fmt.Sprintf("set alias %d to %d if %d -> %q revision %d", alias, to, ifMatch, out.code, out.revision)
	if unanswered(ctx, err, ballast.Upload{}) {
		c.h.record(n, c.id, call, false, show, linearTrySetAlias(alias, to, ifMatch))
		c.h.count("set alias", cutOff)
		return
	}
	c.h.record(n, c.id, call, true, show, out.setAlias(alias, to, ifMatch))
	c.h.count("set alias", out.code)
	switch out.code {
	case "":
		c.seen[seenAlias{n, alias}] = out.revision
	case ballast.CodePrecondition:
		c.aliases(n) // as a client does whose knowledge is old
	}
}

// moveSameAlias moves an alias as another call does that is under way.
func (c *client) moveSameAlias(name ballast.Name, alias ballast.Alias, to ballast.Version, ifMatch *int64) {
	for _, n := range c.h.names {
		for i := range int8(linearAliases) {
			if n.name == name && linearAliasName(i) == alias {
				c.moveAlias(n, i, int8(to.Major()), int8(*ifMatch), ifMatch)
			}
		}
	}
}

func (c *client) deleteAlias(n *historyName, alias int8) {
	ifMatch, condition := c.ifMatch(n, alias)
	call := time.Since(c.h.begin)
	out := linearOutcome{code: ballast.CodeOf(c.h.registry.DeleteAlias(context.Background(), writer, ballast.Scope{}, n.name, linearAliasName(alias), condition))}
	c.h.record(n, c.id, call, true, fmt.Sprintf("delete alias %d if %d -> %q", alias, ifMatch, out.code), out.deleteAlias(alias, ifMatch))
	c.h.count("delete alias", out.code)
}

func (c *client) aliases(n *historyName) {
	call := time.Since(c.h.begin)
	page, err := c.h.registry.Aliases(context.Background(), reader, ballast.Scope{}, n.name)
	var got [linearAliases]linearAlias
	for _, a := range page.Aliases {
		for i := range got {
			if a.Alias == linearAliasName(int8(i)) {
				got[i] = linearAlias{int8(a.Version.Major()), int8(a.Revision)}
			}
		}
	}
	for i, a := range got {
		c.seen[seenAlias{n, int8(i)}] = a.revision
	}
	code := ballast.CodeOf(err)
	c.h.record(n, c.id, call, true, fmt.Sprintf("aliases -> %q %v", code, got), listAliases(code, got))
	c.h.count("aliases", code)
}
