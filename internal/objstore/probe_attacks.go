package objstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/ballast-registry/ballast"
)

// copySource sends right bytes with a signed PUT and one header more, which some stores take for an order to copy, run
// with the signer's rights. Only what is stored afterwards counts. Where one identity serves as all, it is that one which must
// not be tricked, whatever its sessions may do: it signs GETs.
func (p *prober) copySource(ctx context.Context) (observation, error) {
	if p.s.putUser == p.s.service {
		defer func(by signatory) { p.by = by }(p.by)
		p.by = p.s.service
	}
	staged := p.key()
	if err := p.place(ctx, staged, body()); err != nil {
		return failed(err)
	}
	for _, source := range []string{staged, emptyBlob} {
		stolen, err := p.read(ctx, source)
		if err != nil {
			return failed(err)
		}
		header := http.Header{"X-Amz-Copy-Source": {"/" + p.s.bucket + "/" + httpbinding.EscapePath(p.s.prefix+source, false)}}
		for _, attack := range []func(context.Context, http.Header, []byte) (string, error){p.copyToFresh, p.copyOver, p.copyToPart} {
			what, err := attack(ctx, header, stolen)
			if err != nil {
				return failed(err)
			}
			if what != "" {
				return broken("%s from %s", what, source)
			}
		}
	}
	return held("no copy was made, from staging or from blobs")
}

// copyToFresh and its like say what the attack achieved, or "".
func (p *prober) copyToFresh(ctx context.Context, header http.Header, stolen []byte) (string, error) {
	key, content := p.key(), body()
	status, err := p.put(ctx, key, content, content, header)
	if err != nil {
		return "", err
	}
	got, err := p.read(ctx, key)
	switch {
	case err != nil:
		return "", err
	case got != nil && !bytes.Equal(got, content):
		return fmt.Sprintf("a PUT to a fresh key got %d and copied %d bytes", status, len(stolen)), nil
	case accepted(status) && p.s.putUser == p.s.service:
		// Ignored is not refused: with credentials that may do everything nothing less will do.
		return fmt.Sprintf("a PUT to a fresh key got %d: the header was not refused, only ignored", status), nil
	}
	return "", nil
}

func (p *prober) copyOver(ctx context.Context, header http.Header, _ []byte) (string, error) {
	key, before, content := p.key(), body(), body()
	if err := p.place(ctx, key, before); err != nil {
		return "", err
	}
	status, err := p.put(ctx, key, content, content, header)
	if err != nil {
		return "", err
	}
	got, err := p.read(ctx, key)
	if err == nil && !bytes.Equal(got, before) {
		return fmt.Sprintf("a PUT with If-None-Match got %d and replaced an object", status), nil
	}
	return "", err
}

func (p *prober) copyToPart(ctx context.Context, header http.Header, _ []byte) (string, error) {
	u, err := p.create(ctx)
	if err != nil {
		return "", err
	}
	content := body()
	status, err := p.putPart(ctx, u, 1, content, content, header)
	if err != nil {
		return "", err
	}
	list, err := p.partsOf(ctx, u)
	if err == nil && len(list) > 0 && list[0].SHA256 != ballast.DigestOf(content) {
		return fmt.Sprintf("a signed part got %d and copied", status), nil
	}
	return "", err
}

// trailer sends a body of another mode than the signed one: the bytes on the wire have the signed length, what they
// decode to is something else.
func (p *prober) trailer(ctx context.Context) (observation, error) {
	real := []byte("not what was signed")
	var seen []int
	for _, sum := range []string{"x-amz-checksum-crc32", "x-amz-checksum-sha256"} {
		encoded, header := chunked(real, sum)
		claimed := make([]byte, len(encoded)) // of the signed length; its digest is what HEAD must not show
		key := p.key()
		status, err := p.put(ctx, key, claimed, encoded, header)
		if err != nil {
			return failed(err)
		}
		seen = append(seen, status)
		if !accepted(status) {
			continue
		}
		o, err := p.s.Head(ctx, key)
		if err != nil {
			return failed(err)
		}
		got, err := p.read(ctx, key)
		if err != nil {
			return failed(err)
		}
		if o.SHA256 == ballast.DigestOf(claimed) && !bytes.Equal(got, claimed) {
			return broken("a PUT with trailer %s got %d, and HEAD shows the signed SHA-256 for other bytes", sum, status)
		}
	}
	return held("the answers were %v; nothing passes as what was signed", seen)
}

// chunked is a body in aws-chunked encoding with a trailing checksum, and the headers that say so.
func chunked(content []byte, sum string) ([]byte, http.Header) {
	value := ballast.ChecksumHeader(ballast.DigestOf(content))
	if sum == "x-amz-checksum-crc32" {
		value = base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(content)))
	}
	encoded := fmt.Sprintf("%x\r\n%s\r\n0\r\n%s:%s\r\n\r\n", len(content), content, sum, value)
	return []byte(encoded), http.Header{
		"X-Amz-Content-Sha256":         {"STREAMING-UNSIGNED-PAYLOAD-TRAILER"},
		"X-Amz-Decoded-Content-Length": {strconv.Itoa(len(content))},
		"Content-Encoding":             {"aws-chunked"},
		"X-Amz-Trailer":                {sum},
	}
}

func (p *prober) encodingVisible(ctx context.Context) (observation, error) {
	for _, header := range []http.Header{{"Content-Encoding": {"gzip"}}, {"X-Amz-Meta-Probe": {"1"}}} {
		key, content := p.key(), body()
		status, err := p.put(ctx, key, content, content, header)
		if err != nil {
			return failed(err)
		}
		if !accepted(status) {
			continue
		}
		o, err := p.s.Head(ctx, key)
		if err != nil {
			return failed(err)
		}
		if len(o.Oddities) > 0 {
			continue
		}
		dropped, err := p.dropped(ctx, key, header)
		if err != nil {
			return failed(err)
		}
		if !dropped {
			return broken("%v was stored and HEAD does not show it", header)
		}
	}
	return held("nothing is hidden")
}

// dropped asks with a GET, which shows an encoding where HEAD might not.
func (p *prober) dropped(ctx context.Context, key string, header http.Header) (bool, error) {
	req, err := p.s.presign(ctx, p.s.service, p.s.private, signing{method: http.MethodGet, key: key}, probeTTL)
	if err != nil {
		return false, err
	}
	status, answer, err := p.send(ctx, req, nil, http.Header{"Accept-Encoding": {"identity"}})
	if err != nil {
		return false, err
	}
	for name := range header {
		if answer.Get(name) != "" {
			return false, nil
		}
	}
	return accepted(status), nil
}

// zeroSignature forges requests with each key id that a URL might show.
func (p *prober) zeroSignature(ctx context.Context) (observation, error) {
	for who, by := range map[string]signatory{"put": p.s.put, "get": p.s.get, "service": p.s.service} {
		key := p.key()
		encoded, header := chunked([]byte("owned"), "x-amz-checksum-crc32")
		req, err := p.forge(ctx, by, key)
		if err != nil {
			return failed(err)
		}
		status, _, err := p.send(ctx, req, encoded, header)
		if err != nil {
			return failed(err)
		}
		got, err := p.read(ctx, key)
		if err != nil {
			return failed(err)
		}
		if got != nil {
			return broken("a PUT with the %s identity's key id and a signature of zeros got %d and wrote an object", who, status)
		}
	}
	return held("all were refused")
}

// forge makes a request that only looks signed.
func (p *prober) forge(ctx context.Context, by signatory, key string) (ballast.SignedRequest, error) {
	creds, err := by.credentials(ctx, key, 0)
	if err != nil {
		return ballast.SignedRequest{}, err
	}
	now := p.s.now().UTC()
	u := p.s.private.object(p.s.prefix + key)
	query := url.Values{
		"X-Amz-Algorithm":     {"AWS4-HMAC-SHA256"},
		"X-Amz-Credential":    {creds.AccessKeyID + "/" + now.Format("20060102") + "/" + p.s.region + "/s3/aws4_request"},
		"X-Amz-Date":          {now.Format("20060102T150405Z")},
		"X-Amz-Expires":       {"600"},
		"X-Amz-SignedHeaders": {"host"},
		"X-Amz-Signature":     {strings.Repeat("0", 64)},
	}
	if creds.SessionToken != "" {
		query.Set("X-Amz-Security-Token", creds.SessionToken)
	}
	u.RawQuery = query.Encode()
	return ballast.SignedRequest{Method: http.MethodPut, URL: u.String()}, nil
}
