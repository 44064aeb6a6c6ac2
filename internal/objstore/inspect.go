package objstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
)

// InspectOptions are what Inspect needs beside the store.
type InspectOptions struct {
	Client  *http.Client  // as ProbeOptions has it
	URLLife time.Duration // that the registry wants signed requests to have
	Origins []string      // of pages that are to read from the bucket, as a browser sends them
}

// Inspect looks at what a start does not ask about, since the registry works without it for now: who may list and who may
// do too much, how clients reach the store, how long credentials live, and what the bucket's own settings do to what lies in
// it. seen is what Probe found. It writes below global/staging/probe-… only, which it removes; left is what it could not.
//
// A check that the store does not answer is Inconclusive: what it would have told is unknown, not well.
func Inspect(ctx context.Context, store *S3, seen Report, opt InspectOptions) (checks []Check, left error) {
	i := &inspector{prober: newProber(store, ProbeOptions{Client: opt.Client}), opt: opt, setup: store.Setup(ctx), seen: seen}
	for _, c := range i.plan() {
		found, err := c.run(ctx)
		if err != nil {
			found = observation{verdict: Inconclusive, detail: err.Error()}
		}
		if found.verdict == Inconclusive && err == nil {
			c.Needed = Knowledge // a setting that the store does not tell
		}
		checks = append(checks, found.of(c.Check))
	}
	return checks, i.cleanUp(ctx)
}

type inspector struct {
	*prober
	opt   InspectOptions
	setup Setup
	seen  Report
}

func (i *inspector) plan() []check {
	at := i.s.bucket + "/" + i.s.prefix
	reads := Knowledge // a signed GET shows the key id of who signed it, which is enough where zeros are a signature
	if slices.ContainsFunc(i.seen.Checks, func(c Check) bool { return c.Name == "zero_signature" && c.Verdict == Hole }) {
		reads = Required
	}
	return []check{
		{run: i.listBucket, Check: i.listing()},
		{run: i.getCannotPut, Check: Check{Name: "get_cannot_put", Needed: reads,
			Claim:  "a get identity of its own may not write",
			Cost:   "every download link shows the key id of an identity that may write; where the store can be tricked, objects are overwritten with it",
			Remedy: i.getPolicy()}},
		{run: i.putCannotDelete, Check: Check{Name: "put_cannot_delete", Needed: Knowledge,
			Claim:  "a put identity of its own may not delete",
			Cost:   "whoever gets hold of that identity can remove every blob",
			Remedy: i.putPolicy()}},
		{run: i.publicReached, Check: Check{Name: "public_reached", Needed: Knowledge,
			Claim:  "this machine reaches the store where clients do",
			Cost:   "it cannot be told from here whether clients do: no harm if they have another way, else nobody pulls or pushes",
			Remedy: "run `curl -I " + i.s.public.url.String() + "` on a client's machine; correct --s3-public-endpoint if that fails too"}},
		{run: i.publicAnswers, Check: Check{Name: "public_answers", Needed: Required,
			Claim:  "what is signed for clients is accepted where clients send it",
			Cost:   "nobody can pull or push",
			Remedy: "let no proxy before the store change the Host header or the path, and give the URL that clients use in --s3-public-endpoint"}},
		{run: i.cors, Check: Check{Name: "cors", Needed: Knowledge,
			Claim: "pages that may call the registry may read from the store too",
			Cost:  "browsers only: pages of these origins get lists and no bytes; programs are not concerned",
			Remedy: "let pages of any origin read, which opens nothing: who has a signed URL needs no browser, and without one the store refuses. " +
				"On MinIO MINIO_API_CORS_ALLOW_ORIGIN decides; where the bucket has rules, `aws s3api put-bucket-cors --bucket " + i.s.bucket + " --cors-configuration '" + corsRules + "'`"}},
		{run: i.versions, Check: Check{Name: "versions_freed", Needed: Knowledge,
			Claim:  "what the registry deletes is freed",
			Cost:   "a deletion only adds a delete marker: the bytes stay, and are paid for, and the bucket only grows",
			Remedy: "add a lifecycle rule with NoncurrentVersionExpiration for " + at + ", of as many days as you want to be able to go back, with neither a tag, a size nor NewerNoncurrentVersions"}},
		{run: i.lock, Check: Check{Name: "object_lock", Needed: Knowledge,
			Claim:  "new objects are not locked",
			Cost:   "what the registry deletes is kept until its retention ends, staging and unfinished work included",
			Remedy: "remove the bucket's default retention (`mc retention clear --default`, or put-object-lock-configuration without a Rule); locking does not protect more than records and digests do"}},
		{run: i.expiry, Check: Check{Name: "lifecycle_objects", Needed: Required,
			Claim:  "no lifecycle rule of the bucket removes or archives blobs, records or the registry's own objects",
			Cost:   "models that are ready vanish, or cannot be read, on a day to come; with their records gone, nothing can be rebuilt either",
			Remedy: "remove the rule, or end its prefix at " + at + "global/staging/ or a tenant's staging/"}},
		{run: i.aborts, Check: Check{Name: "lifecycle_multiparts", Needed: Knowledge,
			Claim:  fmt.Sprintf("no lifecycle rule ends multipart uploads of the registry before %d days", abortDays),
			Cost:   "a push that is interrupted for so long sends its large files again from the start",
			Remedy: fmt.Sprintf("set DaysAfterInitiation of AbortIncompleteMultipartUpload to %d or more", abortDays)}},
		{run: i.credentialsLast, Check: Check{Name: "credentials", Needed: Knowledge,
			Claim:  "the credentials outlive what they sign, or are renewed by themselves",
			Cost:   "signed requests end with the credentials, in the middle of transfers; and with those of the service, everything does",
			Remedy: "use keys without an end, or a source that renews itself (a role of the instance or container, a web identity, credential_process); let a role's sessions last longer than the URLs"}},
	}
}

// corsRules let pages do what docs/hub.md says.
const corsRules = `{"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "HEAD", "PUT"], "AllowedHeaders": ["*"], "ExposeHeaders": ["ETag", "Content-Range", "Accept-Ranges", "Content-Length"], "MaxAgeSeconds": 3600}]}`

// abortDays is how long a push may be interrupted and go on.
const abortDays = 7

func (i *inspector) listBucket(ctx context.Context) (observation, error) {
	for _, err := range i.s.List(ctx, i.folder+"/", "") {
		if errors.Is(err, ErrDenied) {
			return broken("a listing was refused")
		} else if err != nil {
			return failed(err)
		}
	}
	absent := i.key()
	switch _, err := i.s.Head(ctx, absent); {
	case errors.Is(err, ErrDenied):
		return broken("HEAD of an object that is not there got 403")
	case !errors.Is(err, ErrNotFound):
		return failed(fmt.Errorf("a look at an object that is not there: %w", err))
	}
	switch _, err := i.s.ListUploads(ctx, absent); {
	case errors.Is(err, ErrDenied):
		return broken("a listing of multipart uploads was refused")
	case err != nil:
		return failed(err)
	}
	return held("it may")
}

func (i *inspector) getCannotPut(ctx context.Context) (observation, error) {
	if i.s.get == i.s.service {
		return held("the get identity is the service's: copy_source decides")
	}
	defer func(by signatory) { i.by = by }(i.by)
	i.by = i.s.get
	content := body()
	status, err := i.put(ctx, i.key(), content, content, nil)
	switch {
	case err != nil:
		return failed(err)
	case accepted(status):
		return broken("it wrote below staging")
	}
	return held("it may not: %d", status)
}

func (i *inspector) putCannotDelete(ctx context.Context) (observation, error) {
	if i.s.putUser == i.s.service {
		return held("the put identity is the service's: copy_source decides")
	}
	key := i.key()
	if err := i.place(ctx, key, body()); err != nil {
		return failed(err)
	}
	status, err := i.sign(ctx, i.s.putUser, signing{method: http.MethodDelete, key: key}, nil, nil)
	if err != nil {
		return failed(err)
	}
	if accepted(status) {
		return broken("it deleted below staging")
	}
	return held("it may not: %d", status)
}

func (i *inspector) publicReached(ctx context.Context) (observation, error) {
	switch _, err := i.publicGet(ctx); {
	case errors.Is(err, errUnreached):
		return broken("%s: %v", i.s.public.url.Host, err)
	case err != nil:
		return failed(err)
	}
	return held("%s answers", i.s.public.url.Host)
}

func (i *inspector) publicAnswers(ctx context.Context) (observation, error) {
	status, err := i.publicGet(ctx)
	switch {
	case errors.Is(err, errUnreached):
		return fromElsewhere()
	case err != nil:
		return failed(err)
	case !accepted(status):
		return broken("a signed GET of the empty blob got %d %s", status, i.said)
	}
	return held("a signed GET got %d", status)
}

// errUnreached: nobody answered at the public endpoint.
var errUnreached = errors.New("not reached")

// fromElsewhere is the observation of what would have to be asked there.
func fromElsewhere() (observation, error) {
	return observation{verdict: Inconclusive, detail: "it cannot be told from here, as public_reached says"}, nil
}

// publicGet sends a signed GET of the empty blob the way a client does.
func (i *inspector) publicGet(ctx context.Context) (int, error) {
	req, err := i.s.presign(ctx, i.s.get, i.s.public, signing{method: http.MethodGet, key: emptyBlob}, probeTTL)
	if err != nil {
		return 0, err
	}
	status, _, err := i.reach(ctx, req, nil)
	return status, err
}

// reach sends what a client would. Errors: errUnreached, where nobody answers.
func (i *inspector) reach(ctx context.Context, req ballast.SignedRequest, header http.Header) (int, http.Header, error) {
	status, answer, err := i.send(ctx, req, nil, header)
	if errors.Is(err, ErrUnavailable) && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", errUnreached, err)
	}
	return status, answer, err
}

func (i *inspector) credentialsLast(ctx context.Context) (observation, error) {
	var lines []string
	short := false
	for n, id := range []*identity{i.s.service, i.s.putUser, i.s.get} {
		who := []string{"the service's", "--s3-put-profile's", "--s3-get-profile's"}[n]
		if n > 0 && id == i.s.service {
			continue
		}
		creds, err := id.credentials(ctx, "", i.opt.URLLife)
		if err != nil {
			return failed(err)
		}
		switch left := creds.Expires.Sub(i.s.now()).Round(time.Second); {
		case creds.CanExpire && left < i.opt.URLLife:
			short = true
			lines = append(lines, fmt.Sprintf("%s end in %s, and URLs are to live %s", who, left, i.opt.URLLife))
		case creds.CanExpire:
			lines = append(lines, fmt.Sprintf("%s end in %s and are renewed", who, left))
		case creds.SessionToken != "":
			short = true
			lines = append(lines, who+" are a session that was set by hand: it ends, nobody knows when, and nothing renews it")
		default:
			lines = append(lines, who+" have no end")
		}
	}
	if short {
		return broken("%s", strings.Join(lines, "; "))
	}
	return held("%s", strings.Join(lines, "; "))
}
