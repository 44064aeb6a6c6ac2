package objstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
)

// Verdict is what a check of the probe saw.
type Verdict string

// The verdicts.
const (
	OK           Verdict = "ok"           // what is claimed holds
	Hole         Verdict = "hole"         // it does not
	Inconclusive Verdict = "inconclusive" // the network or a busy store broke the check: it says nothing
)

// Need is what hangs on a check.
type Need string

// The needs.
const (
	Required  Need = "required"    // the registry does not start without it, and nothing waives it
	Waivable  Need = "waivable"    // --allow-unsafe-store waives it
	Knowledge Need = "information" // worth knowing
)

// Check is one property of the store and what was seen of it.
type Check struct {
	Name    string // stable, for machines
	Claim   string // what should hold, in words
	Verdict Verdict
	Needed  Need
	Detail  string // what was seen
	Cost    string // what a hole would cost
	Remedy  string // what to do about a hole
}

// Report is what the probe learned of a store. It is data: nothing in it comes from an endpoint's name.
type Report struct {
	Checks      []Check
	Versioned   bool          // the bucket keeps versions
	ClockOffset time.Duration // the store's clock less this machine's, to about a second
	Leftover    error         // what the probe could not remove of what it wrote; nil for nothing
}

// Refusal returns an error that says, in words for an operator, what the store fails, what that would cost and what to
// do; nil when the registry may use it. allowUnsafe waives what is Waivable, and only that. Checks without a verdict
// are an error too, ErrUnavailable, which is none about the store.
func (r Report) Refusal(allowUnsafe bool) error {
	var text strings.Builder
	for _, c := range r.Checks {
		if c.Verdict == Hole && (c.Needed == Required || c.Needed == Waivable && !allowUnsafe) {
			fmt.Fprintf(&text, "\n* %s: it should hold that %s. Seen: %s.\n  Cost: %s.\n  To do: %s.", c.Name, c.Claim, c.Detail, c.Cost, c.Remedy)
		}
	}
	if text.Len() > 0 {
		return errors.New("the store is refused as it is configured:" + text.String())
	}
	for _, c := range r.Checks {
		if c.Verdict == Inconclusive && c.Needed != Knowledge {
			return fmt.Errorf("objstore: check %s came to no verdict: %s: %w", c.Name, c.Detail, ErrUnavailable)
		}
	}
	return nil
}

// ProbeOptions are what Probe needs beside the store.
type ProbeOptions struct {
	// Client sends what a client of the registry would send. Nil means one with bounded waits. It must not follow
	// redirects or add headers.
	Client *http.Client
	// RegistryURL is where clients reach the registry. Its host name must not be the store's: clients keep tokens by
	// host name, and a signed request that carries a token besides is refused by stores. Empty leaves that check out.
	RegistryURL string
}

// probeTTL is the life of what the probe signs.
const probeTTL = 10 * time.Minute

// cleanupLimit bounds what the probe does after its checks.
const cleanupLimit = 30 * time.Second

// Probe tries on the store what its clients could try, with the identities that sign for them, on keys of its own below
// global/staging/probe-…, which it removes, and on the empty blob, which it leaves. Requests go to Config.Endpoint, not
// to the public one, which this machine may be unable to reach.
//
// An error says that the probe could not be finished: ErrUnavailable, or what to correct in the settings. It is no
// verdict about the store. Without one, Refusal has the verdict.
func Probe(ctx context.Context, store *S3, opt ProbeOptions) (Report, error) {
	p := newProber(store, opt)
	err := p.run(ctx)
	p.report.Leftover = p.cleanUp(ctx)
	return p.report, err
}

func newProber(store *S3, opt ProbeOptions) *prober {
	p := &prober{s: store, client: opt.Client, registry: opt.RegistryURL, by: store.put, folder: "global/staging/probe-" + strings.ToLower(rand.Text())}
	if p.client == nil {
		p.client = newHTTPClient(headerWait)
	}
	return p
}

func (p *prober) run(ctx context.Context) error {
	if err := p.haveCredentials(ctx); err != nil {
		return err
	}
	for _, c := range p.plan() {
		seen, err := c.run(ctx)
		var wrong *mistake
		switch {
		case errors.As(err, &wrong):
			seen = observation{verdict: Inconclusive, detail: err.Error()}
		case errors.Is(err, ErrDenied): // the service was: what is signed for others gets a status, and no error
			seen, err = p.serviceDenied(err), nil
		case err != nil:
			seen = observation{verdict: Inconclusive, detail: err.Error()}
		}
		p.report.Checks = append(p.report.Checks, seen.of(c.Check))
		switch {
		case wrong != nil:
			return wrong
		case err != nil:
			return fmt.Errorf("objstore: probe: %s: %w", c.Name, err)
		case seen.verdict == Hole && (c.stops || seen.instead != nil):
			return nil
		}
	}
	return nil
}

// observation is what one check saw.
type observation struct {
	verdict Verdict
	detail  string
	instead *Check // what was seen to be wrong is this, and not what was looked for; nil for the latter
}

// of is a check with what was seen.
func (o observation) of(c Check) Check {
	if o.instead != nil {
		c = *o.instead
	}
	c.Verdict, c.Detail = o.verdict, o.detail
	return c
}

// check is one entry of the plan.
type check struct {
	Check
	run   func(context.Context) (observation, error)
	stops bool // a hole makes all that follows meaningless
}

// prober runs one probe.
type prober struct {
	s        *S3
	client   *http.Client
	registry string
	by       signatory // who signs PUTs
	folder   string
	serial   int
	uploads  []MultipartUpload
	said     string // S3's code in the last answer to what was signed for a client
	report   Report
}

// plan is the probe: what is claimed, what depends on it, and how it is tried. Controls come before the attacks whose
// refusal they make meaningful.
func (p *prober) plan() []check {
	checks := []check{
		{run: p.clock, stops: true, Check: Check{Name: "clock", Needed: Required,
			Claim:  "the store's clock and this machine's agree to five minutes",
			Cost:   "stores refuse signatures from another time, and signed requests live longer or shorter than they say",
			Remedy: "set both clocks by NTP"}},
		{run: p.bucketThere, stops: true, Check: Check{Name: "bucket", Needed: Required,
			Claim:  fmt.Sprintf("the bucket %q exists and the service's credentials reach it", p.s.bucket),
			Cost:   "there is nowhere to keep anything",
			Remedy: "make the bucket, or correct --s3-bucket, --s3-endpoint and the AWS settings"}},
		{run: p.publicHost, Check: Check{Name: "public_host", Needed: Required,
			Claim:  "clients reach the store and the registry under different host names (the port does not matter)",
			Cost:   "clients send the registry's token along with signed requests: the store refuses those, or learns the token",
			Remedy: "give the store a host name of its own in --s3-public-endpoint; on one machine localhost and 127.0.0.1 will do"}},
		{run: p.putAllowed, stops: true, Check: Check{Name: "put_allowed", Needed: Required,
			Claim:  "the put identity may write staging and blobs",
			Cost:   "nobody could publish",
			Remedy: p.putPolicy()}},
		{run: p.getAllowed, stops: true, Check: Check{Name: "get_allowed", Needed: Required,
			Claim:  "the get identity may read blobs",
			Cost:   "nobody could pull",
			Remedy: p.getPolicy()}},
		{run: p.putCannotGet, Check: Check{Name: "put_cannot_get", Needed: Required,
			Claim:  "a put identity of its own may not read",
			Cost:   "whoever holds a signed PUT may be able to make the store read as that identity",
			Remedy: p.putPolicy()}},
		{run: p.checksumOnPut, Check: Check{Name: "checksum_put", Needed: Required,
			Claim:  "a PUT is refused whose bytes, length or checksum header are not the signed ones",
			Cost:   "a digest key could hold other bytes than its digest says",
			Remedy: otherStore}},
		{run: p.conditionalPut, Check: Check{Name: "conditional_put", Needed: Required,
			Claim:  "a PUT with If-None-Match: * does not replace an object",
			Cost:   "a verified object could be overwritten, and two publishers could both win",
			Remedy: otherStore}},
		{run: p.headSHA256, Check: Check{Name: "head_sha256", Needed: Required,
			Claim:  "HEAD shows the SHA-256 of the whole content of an object that was written with one",
			Cost:   "uploaded bytes could not be verified without reading them again",
			Remedy: otherStore}},
		{run: p.parts, Check: Check{Name: "checksum_part", Needed: Required,
			Claim:  "parts are held to their signed SHA-256 up to number 10000, and ListParts shows it",
			Cost:   "large files could not be uploaded safely by several clients, or resumed",
			Remedy: otherStore}},
		{run: p.conditionalComplete, Check: Check{Name: "conditional_complete", Needed: Required,
			Claim:  "completing a multipart upload with If-None-Match: * does not replace an object",
			Cost:   "a verified object could be overwritten",
			Remedy: otherStore}},
		{run: p.copySource, Check: Check{Name: "copy_source", Needed: Required,
			Claim:  "an unsigned x-amz-copy-source header does not turn a signed PUT into a copy",
			Cost:   "whoever may push could read any blob whose digest is known, of any tenant, and overwrite verified ones",
			Remedy: p.copyRemedy()}},
		{run: p.trailer, Check: Check{Name: "trailer", Needed: Required,
			Claim:  "a body in streaming-trailer mode does not get other bytes stored under the signed SHA-256",
			Cost:   "HEAD would vouch for bytes that nobody checked",
			Remedy: otherStore}},
		{run: p.encodingVisible, Check: Check{Name: "unsigned_headers", Needed: Required,
			Claim:  "an unsigned Content-Encoding or x-amz-meta- header is refused, dropped, or visible in HEAD",
			Cost:   "an object that readers would decode into other bytes would pass as verified",
			Remedy: otherStore}},
		{run: p.zeroSignature, Check: Check{Name: "zero_signature", Needed: Waivable,
			Claim:  "a request with a signature of zeros is refused (CVE-2026-40344)",
			Cost:   "whoever reaches the store and has seen one signed URL can overwrite any object its identity may write",
			Remedy: "upgrade the store, or let only trusted machines reach it and pass --allow-unsafe-store, which waives this alone"}},
		{run: p.versioning, Check: Check{Name: "versioning", Needed: Knowledge,
			Claim: "the bucket says whether it keeps versions",
			Cost:  "none", Remedy: "nothing"}},
	}
	if n, ok := p.s.put.(*sessions); ok {
		at := slices.IndexFunc(checks, func(c check) bool { return c.Name == "put_allowed" })
		checks = slices.Insert(checks, at+1, p.otherScope(n))
		checks = slices.Insert(checks, at, p.session(n))
	}
	return checks
}

// cleanUp removes what the probe wrote, also when its ctx is done. What it leaves, gc reaps with all of staging.
func (p *prober) cleanUp(ctx context.Context) (left error) {
	if p.serial == 0 {
		return nil // nothing was written
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	for _, u := range p.uploads {
		if err := p.s.AbortMultipart(ctx, u.Key, u.ID); err != nil && !errors.Is(err, ErrNoSuchUpload) {
			left = errors.Join(left, fmt.Errorf("objstore: probe: an upload of %q stays behind: %w", u.Key, err))
		}
	}
	for o, err := range p.s.List(ctx, p.folder+"/", "") {
		if err == nil {
			err = p.s.Delete(ctx, o.Key)
		}
		if err != nil {
			return errors.Join(left, fmt.Errorf("objstore: probe: objects may stay behind below %q: %w", p.folder, err))
		}
	}
	return left
}

// key returns a fresh key of the probe's own.
func (p *prober) key() string {
	p.serial++
	return fmt.Sprintf("%s/%d", p.folder, p.serial)
}

// emptyBlob is the one object outside of staging that the probe may touch: it is what it says by nature.
var emptyBlob = ballast.BlobKey(ballast.Global, ballast.EmptyDigest)

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
