package hostile

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
)

func replace(text, word, value string) string { return strings.ReplaceAll(text, word, value) }

func repeat(s string, n int) string { return strings.Repeat(s, n) }

// crafted are texts, percent-encoded, that something between the wire and a key of the store might read as another
// place: a step up, a slash, a letter that folds to another one.
func crafted() map[string]string {
	return map[string]string{
		"a step up": "..", "two steps up": "..%2f..%2f{them}", "two steps up, twice encoded": "%252e%252e%252f{them}", "steps, all encoded": "%2e%2e%2f%2e%2e%2f{them}",
		"steps in a name": "{name}%2f..%2f..%2f{them}", "a step down": "{name}%2f.", "a backslash": "..%5c..%5c{them}", "a slash at the beginning": "%2f{them}", "two slashes": "%2f%2f{them}",
		"a slash at the end": "{name}%2f", "a void": "{name}%2f%2fx", "three segments": "a%2fb%2fc", "a key of the store": "tenants%2f{them}%2fblobs%2fsha256", "the owner's mark": "index%2fowner.json",
		"NUL": "%00", "NUL at the end": "{name}%00", "NUL and more": "{name}%00{them}", "a new line": "{name}%0d%0aX-Injected:%20yes", "a tab": "%09{name}", "DEL": "{name}%7f",
		"overlong dots": "%c0%ae%c0%ae%c0%af{them}", "overlong slash": "..%e0%80%af{them}", "no UTF-8": "%ff%fe{name}", "a lone surrogate": "%ed%a0%80{name}",
		"full-width steps": "%ef%bc%8e%ef%bc%8e%ef%bc%8f{them}", "full-width colons": "{them}%ef%bc%9a%ef%bc%9a{name}", "a division slash": "{them}%e2%88%95{name}", "one dot leader": "%e2%80%a4%e2%80%a4%2f{them}",
		"a Kelvin sign": "%e2%84%aaey", "a dotless i": "v%c4%b1ctim-co", "a dotted I": "V%c4%b0CT%c4%b0M-CO", "a long s": "%c5%bfubject", "sharp s": "sub%e1%ba%9eject", "a ligature": "%ef%ac%81le",
		"a zero-width space": "{name}%e2%80%8b", "right to left": "%e2%80%ae{name}", "a combining mark": "{name}%cc%81", "a soft hyphen": "sub%c2%adject",
		"a dot at the end": "{name}.", "a blank at the end": "{name}%20", "a blank before": "%20{name}", "a tilde": "~{them}", "a wildcard": "*", "a percent": "%25", "a broken escape": "%zz", "a cut escape": "{name}%2",
		"no scope": "::{name}", "no name": "{them}::", "three colons": "{them}:::{name}", "a key and more": "{them}::{name}::1::1", "a scope in a scope": "global::{them}::{name}", "a scope in a name": "acme::{them}::{name}",
		"the scope in capitals": "{THEM}::{name}", "a mixed scope": "Victim-Co::{name}", "the nil scope": "00000000-0000-0000-0000-000000000000::{name}", "a scope that goes up": "..::{name}",
		"a query": "{name}%3fscope={them}", "a fragment": "{name}%23{them}", "a matrix parameter": "{name};scope={them}", "a template": "%7b%7b.%7d%7d", "a quote": "{name}%22%2c%22scope%22:%22{them}",
		"long": repeat("a", 5000), "long segments": repeat("a%2f", 1200), "a device": "con", "a git folder": "{name}.git", "dashes": "a--b",
	}
}

// place is where a crafted text is put. In a body it stands decoded.
type place struct {
	name, method, path, body string
	want                     Want
}

func nativePlaces() []place {
	return []place{
		{"a name", get, "/v1/models/{x}/versions/1/files/w.safetensors", "", Refused}, {"a changed name", patch, "/v1/models/{x}/versions/1", `{"stage":"archived"}`, Refused},
		{"a version", get, "/v1/models/subject/versions/{x}/files?urls=true", "", Refused}, {"an alias of a version", get, "/v1/models/subject/versions/@{x}", "", Refused},
		{"a digest", get, "/v1/models/subject/versions/sha256:{x}", "", Refused}, {"the path of a file", get, "/v1/models/subject/versions/1/files/{x}", "", Refused},
		{"the path of tensors", get, "/v1/models/subject/versions/1/tensors/{x}", "", Refused}, {"an alias", put, "/v1/models/subject/aliases/{x}", `{"version":"999"}`, Refused},
		{"an upload's id", get, "/v1/uploads/{x}", "", Refused}, {"an import's id", del, "/v1/imports/{x}", "", Refused}, {"a token's id", del, "/v1/tokens/{x}", "", Refused},
		{"a task", put, "/v1/tasks/{x}", "", Clean},
		{"a scope to list", get, "/v1/models?scope={x}", "", Clean}, {"a scope of imports", get, "/v1/imports?scope={x}", "", Refused}, {"a prefix", get, "/v1/models?prefix={x}", "", Clean},
		{"a cursor", get, "/v1/models?cursor={x}", "", Clean}, {"a cursor of versions", get, "/v1/versions?cursor={x}", "", Clean}, {"a place in the feed", get, "/v1/events?after={x}", "", Refused},
		{"a base", get, "/v1/versions?base={x}", "", Refused},
		{"a name in a body", post, "/v1/uploads", `{"name":{x},"version":"1","attempt":"0123456789abcdef"}`, Clean}, {"a scope in a body", post, "/v1/uploads", `{"scope":{x},"name":"m","attempt":"0123456789abcdef"}`, Refused},
		{"a version in a body", post, "/v1/uploads", `{"name":"m","version":{x},"attempt":"0123456789abcdef"}`, Refused}, {"an attempt", post, "/v1/uploads", `{"name":"m","attempt":{x}}`, Clean},
		{"an inbox", post, "/v1/imports", `{"source":{inbox:x},"name":"stolen"}`, Refused}, {"a bucket", post, "/v1/imports", `{"source":{s3:x},"name":"stolen"}`, Refused},
		{"a place in the bucket", post, "/v1/imports", `{"source":{home:x},"name":"stolen"}`, Refused},
		{"a copy's name", post, "/v1/models/none/versions/1/copy", `{"name":{x}}`, Refused}, {"a base in a body", patch, "/v1/models/subject/versions/1", `{"metadata":{"base_model":{x}}}`, Refused},
		{"a path in a commit", post, "/v1/uploads/{mine}/commit", `{"files":[{"path":{x},"size":3,"sha256":"{filehex}"}]}`, Refused},
		{"a digest in a body", post, "/v1/uploads/{mine}/blobs", `{"blobs":[{"digest":{sha256:x},"size":3}]}`, Refused}, {"a digest in a commit", post, "/v1/uploads/{mine}/commit", `{"files":[{"path":"w","size":3,"sha256":{x}}]}`, Refused},
		{"a grant", post, "/v1/tokens", `{"name":"mine","grants":[{"scope":{x},"role":"reader"}]}`, Refused},
	}
}

func hubPlaces() []place {
	return []place{
		{"a repository", get, "/{x}/resolve/main/config.json", "", Refused}, {"a raw repository", head, "/{x}/raw/main/config.json", "", Refused},
		{"a revision", get, "/subject/resolve/{x}/w.safetensors", "", Refused}, {"a branch", get, "/subject/resolve/refs%2fheads%2f{x}/w.safetensors", "", Refused},
		{"the path of a file", get, "/subject/resolve/main/{x}", "", Refused}, {"a model", get, "/api/models/{x}", "", Refused}, {"a model at a revision", get, "/api/models/subject/revision/{x}", "", Refused},
		{"a folder", get, "/api/models/subject/tree/main/{x}", "", Refused}, {"refs", get, "/api/models/{x}/refs", "", Refused}, {"commits", get, "/api/models/subject/commits/{x}", "", Refused},
		{"a search", get, "/api/models?search={x}", "", Clean}, {"an author", get, "/api/models?author={x}", "", Clean}, {"a cursor", get, "/api/models?cursor={x}", "", Clean},
		{"a page of a tree", get, "/api/models/subject/tree/main?cursor={x}", "", Clean}, {"paths in a body", post, "/api/models/subject/paths-info/main", `{"paths":[{x}]}`, Clean},
		{"a batch", post, "/{x}/info/lfs/objects/batch", `{}`, Refused}, {"a data set", get, "/datasets/{x}", "", Refused},
	}
}

// CraftedAttacks puts each crafted text in each place of a face. Each is sent as the strongest of the attackers and as one
// other caller, in turn: what is made of a text does not depend on who sends it.
func CraftedAttacks(face Face) (all []Attack) {
	places := nativePlaces()
	if face == Hub {
		places = hubPlaces()
	}
	texts, others := crafted(), Names()
	for _, p := range places {
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			all = append(all, Attack{
				Group: "crafted: " + p.name, Name: name, Face: face, Method: p.method, Path: replace(p.path, "{x}", texts[name]), Body: inBody(p.body, texts[name]), Want: p.want,
				As: []string{attacker + "=admin", others[len(all)%len(others)]},
			})
		}
	}
	return all
}

// inBody puts a text into a body as JSON has it, decoded where it can be.
func inBody(body, text string) string {
	if decoded, err := url.PathUnescape(text); err == nil {
		text = decoded
	}
	for word, before := range map[string]string{"{x}": "", "{inbox:x}": "inbox:", "{s3:x}": "s3://", "{home:x}": "s3://{bucket}tenants/acme/inbox/", "{sha256:x}": "sha256:"} {
		if !strings.Contains(body, word) {
			continue
		}
		quoted, err := json.Marshal(before + text)
		if err != nil || !json.Valid(quoted) {
			panic("a text is always JSON")
		}
		if strings.ContainsRune(text, '\ufffd') || !strings.Contains(string(quoted), `\ufffd`) {
			body = replace(body, word, string(quoted))
		} else { // what is not UTF-8 goes out as it is
			body = replace(body, word, `"`+before+text+`"`)
		}
	}
	return body
}
