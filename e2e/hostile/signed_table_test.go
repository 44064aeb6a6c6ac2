package hostile_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/testenv"
)

var kinds = []string{"put", "part", "get"}

// outcome is what may become of an altered request.
type outcome int

const (
	refused  outcome = iota // by the store, and nothing is there
	harmless                // refused, or taken and of no use: nothing but the signed key is written, and that only as it was signed, or never published
	accepted                // it is what was signed
)

// alteration is one change of a signed request.
type alteration struct {
	group, name string
	kinds       []string // nil: all
	want        outcome
	change      func(l *letter, x *scene)
	hole        bool // of a store that serve takes with --allow-unsafe-store alone
}

func (a alteration) of(kind string) bool { return a.kinds == nil || slices.Contains(a.kinds, kind) }

// on is the alteration as a store takes it: where the hole is known there is nothing to hold it to but that it is the one
// that is documented.
func (a alteration) on(s *testenv.Store) alteration {
	if a.hole && s.Unsafe {
		a.want, a.change = accepted, func(*letter, *scene) {}
	}
	return a
}

// alterations are the table.
func alterations() []alteration {
	all := []alteration{{"nothing", "as it is", nil, accepted, func(*letter, *scene) {}, false}}
	return slices.Concat(all, keysAltered(), methodsAltered(), queriesAltered(), headersAdded(), headersRemoved(), bodiesAltered(), signaturesAltered())
}

func keysAltered() (all []alteration) {
	for name, to := range map[string]string{
		"the victim's file": "{victims}", "a file beside it": "tenants/acme/blobs/sha256/ab/" + strings.Repeat("ab", 32), "the same of global": "global/{blob}", "the same of the victim": "tenants/victim-co/{blob}",
		"the owner's mark": "index/owner.json", "a record": "tenants/acme/models/subject/versions/9/00000001.json", "a record of the victim's": "tenants/victim-co/models/subject/versions/1/00000002.json",
		"an inbox": "tenants/acme/inbox/x", "staging": "tenants/acme/staging/x/1", "the bucket": "", "a step up": "tenants/acme/blobs/../../victim-co/{blob}", "an encoded step up": "tenants/acme/blobs/%2e%2e/%2e%2e/victim-co/{blob}",
		"an encoded slash": "tenants%2fvictim-co%2f{blob}", "two slashes": "tenants//victim-co/{blob}", "a slash at the end": "{own}/", "capitals": "TENANTS/acme/{blob}", "a query in the key": "{own}%3fversionId=1", "NUL": "{own}%00", "a blank": "{own}%20", "a dot": "{own}/.",
	} {
		all = append(all, alteration{"another key", name, nil, refused, func(l *letter, x *scene) {
			own := strings.TrimPrefix(l.path, "/"+x.store.Bucket+"/")
			_, blob, _ := strings.Cut(own, "/blobs/")
			l.path = "/" + x.store.Bucket + "/" + strings.NewReplacer("{victims}", x.victims, "{own}", own, "{blob}", "blobs/"+blob).Replace(to)
		}, false})
	}
	return append(all, alteration{"another key", "another bucket", nil, refused, func(l *letter, x *scene) {
		l.path = strings.Replace(l.path, "/"+x.store.Bucket+"/", "/t-another/", 1)
	}, false})
}

func methodsAltered() (all []alteration) {
	for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPost, http.MethodPatch, "COPY", "PROPFIND", "put", "get"} {
		all = append(all, alteration{"another method", method, slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool {
			return strings.HasPrefix(strings.ToUpper(kind)+"PART", method) || kind == "part" && method == "PUT"
		}), refused,
			func(l *letter, _ *scene) { l.method = method }, false})
	}
	return append(all, alteration{"another method", "override", []string{"put", "part"}, harmless, func(l *letter, _ *scene) { l.header.Set("X-HTTP-Method-Override", "DELETE") }, false})
}

func queriesAltered() (all []alteration) {
	for _, more := range []string{
		"versionId=null", "versionId=1", "uploadId=x", "uploadId=x&partNumber=1", "uploads", "acl", "tagging", "policy", "delete", "retention", "legal-hold", "torrent", "restore", "select&select-type=2", "attributes", "location", "lifecycle",
		"response-content-type=text/html", "response-content-disposition=attachment", "response-cache-control=public", "response-content-encoding=gzip", "list-type=2&prefix=tenants/", "prefix=tenants/victim-co/", "x-amz-copy-source=/x/y", "x-amz-acl=public-read",
		"x-id=GetObject", "a=b",
	} {
		all = append(all, alteration{"another query", "with " + more[:min(len(more), 40)], nil, refused, func(l *letter, _ *scene) { l.query += "&" + more }, false})
	}
	all = append(all, alteration{"another query", "another session", nil, refused, func(l *letter, _ *scene) {
		const name = "X-Amz-Security-Token="
		before, rest, signed := strings.Cut(l.query, name)
		_, rest, _ = strings.Cut(rest, "&")
		if l.query = before + name + "x&" + rest; !signed { // by no session
			l.query = before + "&" + name + "x"
		}
	}, false})
	for _, twice := range []string{"X-Amz-Expires=604800", "X-Amz-Signature=" + strings.Repeat("0", 64)} { // stores take the first; what has expired has, see TestExpired
		all = append(all, alteration{"another query", "twice " + twice[:14], nil, harmless, func(l *letter, _ *scene) { l.query += "&" + twice }, false})
	}
	set := func(name, value string) func(l *letter, _ *scene) {
		return func(l *letter, _ *scene) {
			q, err := url.ParseQuery(l.query)
			if err != nil {
				panic(err)
			}
			q.Set(name, value)
			l.query = q.Encode()
		}
	}
	for name, value := range map[string]string{
		"X-Amz-Expires": "604800", "X-Amz-Date": "20990101T000000Z", "X-Amz-Algorithm": "none", "X-Amz-Credential": "x/20260101/us-east-1/s3/aws4_request", "X-Amz-Signature": strings.Repeat("0", 64),
	} {
		all = append(all, alteration{"another query", "other " + name, nil, refused, set(name, value), false})
	}
	all = append(all, alteration{"another query", "other X-Amz-SignedHeaders", []string{"put", "part"}, refused, set("X-Amz-SignedHeaders", "host"), false})
	for name, value := range map[string]string{"partNumber": "2", "uploadId": "another"} {
		all = append(all, alteration{"another query", "other " + name, []string{"part"}, refused, set(name, value), false})
	}
	return append(all,
		alteration{"another query", "no query", nil, refused, func(l *letter, _ *scene) { l.query = "" }, false},
		alteration{"another query", "no uploadId", []string{"part"}, refused, func(l *letter, _ *scene) {
			q, _ := url.ParseQuery(l.query)
			q.Del("uploadId")
			q.Del("partNumber")
			l.query = q.Encode()
		}, false},
	)
}

// headersAdded are headers that nobody signed. A store may refuse them or not look at them; none may be of any use.
func headersAdded() (all []alteration) {
	add := func(name string, headers ...string) {
		all = append(all, alteration{"a header more", name, []string{"put", "part"}, harmless, func(l *letter, x *scene) {
			for i := 0; i < len(headers); i += 2 {
				l.header.Add(headers[i], strings.NewReplacer("{victims}", "/"+x.store.Bucket+"/"+x.victims, "{bucket}", x.store.Bucket).Replace(headers[i+1]))
			}
		}, false})
	}
	add("copy source", "X-Amz-Copy-Source", "{victims}")
	add("copy source, escaped", "X-Amz-Copy-Source", "%2F{bucket}%2Ftenants%2Fvictim-co%2Fblobs")
	add("copy source of a range", "X-Amz-Copy-Source", "{victims}", "X-Amz-Copy-Source-Range", "bytes=0-99")
	add("copy source on condition", "X-Amz-Copy-Source", "{victims}", "X-Amz-Copy-Source-If-Match", "*", "X-Amz-Metadata-Directive", "REPLACE")
	for name, value := range map[string]string{
		"X-Amz-Meta-Owner": "me", "X-Amz-Tagging": "a=b", "X-Amz-Acl": "public-read-write", "X-Amz-Grant-Read": "uri=http://acs.amazonaws.com/groups/global/AllUsers", "X-Amz-Grant-Full-Control": "id=x", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY",
		"X-Amz-Website-Redirect-Location": "https://elsewhere.example", "X-Amz-Server-Side-Encryption": "AES256", "X-Amz-Object-Lock-Mode": "COMPLIANCE", "X-Amz-Object-Lock-Legal-Hold": "ON", "X-Amz-Bypass-Governance-Retention": "true",
		"X-Amz-Decoded-Content-Length": "1", "X-Amz-Trailer": "x-amz-checksum-crc32", "X-Amz-Content-Sha256": strings.Repeat("0", 64), "X-Amz-Checksum-Crc32": "AAAAAA==", "X-Amz-Checksum-Algorithm": "CRC32", "X-Amz-Sdk-Checksum-Algorithm": "CRC32",
		"X-Amz-Expected-Bucket-Owner": "me", "X-Amz-Request-Payer": "requester", "X-Amz-Write-Offset-Bytes": "0", "X-Amz-Mfa": "1", "X-Amz-Security-Token": "x", "X-Amz-Version-Id": "1", "X-Amz-Delete-Marker": "true", "X-Amz-Replication-Status": "REPLICA",
		"X-Minio-Source-Etag": "x", "X-Minio-Source-Replication-Request": "true", "X-Minio-Extract": "true", "X-Amz-Meta-Snowball-Auto-Extract": "true",
		"Content-Encoding": "gzip", "Content-Type": "text/html", "Content-Disposition": "attachment", "Content-Language": "de", "Cache-Control": "public", "Expires": "Mon, 02 Jan 2040 15:04:05 GMT", "Content-Md5": "AAAAAAAAAAAAAAAAAAAAAA==", "If-Match": "*", "If-Modified-Since": "Mon, 02 Jan 2006 15:04:05 GMT",
		"Authorization": "AWS4-HMAC-SHA256 Credential=x", "Date": "Mon, 02 Jan 2006 15:04:05 GMT", "X-Amz-Date": "20990101T000000Z", "X-Forwarded-Host": "elsewhere.example", "Transfer-Encoding": "identity", "Range": "bytes=0-1",
	} {
		add(name, name, value)
	}
	add("a customer's key", "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256", "X-Amz-Server-Side-Encryption-Customer-Key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "X-Amz-Server-Side-Encryption-Customer-Key-Md5", "hRasmdxgYDKV3nvbahU1MA==")
	add("a retention", "X-Amz-Object-Lock-Mode", "GOVERNANCE", "X-Amz-Object-Lock-Retain-Until-Date", "2099-01-01T00:00:00Z")
	all = append(all,
		alteration{"a header more", "copy source of a GET", []string{"get"}, harmless, func(l *letter, x *scene) { l.header.Set("X-Amz-Copy-Source", "/"+x.store.Bucket+"/"+x.victims) }, false},
		alteration{"a header more", "authorization of a GET", []string{"get"}, harmless, func(l *letter, _ *scene) { l.header.Set("Authorization", "Bearer bal_0123456789_0123456789") }, false},
	)
	return all
}

func headersRemoved() (all []alteration) {
	for _, name := range []string{"If-None-Match", "X-Amz-Checksum-Sha256"} {
		of := []string{"put", "part"}
		if name == "If-None-Match" {
			of = of[:1]
		}
		all = append(all,
			alteration{"a header less", name, of, refused, func(l *letter, _ *scene) { l.header.Del(name) }, false},
			alteration{"a header twice", name, of, refused, func(l *letter, _ *scene) { l.header.Add(name, "another") }, false},
			alteration{"another header", name, of, refused, func(l *letter, _ *scene) { l.header.Set(name, "another") }, false},
			alteration{"another header", name + ", empty", of, refused, func(l *letter, _ *scene) { l.header.Set(name, "") }, false},
		)
	}
	return append(all, alteration{"another header", "the checksum of other bytes, and them", []string{"put", "part"}, refused, func(l *letter, _ *scene) {
		l.body = random(len(l.body))
		l.header.Set("X-Amz-Checksum-Sha256", ballast.ChecksumHeader(ballast.DigestOf(l.body)))
	}, false})
}

func bodiesAltered() (all []alteration) {
	body := func(name string, change func(b []byte) []byte) {
		all = append(all, alteration{"another body", name, []string{"put", "part"}, refused, func(l *letter, _ *scene) { l.body = change(l.body) }, false})
	}
	body("other bytes", func(b []byte) []byte { return random(len(b)) })
	body("one bit", func(b []byte) []byte { b[0] ^= 1; return b })
	body("one byte less", func(b []byte) []byte { return b[1:] })
	body("one byte more", func(b []byte) []byte { return append(b, 0) })
	body("none", func([]byte) []byte { return nil })
	body("twice", func(b []byte) []byte { return append(b, b...) })
	for _, trailer := range []string{"x-amz-checksum-crc32", "x-amz-checksum-sha256"} {
		for _, mode := range []string{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"} {
			all = append(all, alteration{"another body", mode + " " + trailer, []string{"put", "part"}, harmless, func(l *letter, _ *scene) { stream(l, mode, trailer) }, false})
		}
	}
	return all
}

// signaturesAltered forge a request with the key id that a signed one shows.
func signaturesAltered() (all []alteration) {
	for _, target := range []string{"{own}", "{victims}"} {
		all = append(all, alteration{"zero signature", "streamed to " + target, []string{"put"}, refused, func(l *letter, x *scene) {
			q, err := url.ParseQuery(l.query)
			if err != nil {
				panic(err)
			}
			q.Set("X-Amz-SignedHeaders", "host")
			q.Set("X-Amz-Signature", strings.Repeat("0", 64))
			l.query, l.header = q.Encode(), http.Header{}
			if target == "{victims}" {
				l.path = "/" + x.store.Bucket + "/" + x.victims
			}
			stream(l, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-checksum-crc32")
		}, true})
	}
	return all
}

// stream sends bytes in the aws-chunked encoding with a trailing checksum.
func stream(l *letter, mode, trailer string) {
	content := l.body
	sum := ballast.ChecksumHeader(ballast.DigestOf(content))
	if trailer == "x-amz-checksum-crc32" {
		sum = base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(content)))
	}
	l.body = fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n%s:%s\r\n\r\n", len(content), content, trailer, sum)
	l.header.Set("X-Amz-Content-Sha256", mode)
	l.header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(len(content)))
	l.header.Set("Content-Encoding", "aws-chunked")
	l.header.Set("X-Amz-Trailer", trailer)
}
