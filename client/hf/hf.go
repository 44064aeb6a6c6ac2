// Package hf reads models from a Hugging Face endpoint, huggingface.co or any other that answers the same requests, as a
// [client.Origin] that [client.Client.ImportFrom] publishes.
package hf

import (
	"cmp"
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// DefaultEndpoint is where models are when nothing else is said.
const DefaultEndpoint = "https://huggingface.co"

// Scheme begins the sources that ParseSource reads.
const Scheme = "hf://"

// Source is a repository of models and a revision of it.
type Source struct {
	Repo     string // NAME or ORG/NAME
	Revision string // a branch, a tag or a commit; empty: main
}

// repoPattern is what huggingface_hub takes for one segment of a repository's id (utils/_validators.py).
var repoPattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?$`)

// ParseSource reads hf://ORG/NAME[@REVISION] or hf://NAME[@REVISION].
func ParseSource(s string) (Source, error) {
	bad := func(why string) (Source, error) {
		return Source{}, ballast.Errorf(ballast.CodeInvalid, "source %.200q: %s", s, why)
	}
	rest, ok := strings.CutPrefix(s, Scheme)
	repo, revision, given := strings.Cut(rest, "@")
	repo = strings.TrimSuffix(repo, "/")
	segments := strings.Split(repo, "/")
	switch {
	case !ok || repo == "":
		return bad("write hf://ORG/NAME, with @REVISION behind it for another one than main")
	case len(segments) > 1 && (segments[0] == "datasets" || segments[0] == "spaces" || segments[0] == "kernels" || segments[0] == "buckets"):
		return bad("only models can be imported")
	case len(segments) > 2:
		return bad("a whole repository is imported: leave out what follows hf://ORG/NAME, and take some of its files with --include")
	case given && revision == "" || revision == "." || revision == ".." || len(revision) > 250 || strings.ContainsFunc(revision, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return bad("write a branch, a tag or a commit behind @")
	}
	for _, segment := range segments {
		if !repoPattern.MatchString(segment) || strings.Contains(segment, "--") || strings.Contains(segment, "..") || strings.HasSuffix(segment, ".git") {
			return bad("not the id of a repository: letters, digits, _ . - in one or two segments")
		}
	}
	return Source{repo, revision}, nil
}

// String returns the text that ParseSource reads.
func (s Source) String() string {
	if s.Revision == "" {
		return Scheme + s.Repo
	}
	return Scheme + s.Repo + "@" + s.Revision
}

// Options say where models are and who asks for them.
type Options struct {
	Endpoint  string            // URL, a path in it allowed; empty: DefaultEndpoint
	Token     client.Token      // empty: requests carry none. No other host ever gets it
	Transport http.RoundTripper // nil: one with the standard library's defaults
	UserAgent string
	Logger    *slog.Logger // tells of tries that are repeated; nil: silence
	// Pause before a call about the repository is tried again the first time; it doubles. 0: half a second.
	Pause time.Duration
}

// Origin is one commit of a repository.
type Origin struct {
	source   Source
	commit   string
	endpoint *url.URL
	token    client.Token
	agent    string
	http     *http.Client
	log      *slog.Logger
	pause    time.Duration // before the first repetition; doubles
}

var _ client.Origin = (*Origin)(nil)

// Open resolves the source's revision to a commit, once. All that the Origin does is about that commit.
// Errors: not_found, unauthenticated, denied or retired as the endpoint says it, in its words.
func Open(ctx context.Context, s Source, o Options) (*Origin, error) {
	at, err := parseEndpoint(cmp.Or(o.Endpoint, DefaultEndpoint))
	if err != nil {
		return nil, err
	}
	h := &Origin{source: s, endpoint: at, token: o.Token, agent: o.UserAgent, log: o.Logger, pause: cmp.Or(o.Pause, 500*time.Millisecond)}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	transport := o.Transport
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = time.Minute
		t.DisableCompression = true // a file's bytes are its bytes
		transport = t
	}
	h.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var info struct {
		SHA string `json:"sha"`
	}
	if _, err := h.getJSON(ctx, h.api("revision", cmp.Or(s.Revision, "main")), &info); err != nil {
		return nil, err
	}
	if !ballast.IsCommit(info.SHA) {
		return nil, h.noHub("it names no commit for the revision")
	}
	h.commit = info.SHA
	return h, nil
}

func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(s, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		shown := s[strings.LastIndexByte(s, '@')+1:] // before it a password may stand
		return nil, ballast.Errorf(ballast.CodeInvalid, "HF_ENDPOINT %.200q: write a URL like %s, without user, query and fragment", shown, DefaultEndpoint)
	}
	return u, nil
}

// String names the source and the endpoint, unless that is the usual one.
func (h *Origin) String() string {
	if at := h.endpoint.String(); at != DefaultEndpoint {
		return h.source.String() + " at " + at
	}
	return h.source.String()
}

// Commit is what the revision was when the Origin was opened: 40 hex digits.
func (h *Origin) Commit() string { return h.commit }

// api is the URL of a call about the repository.
func (h *Origin) api(what, revision string) *url.URL {
	return h.endpoint.JoinPath("api", "models", h.source.Repo, what).JoinPath(url.PathEscape(revision))
}

// entry is a file or folder of a tree.
type entry struct {
	Type string `json:"type"`
	Path string `json:"path"`
	Size int64  `json:"size"`
	OID  string `json:"oid"` // git's id
	LFS  *struct {
		OID  string `json:"oid"` // SHA-256
		Size int64  `json:"size"`
	} `json:"lfs"`
}

// maxPages bounds the pages of a listing, of which each may be short.
const maxPages = 10_000

// Files implements client.Origin: the files of the commit, page by page. A file that git-lfs holds has its digest stated, any
// other its git id.
func (h *Origin) Files(ctx context.Context) iter.Seq2[client.OriginFile, error] {
	return func(yield func(client.OriginFile, error) bool) {
		at := h.api("tree", h.commit)
		at.RawQuery = "recursive=true&expand=false"
		for page := 0; at != nil; page++ {
			var entries []entry
			header, err := h.getJSON(ctx, at, &entries)
			if err == nil && page == maxPages {
				err = h.noHub("its listing does not end")
			}
			if err != nil {
				yield(client.OriginFile{}, err)
				return
			}
			for _, e := range entries {
				if e.Type == "directory" {
					continue
				}
				if f, err := h.fileOf(e); !yield(f, err) || err != nil {
					return
				}
			}
			at = nextPage(at, header)
		}
	}
}

var (
	sha1Pattern   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (h *Origin) fileOf(e entry) (f client.OriginFile, err error) {
	f = client.OriginFile{Path: e.Path, Size: e.Size}
	switch {
	case e.LFS != nil && (!sha256Pattern.MatchString(e.LFS.OID) || e.LFS.Size != e.Size):
		return f, h.noHub("it lists half of what git-lfs says of " + quote(e.Path))
	case e.LFS != nil:
		f.Version = e.LFS.OID
		f.Digest, err = ballast.ParseSHA256(e.LFS.OID)
	case sha1Pattern.MatchString(e.OID):
		f.Version, f.GitBlob = e.OID, e.OID
	default:
		return f, h.noHub("it lists " + quote(e.Path) + " without an id")
	}
	return f, err
}

// nextPage follows the link to the next page by its query alone: the listing is where it is, whatever the link says of its
// host, and the token goes nowhere else.
func nextPage(at *url.URL, header http.Header) *url.URL {
	for _, links := range header.Values("Link") {
		for link := range strings.SplitSeq(links, ",") {
			to, rel, _ := strings.Cut(strings.TrimSpace(link), ";")
			if !strings.Contains(rel, `rel="next"`) && !strings.Contains(rel, "rel=next") {
				continue
			}
			u, err := url.Parse(strings.Trim(strings.TrimSpace(to), "<>"))
			if err != nil || u.RawQuery == "" || u.RawQuery == at.RawQuery {
				return nil
			}
			next := *at
			next.RawQuery = u.RawQuery
			return &next
		}
	}
	return nil
}

// Open implements client.Origin: by the endpoint each time, so that a signed address is always fresh.
func (h *Origin) Open(ctx context.Context, f client.OriginFile, offset, length int64) (io.ReadCloser, error) {
	segments := strings.Split(f.Path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	at := h.endpoint.JoinPath(h.source.Repo, "resolve", h.commit).JoinPath(segments...)
	return h.openAt(ctx, at, f, offset, length)
}
