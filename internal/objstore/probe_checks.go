package objstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ballast-registry/ballast"
)

// clockLimit leaves room to the fifteen minutes that S3 tolerates.
const clockLimit = 5 * time.Minute

// clock reads the Date of an answer to a request that nobody signed, so that it works where signatures would not.
func (p *prober) clock(ctx context.Context) (observation, error) {
	u := p.s.private.url
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), nil)
	if err != nil {
		return failed(err)
	}
	sent := p.s.now()
	resp, err := p.client.Do(r)
	if err != nil {
		return failed(p.noAnswer(err))
	}
	resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return held("the store's answers have no Date")
	}
	middle := sent.Add(p.s.now().Sub(sent) / 2)
	p.report.ClockOffset = date.Add(time.Second / 2).Sub(middle).Round(time.Second) // Date drops the fraction
	if p.report.ClockOffset.Abs() > clockLimit {
		return broken("the store's clock is off by %v", p.report.ClockOffset)
	}
	return held("the store's clock is off by %v", p.report.ClockOffset)
}

func (p *prober) bucketThere(ctx context.Context) (observation, error) {
	_, err := p.s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &p.s.bucket})
	status := statusOf(err)
	switch err = classify(ctx, err); {
	case err == nil:
		return held("it does")
	case errors.Is(err, ErrUnavailable) || status == 0:
		return failed(err)
	}
	said, err := p.serviceRefusal(ctx)
	switch {
	case err != nil:
		return failed(err)
	case said == "NoSuchBucket":
		return broken("the store has no such bucket")
	case said == "AccessDenied":
		listing := p.listing()
		return observation{Hole, fmt.Sprintf("asking for the bucket got %d %s", status, said), &listing}, nil
	}
	return broken("asking for it got %d %s", status, said)
}

func (p *prober) publicHost(context.Context) (observation, error) {
	store, registry := hostOf(p.s.public.url.String()), hostOf(p.registry)
	if registry != "" && store == registry {
		return broken("both are %q", store)
	}
	return held("the store is %q, the registry %q", store, registry)
}

// putAllowed is the control of all that follows: what should pass does.
func (p *prober) putAllowed(ctx context.Context) (observation, error) {
	key, content := p.key(), body()
	status, err := p.put(ctx, key, content, content, nil)
	if err != nil {
		return failed(err)
	}
	if !accepted(status) {
		if err := p.refused(ctx, p.s.putUser, p.said); err != nil {
			return failed(err)
		}
		return broken("a signed PUT of the right bytes below staging got %d %s", status, p.said)
	}
	got, err := p.read(ctx, key)
	if err != nil {
		return failed(err)
	}
	if !bytes.Equal(got, content) {
		return broken("a signed PUT of %d bytes left %d others", len(content), len(got))
	}
	if _, err := p.s.Put(ctx, emptyBlob, nil, Condition{IfAbsent: true}); err != nil && !errors.Is(err, ErrPrecondition) {
		return failed(err)
	}
	if status, err = p.put(ctx, emptyBlob, nil, nil, nil); err != nil {
		return failed(err)
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		return broken("a signed PUT of the empty blob got %d", status)
	}
	return held("signed PUTs of the right bytes pass")
}

func (p *prober) getAllowed(ctx context.Context) (observation, error) {
	status, err := p.sign(ctx, p.s.get, signing{method: http.MethodGet, key: emptyBlob}, nil, nil)
	if err != nil {
		return failed(err)
	}
	if !accepted(status) {
		if err := p.refused(ctx, p.s.get, p.said); err != nil {
			return failed(err)
		}
		return broken("a signed GET of the empty blob got %d %s", status, p.said)
	}
	return held("a signed GET got %d", status)
}

func (p *prober) putCannotGet(ctx context.Context) (observation, error) {
	if p.s.put == p.s.service {
		return held("the put identity is the service's: copy_source decides")
	}
	keys := []string{emptyBlob, p.key()}
	if err := p.place(ctx, keys[1], body()); err != nil {
		return failed(err)
	}
	for _, key := range keys {
		status, err := p.sign(ctx, p.s.put, signing{method: http.MethodGet, key: key}, nil, nil)
		if err != nil {
			return failed(err)
		}
		if accepted(status) {
			return broken("it read %q", key)
		}
	}
	return held("it may not")
}

func (p *prober) checksumOnPut(ctx context.Context) (observation, error) {
	content := body()
	for what, c := range map[string]struct {
		body     []byte
		unsigned http.Header
	}{
		"other bytes of the same length":        {body(), nil},
		"a shorter body":                        {content[1:], nil},
		"a longer body":                         {append(body(), content...), nil},
		"right bytes without a checksum":        {content, http.Header{"X-Amz-Checksum-Sha256": nil}},
		"other bytes without a checksum":        {body(), http.Header{"X-Amz-Checksum-Sha256": nil}},
		"other bytes with a checksum of theirs": {content[1:], http.Header{"X-Amz-Checksum-Sha256": {ballast.ChecksumHeader(ballast.DigestOf(content[1:]))}}},
	} {
		key := p.key()
		status, err := p.put(ctx, key, content, c.body, c.unsigned)
		if err != nil {
			return failed(err)
		}
		got, err := p.read(ctx, key)
		if err != nil {
			return failed(err)
		}
		if accepted(status) || got != nil {
			return broken("%s: status %d, %d bytes stored", what, status, len(got))
		}
	}
	return held("all were refused")
}

func (p *prober) conditionalPut(ctx context.Context) (observation, error) {
	key, before, after := p.key(), body(), body()
	if err := p.place(ctx, key, before); err != nil {
		return failed(err)
	}
	status, err := p.put(ctx, key, after, after, nil)
	if err != nil {
		return failed(err)
	}
	got, err := p.read(ctx, key)
	if err != nil {
		return failed(err)
	}
	if status != http.StatusPreconditionFailed || !bytes.Equal(got, before) {
		return broken("a second PUT got %d, overwritten: %t", status, !bytes.Equal(got, before))
	}
	if _, err := p.s.Put(ctx, key, after, Condition{IfAbsent: true}); !errors.Is(err, ErrPrecondition) {
		if errors.Is(err, ErrUnavailable) {
			return failed(err)
		}
		return broken("a second PUT of the service's own gave %v", err)
	}
	return held("a second PUT got %d", status)
}

func (p *prober) headSHA256(ctx context.Context) (observation, error) {
	key, content := p.key(), body()
	if status, err := p.put(ctx, key, content, content, nil); err != nil || !accepted(status) {
		return failed(cmp.Or(err, fmt.Errorf("a signed PUT got %d after others passed", status)))
	}
	o, err := p.s.Head(ctx, key)
	if err != nil {
		return failed(err)
	}
	if o.SHA256 != ballast.DigestOf(content) {
		return broken("HEAD shows %q", o.SHA256)
	}
	return held("it does")
}

func (p *prober) create(ctx context.Context) (MultipartUpload, error) {
	u := MultipartUpload{Key: p.key()}
	var err error
	if u.ID, err = p.s.CreateMultipart(ctx, u.Key); err == nil {
		p.uploads = append(p.uploads, u)
	}
	return u, err
}

func (p *prober) putPart(ctx context.Context, u MultipartUpload, number int, content, body []byte, unsigned http.Header) (int, error) {
	return p.sign(ctx, p.by, signPart(u.Key, u.ID, number, ballast.DigestOf(content), int64(len(content))), body, unsigned)
}

func (p *prober) partsOf(ctx context.Context, u MultipartUpload) (list []Part, err error) {
	for part, err := range p.s.ListParts(ctx, u.Key, u.ID, 0) {
		if err != nil {
			return nil, err
		}
		list = append(list, part)
	}
	return list, nil
}

func (p *prober) parts(ctx context.Context) (observation, error) {
	u, err := p.create(ctx)
	if err != nil {
		return failed(err)
	}
	content := body()
	for what, c := range map[string]struct {
		body     []byte
		unsigned http.Header
	}{
		"other bytes":                 {body(), nil},
		"right bytes, no checksum":    {content, http.Header{"X-Amz-Checksum-Sha256": nil}},
		"a shorter part":              {content[1:], nil},
		"other bytes and no checksum": {body(), http.Header{"X-Amz-Checksum-Sha256": nil}},
	} {
		if status, err := p.putPart(ctx, u, 1, content, c.body, c.unsigned); err != nil {
			return failed(err)
		} else if accepted(status) {
			return broken("%s: status %d", what, status)
		}
	}
	for _, number := range []int{1, ballast.MaxParts} {
		if status, err := p.putPart(ctx, u, number, content, content, nil); err != nil {
			return failed(err)
		} else if !accepted(status) {
			return broken("the right bytes as part %d got %d", number, status)
		}
	}
	list, err := p.partsOf(ctx, u)
	if err != nil {
		return failed(err)
	}
	if len(list) != 2 || list[0].SHA256 != ballast.DigestOf(content) || list[1].Number != ballast.MaxParts {
		return broken("ListParts shows %+v", list)
	}
	return held("they are, and it does")
}

func (p *prober) conditionalComplete(ctx context.Context) (observation, error) {
	u, err := p.create(ctx)
	if err != nil {
		return failed(err)
	}
	before, content := body(), body()
	if status, err := p.putPart(ctx, u, 1, content, content, nil); err != nil || !accepted(status) {
		return failed(cmp.Or(err, fmt.Errorf("a signed part got %d after others passed", status)))
	}
	if err := p.place(ctx, u.Key, before); err != nil {
		return failed(err)
	}
	list, err := p.partsOf(ctx, u)
	if err != nil {
		return failed(err)
	}
	_, completeErr := p.s.CompleteMultipart(ctx, u.Key, u.ID, list)
	if errors.Is(completeErr, ErrUnavailable) {
		return failed(completeErr)
	}
	got, err := p.read(ctx, u.Key)
	if err != nil {
		return failed(err)
	}
	if !errors.Is(completeErr, ErrPrecondition) || !bytes.Equal(got, before) {
		return broken("it gave %v, overwritten: %t", completeErr, !bytes.Equal(got, before))
	}
	return held("it is refused")
}

func (p *prober) versioning(ctx context.Context) (observation, error) {
	out, err := p.s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &p.s.bucket})
	if err != nil {
		return observation{verdict: Inconclusive, detail: classify(ctx, err).Error()}, nil
	}
	p.report.Versioned = out.Status == types.BucketVersioningStatusEnabled
	return held("versioning is on: %t", p.report.Versioned)
}
