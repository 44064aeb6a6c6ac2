package objstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"

	"github.com/ballast-registry/ballast"
)

// body returns fresh bytes that nobody has a digest of.
func body() []byte {
	b := make([]byte, 1024)
	rand.Read(b)
	return b
}

// put sends bytes with a signed PUT for content at key, with headers that nobody signed; a nil value takes a header out.
func (p *prober) put(ctx context.Context, key string, content, bytes []byte, unsigned http.Header) (status int, err error) {
	return p.sign(ctx, p.by, signPut(key, ballast.DigestOf(content), int64(len(content))), bytes, unsigned)
}

// sign signs and sends. It addresses the store as the service does.
func (p *prober) sign(ctx context.Context, by signatory, r signing, bytes []byte, unsigned http.Header) (status int, err error) {
	req, err := p.s.presign(ctx, by, p.s.private, r, probeTTL)
	if err != nil {
		return 0, err
	}
	status, _, err = p.send(ctx, req, bytes, unsigned)
	return status, err
}

// send returns the store's answer, and keeps its code in p.said, where it is one about the request: not when the network broke or the store was busy.
func (p *prober) send(ctx context.Context, req ballast.SignedRequest, content []byte, unsigned http.Header) (status int, answer http.Header, err error) {
	r, err := http.NewRequestWithContext(ctx, req.Method, req.URL, bytes.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	for name, value := range req.Headers {
		r.Header.Set(name, value)
	}
	maps.Copy(r.Header, unsigned)
	r.Header.Del("Content-Length") // the transport derives it from the body
	resp, err := p.client.Do(r)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrUnavailable, withoutURL(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var said struct{ Code string }
	_ = xml.Unmarshal(text, &said) // an answer without a code is one
	p.said = said.Code
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 0, nil, fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
	}
	return resp.StatusCode, resp.Header, nil
}

// withoutURL drops the signed URL that net/http puts into its errors.
func withoutURL(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// read returns what is at key, as the service sees it; nil when nothing is.
func (p *prober) read(ctx context.Context, key string) ([]byte, error) {
	r, _, err := p.s.Get(ctx, key, ReadOptions{})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, 1<<20))
}

// place writes an object as the service.
func (p *prober) place(ctx context.Context, key string, content []byte) error {
	_, err := p.s.Put(ctx, key, content, Condition{})
	return err
}

func held(format string, args ...any) (observation, error) {
	return observation{verdict: OK, detail: fmt.Sprintf(format, args...)}, nil
}

func broken(format string, args ...any) (observation, error) {
	return observation{verdict: Hole, detail: fmt.Sprintf(format, args...)}, nil
}

func failed(err error) (observation, error) { return observation{}, err }

func accepted(status int) bool { return status >= 200 && status < 300 }
