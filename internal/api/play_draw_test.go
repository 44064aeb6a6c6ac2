package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
)

// tape turns bytes into choices. At its end every choice is the first.
type tape []byte

func (t *tape) byte() byte {
	if len(*t) == 0 {
		return 0
	}
	b := (*t)[0]
	*t = (*t)[1:]
	return b
}

// pick is a number below n ≤ 256.
func (t *tape) pick(n int) int { return int(t.byte()) % n }

// text is up to 23 bytes off the tape.
func (t *tape) text() string {
	n := min(t.pick(24), len(*t))
	s := string((*t)[:n])
	*t = (*t)[n:]
	return s
}

// choose is one of some; none of none is the zero value.
func choose[T any](t *tape, of []T) (none T) {
	if len(of) == 0 {
		return none
	}
	return of[t.pick(len(of))]
}

// contents are what files hold.
var contents = []string{"alpha", "beta", "gamma", ""}

// sent is a request that can be sent again.
type sent struct {
	method, target, route string
	body                  []byte
}

// draw makes a request of an actor; nil when no client could send it. Others than acme often repeat what acme did.
func (p *play) draw(t *testing.T, a *actor) (*http.Request, sent) {
	s := choose(p.tape, p.deeds)
	if a == p.acme || a == p.root || s.method == "" || p.pick(3) != 0 {
		s = p.invent(a)
	}
	r, err := http.NewRequestWithContext(t.Context(), s.method, "http://registry"+s.target, bytes.NewReader(s.body))
	if err != nil {
		return nil, s
	}
	p.headers(a, r, len(s.body) > 0)
	a.say(r, s.body)
	return r, s
}

func (p *play) invent(a *actor) sent {
	routes := (&server{}).routes()
	to := choose(p.tape, routes)
	if p.pick(2) == 0 { // publishing takes several in a row
		to = choose(p.tape, slices.DeleteFunc((&server{}).routes(), func(r route) bool { return r.method != "POST" || !strings.HasPrefix(r.path, "/v1/uploads") }))
	}
	if a == p.root { // who may do all does only what nobody else may
		to = choose(p.tape, slices.DeleteFunc(routes, func(r route) bool {
			return !strings.HasPrefix(r.path, "/v1/tasks") && !strings.HasPrefix(r.path, "/v1/admin/")
		}))
	}
	method := to.method
	if p.pick(32) == 0 {
		method = choose(p.tape, []string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "BREW"})
	}
	body := p.mutate(p.body(a, method+" "+to.path))
	query := p.query(a)
	if to.method == http.MethodDelete && to.path == versionPath && query == "" && p.pick(2) == 0 {
		query = "?if_exists=true"
	}
	if to.path == versionPath+"/restore" && len(a.gone) > 0 && p.pick(4) != 0 { // only what was deleted comes back
		return sent{method, a.gone[len(a.gone)-1] + "/restore", to.path, nil}
	}
	return sent{method, p.path(a, to.path) + query, to.path, body}
}

func (p *play) path(a *actor, template string) string {
	var path strings.Builder
	for segment := range strings.SplitSeq(template[1:], "/") {
		path.WriteByte('/')
		switch segment {
		case "{id}":
			path.WriteString(p.escape(p.id(a, template)))
		case "{name}":
			path.WriteString(p.escape(p.name(a)))
		case "{ref}":
			path.WriteString(p.escape(p.ref()))
		case "{path}":
			path.WriteString(p.escape(p.pathFor(a, template)))
		case "{task}":
			path.WriteString(p.escape(p.oneOf([]string{"claim-triage", "ner", "other-task", "Not A Task"})))
		case "{scope}":
			path.WriteString(p.escape(p.oneOf([]string{"acme", "global", "*", "other", "Not A Scope"})))
		case "{alias}":
			path.WriteString(p.escape(p.alias(a)))
		default:
			path.WriteString(segment)
		}
	}
	return path.String()
}

// escape encodes a parameter fully, or but for its slashes, or not at all.
func (p *play) escape(s string) string {
	switch p.pick(16) {
	case 0:
		return s
	case 1, 2, 3:
		return url.PathEscape(s)
	}
	return strings.ReplaceAll(url.PathEscape(s), "%2F", "/")
}

// id is of an upload, an import or a token: most times the actor's last one, sometimes another's.
func (p *play) id(a *actor, template string) string {
	ids := func(of *actor) []string {
		switch {
		case strings.HasPrefix(template, "/v1/tokens"):
			return of.minted
		case strings.HasPrefix(template, "/v1/imports"):
			return of.imports
		}
		return of.uploads
	}
	switch p.pick(12) {
	case 0:
		return p.text()
	case 1:
		return choose(p.tape, ids(p.acme))
	case 2:
		return choose(p.tape, ids(p.them))
	case 3:
		return choose(p.tape, ids(a))
	}
	if all := ids(a); len(all) > 0 {
		return all[len(all)-1]
	}
	return "u1"
}

func (p *play) name(a *actor) string {
	names := []string{"tiny", "llama/tiny", "new", "LLAMA/tiny", "base", "global::base", "them::tiny", "acme::llama/tiny", "org/new"}
	if a == p.acme {
		names = append(names, markName, "acme::"+markName, markName+"/2")
	}
	return p.oneOf(p.often(a.home, names))
}

func (p *play) ref() string {
	return p.oneOf(p.often(choose(p.tape, []string{"1", "8"}), []string{"latest", "@champion", "@production", "1.0.0", "2", "7", "8", "sha256:" + fileSum, "1.2.3-rc.1"}))
}

// pathFor is a file that a route can have something to say about.
func (p *play) pathFor(a *actor, template string) string {
	if strings.Contains(template, "/tensors/") {
		return p.oneOf(p.often(weightsPath, []string{"config.json", "a/b.gguf"}))
	}
	return p.filePath(a)
}

func (p *play) filePath(a *actor) string {
	paths := []string{"a/b", "empty", "config.json/x", "a"}
	if a == p.acme {
		paths = append(paths, markPath, markPath+"/x")
	}
	return p.oneOf(p.often("config.json", paths))
}

func (p *play) alias(a *actor) string {
	aliases := []string{"next", "latest"}
	if a == p.acme {
		aliases = append(aliases, markAlias)
	}
	return p.oneOf(p.often("champion", aliases))
}

// often is first alone in half of all cases, and all otherwise: what is there is asked for more than what is not.
func (p *play) often(first string, all []string) []string {
	if p.pick(2) == 0 {
		return []string{first}
	}
	return all
}

// oneOf is one of some, or a text off the tape.
func (p *play) oneOf(some []string) string {
	if p.pick(16) == 0 {
		return p.text()
	}
	return choose(p.tape, some)
}

// query is most times empty. Nothing in it makes the registry wait.
func (p *play) query(a *actor) string {
	q := url.Values{}
	if p.pick(8) != 0 {
		return ""
	}
	for _, key := range []string{"limit", "cursor", "urls", "parts", "prefix", "scope", "wait", "after", "include", "if_exists", "order", "status", "stage", "task", "tag", "base", "creator", "metric.loss.lte", "model", "since", "who", "action"} {
		if p.pick(4) != 0 {
			continue
		}
		value := p.oneOf(append([]string{"1", "true", "acme", "them", "global", "m", "1ms", "1000", "NaN", "now", "retired", "newest", "all", "none", "ner", "prod", "llama/tiny:1", "acme::llama/tiny", "bytes", "2026-11-22T08:00:00Z"}, a.cursors...))
		if d, err := time.ParseDuration(value); key == "wait" && err == nil && d > time.Millisecond {
			value = "1ms"
		}
		q.Add(key, value)
	}
	return "?" + q.Encode()
}

func (p *play) headers(a *actor, r *http.Request, body bool) {
	if token := choose(p.tape, a.tokens); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body && p.pick(24) != 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range []string{"If-Match", "If-None-Match", "X-Request-Id", "Content-Encoding", "Range", "Content-Type", "X-Forwarded-For"} {
		if p.pick(64) == 0 {
			r.Header.Set(h, p.oneOf([]string{`"1"`, "*", `"2"`, "gzip", "bytes=0-1", "text/plain"}))
		}
	}
}

// body is a good body of an operation, as JSON values; nil when it takes none.
func (p *play) body(a *actor, operation string) any {
	type object = map[string]any
	switch operation {
	case "POST /v1/uploads":
		name := p.name(a)
		if _, bare, ok := strings.Cut(name, "::"); ok && p.pick(8) != 0 {
			name = bare
		}
		o := object{"name": name, "attempt": choose(p.tape, []string{"0123456789abcdef", "fedcba9876543210", "aaaaaaaaaaaaaaaa"})}
		if p.pick(2) == 0 {
			o["version"] = p.oneOf([]string{"1", "2", "1.0.0", "1.2.3-rc.1", "3"})
		}
		if p.pick(8) == 0 {
			o["scope"] = p.oneOf([]string{"acme", "them", "global"})
		}
		if p.pick(8) == 0 {
			o["size"] = p.pick(200)
		}
		return o
	case "POST /v1/admin/gc":
		return object{"dry_run": p.pick(2) == 0}
	case "POST /v1/admin/fsck":
		return object{choose(p.tape, []string{"deep", "repair", "remove_orphans"}): p.pick(2) == 0}
	case "PUT /v1/admin/quotas/{scope}":
		return object{choose(p.tape, []string{"bytes", "versions", "uploads", "upload_bytes"}): p.pick(64)}
	case "POST /v1/imports":
		return p.importBody(a)
	case "POST /v1/uploads/{id}/blobs":
		return object{"blobs": several(p.tape, func() any { return p.blob() })}
	case "POST /v1/uploads/{id}/commit":
		o := object{"files": several(p.tape, func() any { return p.file(a) })}
		if p.pick(2) == 0 {
			o["metadata"] = p.metadata(a)
		}
		return o
	case "POST /v1/models/{name}/versions/{ref}/copy":
		o := object{"name": p.oneOf([]string{"copied", "llama/tiny", "base"})}
		if p.pick(2) == 0 {
			o["version"] = p.oneOf([]string{"1", "2", "7"})
		}
		if p.pick(4) == 0 {
			o["scope"] = p.oneOf([]string{"acme", "them", "global"})
		}
		return o
	case "PUT /v1/models/{name}/aliases/{alias}":
		return object{"version": p.oneOf([]string{"1", "7", "1.0.0", "8", "3"})}
	case "POST /v1/tokens/{id}/rotate":
		return object{"overlap": 60}
	case "POST /v1/tokens":
		home := "them"
		if a == p.acme {
			home = "acme"
		}
		o := object{"grants": several(p.tape, func() any {
			return object{"scope": choose(p.tape, []string{home, home, home, "acme", "them", "global"}), "role": choose(p.tape, []string{"admin", "writer", "reader", "maintainer"})}
		})}
		if p.pick(4) == 0 {
			o["grants"] = []any{object{"scope": home, "role": choose(p.tape, []string{"writer", "reader", "maintainer"}), "names": p.oneOf([]string{"llama/*", "T*", "tiny"})}}
		}
		if p.pick(4) == 0 {
			o["expires_in"] = 3600
		}
		if a == p.acme {
			o["name"] = markToken
		}
		return o
	}
	return p.changeBody(a, operation)
}

// importBody asks for what lies in the actor's inbox, or for what is none of theirs.
func (p *play) importBody(a *actor) any {
	sources := []string{"inbox:m", "s3://models/tenants/them/inbox/m/", "s3://models/tenants/acme/inbox/m", "s3://models/", "inbox:../blobs/", "s3://models/index/", "s3://models/global/inbox/m/", "inbox:none"}
	if a == p.acme {
		sources = append(sources, "inbox:"+markInbox, "s3://models/tenants/acme/inbox/"+markInbox+"/")
	}
	o := map[string]any{"source": p.oneOf(p.often("inbox:m/", sources)), "name": p.oneOf([]string{"imported", "llama/tiny", "base", "tiny"})}
	if p.pick(2) == 0 {
		o["version"] = p.oneOf([]string{"1", "2", "7", "9.0.0"})
	}
	if p.pick(4) == 0 {
		o["scope"] = p.oneOf([]string{"acme", "them", "global"})
	}
	if p.pick(2) == 0 {
		o["metadata"] = p.metadata(a)
	}
	if p.pick(2) == 0 {
		o["move"] = true
	}
	return o
}

// changeBody is body for the operations of the catalogue.
func (p *play) changeBody(a *actor, operation string) any {
	type object = map[string]any
	reason := "because"
	if a == p.acme {
		reason = markReason
	}
	switch operation {
	case "PATCH " + versionPath:
		metadata := p.metadata(a).(object)
		delete(metadata, "base_model") // with it every change would be refused
		metadata["backend"], metadata["metrics"] = nil, object{"loss": 0.25, "gone": nil}
		o := object{"metadata": metadata}
		if p.pick(2) == 0 {
			o["stage"] = choose(p.tape, []string{"validated", "staged", "archived", "deprecated", "production", "none"})
		}
		return o
	case "POST " + versionPath + "/promote", "POST /v1/models/{name}/rollback":
		return object{"reason": reason}
	}
	return nil
}

// several is one to three things.
func several(t *tape, thing func() any) (all []any) {
	for range 1 + max(0, t.pick(6)-3) {
		all = append(all, thing())
	}
	return all
}

func (p *play) blob() any {
	content := choose(p.tape, p.often(contents[2], contents))
	o := map[string]any{"digest": ballast.DigestOf([]byte(content)), "size": len(content)}
	if p.pick(4) == 0 {
		o["method"] = "multipart"
		o["parts"] = []any{map[string]any{"number": 1, "sha256": ballast.DigestOf([]byte(content)).Encoded()}}
	}
	return o
}

func (p *play) file(a *actor) any {
	content := choose(p.tape, p.often(contents[2], contents))
	return map[string]any{"path": p.filePath(a), "size": len(content), "sha256": ballast.DigestOf([]byte(content)).Encoded()}
}

func (p *play) metadata(a *actor) any {
	o := map[string]any{"task": "ner", "metrics": map[string]any{"loss": 0.5}, "tags": []any{"prod"}}
	if a == p.acme {
		o["description"], o["tags"] = markDescription, []any{markTag}
	}
	if p.pick(4) == 0 {
		o["base_model"] = p.name(a) + p.oneOf([]string{":1", "", "@champion"})
	}
	return o
}

// mutate writes a body as JSON, and in one of four changes something about it.
func (p *play) mutate(v any) []byte {
	if v == nil {
		if p.pick(16) == 0 {
			return []byte(p.text())
		}
		return nil
	}
	choice := p.pick(32)
	switch choice {
	case 0, 1, 2:
		v = p.change(v)
	case 3:
		return []byte(p.text())
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	at := p.pick(256) % (len(b) + 1)
	switch choice {
	case 4:
		return b[:at]
	case 5, 6:
		return append(append(append([]byte{}, b[:at]...), p.text()...), b[at:]...)
	}
	return b
}

// change puts something odd in the place of one value, or takes it away, or adds a field.
func (p *play) change(v any) any {
	odd := []any{
		nil, true, -1, 0, 1e300, 9223372036854775807, "", "..", "a\x00b", "::", "acme::llama/tiny", "NaN", strings.Repeat("a", 300), []any{}, map[string]any{},
		fileSum, "sha256:" + fileSum, "1", p.text(),
	}
	switch v := v.(type) {
	case map[string]any:
		keys := sortedKeys(v)
		key := choose(p.tape, keys)
		switch p.pick(6) {
		case 0:
			delete(v, key)
		case 1:
			v[p.text()] = choose(p.tape, odd)
		default:
			v[key] = p.change(v[key])
		}
		return v
	case []any:
		if len(v) > 0 && p.pick(4) != 0 {
			i := p.pick(len(v))
			v[i] = p.change(v[i])
			return v
		}
		if len(v) > 0 && p.pick(2) == 0 {
			return append(v, v[0])
		}
	}
	return choose(p.tape, odd)
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
