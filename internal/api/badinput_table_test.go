package api

import (
	"fmt"
	"maps"
	"net/url"
	"strings"

	"github.com/ballast-registry/ballast"
)

// badRequests is all of them, by name.
func badRequests() map[string]badRequest {
	all := map[string]badRequest{}
	for _, some := range []map[string]badRequest{badPaths(), badLists(), badNames(), badDigests(), badNumbers(), badMetadata(), badTokens(), badForms(), badChanges(), badImports(), badIDs(), badTasks(), badQuotas(), badFscks()} {
		maps.Copy(all, some)
	}
	for name, r := range maps.Clone(all) { // a text of 1 MiB is more than some bodies may hold, and a shorter one is refused for itself
		list := strings.HasSuffix(r.path, "/blobs") || strings.HasSuffix(r.path, "/commit")
		if shorter := strings.Replace(r.body, strings.Repeat("a", mib), strings.Repeat("a", mib/10), 1); !list && r.code == "" && shorter != r.body {
			all[name], all[name+" less 90%"] = r.as(ballast.CodeTooLarge), badRequest{r.method, r.path, shorter, r.header, r.code}
		}
	}
	return all
}

const mib = 1 << 20

// badText is JSON of texts that fit nowhere.
func badText() map[string]string {
	return map[string]string{
		"empty": `""`, "NUL": `"a\u0000b"`, "newline": `"a\nb"`, "DEL": `"a\u007fb"`, "C1": `"a\u0085b"`, "colons": `"a::b"`,
		"traversal": `"../a"`, "absolute": `"/a"`, "backslash": `"a\\b"`, "space": `" a"`, "1 MiB": quoted(strings.Repeat("a", mib)),
		"number": `1`, "list": `["a"]`, "object": `{}`, "bytes": "\"a\xff\"",
	}
}

func quoted(s string) string { return `"` + s + `"` }

func commit(body string) badRequest {
	return badRequest{method: "POST", path: "/v1/uploads/{u}/commit", body: body}
}

func ask(body string) badRequest {
	return badRequest{method: "POST", path: "/v1/uploads/{u}/blobs", body: body}
}

func create(body string) badRequest {
	return badRequest{method: "POST", path: "/v1/uploads", body: body}
}

// as is the request with another code.
func (r badRequest) as(code ballast.Code) badRequest {
	r.code = code
	return r
}

// badPaths are files at paths that no folder should have.
func badPaths() map[string]badRequest {
	all := map[string]badRequest{}
	texts := badText()
	delete(texts, "colons") // a file may have them
	delete(texts, "space")
	maps.Copy(texts, map[string]string{
		"dot": `"."`, "dots": `".."`, "up and down": `"a/../b"`, "up last": `"a/.."`, "here": `"./a"`, "nothing between": `"a//b"`, "slash last": `"a/"`,
		"drive": `"C:\\a"`, "null": `null`,
		"segment of 256 bytes": quoted(strings.Repeat("s", 256)), "segment of 256 bytes in a folder": quoted("a/" + strings.Repeat("é", 128)),
		"path of 701 bytes": quoted(strings.Repeat("s", 250) + "/" + strings.Repeat("s", 250) + "/" + strings.Repeat("s", 199)),
	})
	for name, path := range texts {
		all["commit path "+name] = commit(commitBody(file(path, offered)))
	}
	for name, path := range map[string]string{
		"traversal": "..%2f..%2fetc%2fpasswd", "absolute": "%2fetc%2fpasswd", "NUL": "a%00", "twice encoded": "%252e%252e%252fa%5c", "bytes": "%ff",
		"1 KiB": strings.Repeat("a/", 512) + "a", "segment": strings.Repeat("a", 256),
	} {
		all["GET file "+name] = badRequest{method: "GET", path: "/v1/models/m/versions/1/files/" + path}
	}
	return all
}

// badLists are files that cannot be together.
func badLists() map[string]badRequest {
	all := map[string]badRequest{}
	for name, paths := range map[string][]string{
		"twice": {`"a"`, `"a"`}, "twice, escaped": {`"a"`, `"\u0061"`}, "file and folder": {`"a"`, `"a/b"`}, "folder and file": {`"a/b/c"`, `"a"`},
		"case": {`"README"`, `"readme"`}, "case of a folder": {`"a/x"`, `"A/X"`}, "file and folder by case": {`"A"`, `"a/b"`},
		"NFC and NFD": {`"\u00e9"`, `"e\u0301"`}, "sharp s": {`"ß"`, `"SS"`}, "Kelvin": {`"K"`, `"\u212a"`}, "marks in another order": {`"a\u0323\u0307"`, `"a\u0307\u0323"`},
	} {
		all["commit "+name] = commit(commitBody(file(paths[0], offered), file(paths[1], offered)))
	}
	sum := ballast.DigestOf([]byte(offered)).Encoded()
	all["commit one digest, two sizes"] = commit(commitBody(fileOf(`"a"`, 7, sum), fileOf(`"b"`, 8, sum)))
	many := make([]string, ballast.MaxFiles+1)
	for i := range many {
		many[i] = file(fmt.Sprintf(`"%d"`, i), offered)
	}
	all["commit 10,001 files"] = commit(commitBody(many...)).as(ballast.CodeTooLarge)
	blobs := make([]string, ballast.MaxBlobsPerCall+1)
	for i := range blobs {
		blobs[i] = blob(fmt.Sprint(i))
	}
	all["blobs 1,001"] = ask(blobsBody(blobs...))
	all["blobs none"] = ask(blobsBody())
	all["blobs twice"] = ask(blobsBody(blob("twice"), blob("twice")))
	all["commit no list"] = commit(`{"metadata":{}}`)
	all["commit null list"] = commit(`{"files":null}`)
	all["blobs null"] = ask(`{"blobs":null}`)
	all["blobs good and bad"] = ask(blobsBody(blob("good"), blobOf("sha256:00", 1)))
	return all
}

// badNames are names, versions, scopes, aliases and cursors that cannot be.
func badNames() map[string]badRequest {
	all := map[string]badRequest{}
	for _, field := range []string{"name", "scope", "version", "attempt"} {
		for name, value := range badText() {
			all["create "+field+" "+name] = create(createBody(field, value))
		}
	}
	for _, name := range []string{"a/b/c", "a--b", "a..b", "a.git", "a-", "-a", ".", "..", "a b", "a@b", "versions", "Global", "a/TOKENS", "ä", "a/", "acme::a"} {
		all["create name "+name] = create(createBody("name", quoted(name)))
	}
	for _, version := range []string{
		"0", "-1", "01", "v1", "1.0", "1.0.0.0", "1.0.0+build", "1.0.0-", "1.0.0-01", "1.0.0-a..b", "9223372036854775808", "1.9223372036854775808.0",
		"1.0.0-9223372036854775808", "latest", "NaN", "1e3", "∞", "1.0.0-é", "1.0.0-" + strings.Repeat("a", 123),
	} {
		all["create version "+version] = create(createBody("version", quoted(version)))
		all["alias to version "+version] = badRequest{method: "PUT", path: "/v1/models/m/aliases/champion", body: `{"version":` + quoted(version) + `}`}
	}
	for _, scope := range []string{"Acme", "a_b", "-a", "00000000-0000-0000-0000-000000000000", strings.Repeat("a", 64)} {
		all["create scope "+scope] = create(createBody("scope", quoted(scope)))
	}
	for _, alias := range []string{"Champion", "latest", "main", "production", "1", "a%00", "..%2fa", "a%2fb", "a::b", strings.Repeat("a", 40), strings.Repeat("a", 64), "%c3%a4"} {
		all["alias "+alias] = badRequest{method: "PUT", path: "/v1/models/m/aliases/" + alias, body: `{"version":"1"}`}
		if alias != "latest" && alias != "production" { // which are no aliases, and can be asked for
			all["GET @"+alias] = badRequest{method: "GET", path: "/v1/models/m/versions/@" + alias}
		}
		all["no alias "+alias] = badRequest{method: "DELETE", path: "/v1/models/m/aliases/" + alias}
	}
	for _, query := range []string{"limit=NaN", "limit=-1", "limit=1e3", "limit=9223372036854775808", "cursor=%00", "cursor=../a", "scope=a::b", "scope=%00", "limit=1;limit=2", "prefix=a::b", "prefix=%00", "prefix=%0a", "prefix=a%7f", "prefix=%c2%85", "prefix=%ff", "prefix=..%2f..", "prefix=a%2fb%2fc"} {
		all["models "+query] = badRequest{method: "GET", path: "/v1/models?" + query}
	}
	for _, path := range []string{"m/versions?cursor=YQ", "m/versions/1/files?cursor=%25", "a::b::c", "m/versions/" + strings.Repeat("9", 40<<10), strings.Repeat("a", 40<<10)} {
		all["GET "+path] = badRequest{method: "GET", path: "/v1/models/" + path}
	}
	return all
}

// badDigests are digests in every place that takes one.
func badDigests() map[string]badRequest {
	all := map[string]badRequest{}
	good := ballast.DigestOf([]byte("digest")).Encoded()
	for name, sum := range map[string]string{
		"upper-case": strings.ToUpper(good), "short": good[:63], "long": good + "0", "not hex": "g" + good[1:], "empty": "", "with algorithm": "sha256:" + good,
		"traversal": "../" + good[3:], "1 MiB": strings.Repeat("a", mib),
	} {
		all["commit sha256 "+name] = commit(commitBody(fileOf(`"a"`, 6, sum)))
		all["blobs part sha256 "+name] = ask(blobsBody(blobOf("sha256:"+good, 6, `,"method":"multipart","parts":[{"number":1,"sha256":"`+sum+`"}]`)))
		all["GET sha256 "+name] = badRequest{method: "GET", path: "/v1/models/m/versions/sha256:" + url.PathEscape(sum[:min(len(sum), 100)])}
		if name != "with algorithm" {
			all["blobs digest sha256 "+name] = ask(blobsBody(blobOf("sha256:"+sum, 6)))
		}
	}
	for _, digest := range []string{good, "", "sha512:" + good + good, "md5:" + good[:32], "SHA256:" + good, "sha256-" + good, "sha256:sha256:" + good} {
		all["blobs digest "+digest] = ask(blobsBody(blobOf(digest, 6)))
	}
	return all
}

// badNumbers are sizes, part sizes, part numbers and revisions.
func badNumbers() map[string]badRequest {
	all := map[string]badRequest{}
	sum := ballast.DigestOf([]byte("sized")).Encoded()
	for _, size := range []string{"-1", "0", "5497558138881", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1e30", "1.5", "NaN", "Infinity", `"5"`, "true", "[]", "0x5"} {
		all["commit size "+size] = commit(commitBody(fileOf(`"a"`, size, sum)))
		all["blobs size "+size] = ask(blobsBody(blobOf("sha256:"+sum, size)))
	}
	for name, blob := range map[string]string{
		"empty digest with a size": blobOf(string(ballast.EmptyDigest), 1),
		"negative part size":       blobOf("sha256:"+sum, 5, `,"part_size":-1`), "part size 1e30": blobOf("sha256:"+sum, 5, `,"part_size":1e30`),
		"part 0":        blobOf("sha256:"+sum, 5, `,"method":"multipart","parts":[{"number":0,"sha256":"`+sum+`"}]`),
		"part -1":       blobOf("sha256:"+sum, 5, `,"method":"multipart","parts":[{"number":-1,"sha256":"`+sum+`"}]`),
		"part 2 of 1":   blobOf("sha256:"+sum, 5, `,"method":"multipart","parts":[{"number":2,"sha256":"`+sum+`"}]`),
		"part 10,001":   blobOf("sha256:"+sum, 5<<40, `,"method":"multipart","parts":[{"number":10001,"sha256":"`+sum+`"}]`),
		"part of a put": blobOf("sha256:"+sum, 5, `,"method":"put","parts":[{"number":1,"sha256":"`+sum+`"}]`),
		"part twice":    blobOf("sha256:"+sum, 5, `,"method":"multipart","parts":[{"number":1,"sha256":"`+sum+`"},{"number":1,"sha256":"`+ballast.EmptyDigest.Encoded()+`"}]`),
		"1,001 parts":   blobOf("sha256:"+sum, 5<<40, `,"method":"multipart","parts":[`+strings.Repeat(`{"number":1,"sha256":"`+sum+`"},`, 1000)+`{"number":1,"sha256":"`+sum+`"}]`),
		"method":        blobOf("sha256:"+sum, 5, `,"method":"POST"`),
		"another size":  blobOf(string(ballast.DigestOf([]byte(offered))), 8),
		"a known size":  blobOf(string(ballast.DigestOf([]byte(weights))), 8),
	} {
		all["blobs "+name] = ask(blobsBody(blob))
	}
	for _, match := range []string{`"-1"`, `"NaN"`, `"1e3"`, `"9223372036854775808"`, `"01x"`, `1`, `"1`, `""`, "*", `"01"`, `"+1"`, `'1'`, "`1`", `"\x31"`, `W/"1"`, `"1", "2"`} {
		all["alias If-Match "+match] = badRequest{method: "PUT", path: "/v1/models/m/aliases/champion", body: `{"version":"1"}`, header: []string{"If-Match", match}}
	}
	return all
}

func badMetadata() map[string]badRequest {
	all := map[string]badRequest{}
	for _, field := range []string{"model_type", "backend", "architecture", "base_model", "registered_by", "dataset_id", "config_hash"} {
		for _, name := range []string{"NUL", "newline", "DEL", "number", "list", "bytes"} {
			all["metadata "+field+" "+name] = commit(describedBody(`{"` + field + `":` + badText()[name] + `}`))
		}
		all["metadata "+field+" 1 MiB"] = commit(describedBody(`{"` + field + `":` + badText()["1 MiB"] + `}`)).as(ballast.CodeTooLarge)
	}
	for name, metadata := range map[string]string{
		"NaN": `{"metrics":{"loss":NaN}}`, "NaN text": `{"metrics":{"loss":"NaN"}}`, "Infinity": `{"metrics":{"loss":-Infinity}}`, "1e999": `{"metrics":{"loss":1e999}}`,
		"metric without a name": `{"metrics":{"":1}}`, "metric with NUL": `{"metrics":{"a\u0000":1}}`, "NaN in config": `{"config":{"a":NaN}}`,
		"tag empty": `{"tags":[""]}`, "tag twice": `{"tags":["a","a"]}`, "tag NUL": `{"tags":["\u0000"]}`, "tag number": `{"tags":[1]}`,
		"task": `{"task":"cooking"}`, "half a parameter": `{"num_parameters":1.5}`, "huge": `{"num_parameters":9223372036854775808}`,
		"base colons": `{"base_model":"::"}`, "base traversal": `{"base_model":"../m"}`, "unknown": `{"licence":"MIT"}`, "list": `[]`, "text": `"a"`,
	} {
		all["metadata "+name] = commit(describedBody(metadata))
	}
	all["metadata description 1 MiB"] = commit(describedBody(`{"description":` + badText()["1 MiB"] + `}`)).as(ballast.CodeTooLarge)
	all["metadata deep"] = commit(describedBody(`{"extra":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`)).as(ballast.CodeTooLarge)
	all["metadata deeper"] = commit(describedBody(`{"extra":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`))
	all["metadata no such base"] = commit(describedBody(`{"base_model":"nobody::m:1"}`)).as(ballast.CodePrecondition)
	return all
}

func badTokens() map[string]badRequest {
	all := map[string]badRequest{}
	mint := func(body string) badRequest { return badRequest{method: "POST", path: "/v1/tokens", body: body} }
	for name, value := range badText() {
		if name != "empty" { // the token's id
			all["token name "+name] = mint(tokenBody(value))
		}
		all["token scope "+name] = mint(`{"grants":[{"scope":` + value + `,"role":"writer"}]}`)
		all["token role "+name] = mint(`{"grants":[{"scope":"acme","role":` + value + `}]}`)
	}
	grant := `{"scope":"acme","role":"reader"}`
	all["token without grants"] = mint(`{"grants":[]}`)
	all["token with 65 grants"] = mint(`{"grants":[` + strings.Repeat(grant+",", 64) + grant + `]}`)
	all["token without scope"] = mint(`{"grants":[{"role":"reader"}]}`)
	all["token without role"] = mint(`{"grants":[{"scope":"acme"}]}`)
	all["token with email"] = mint(tokenBody(`"ci@acme"`))
	for _, names := range []string{"*", "a**", "a--*", "-a*", "a/b/c*", "a b*", "versions/*", "acme::a*", strings.Repeat("a", 97) + "*"} {
		all["token names "+names] = mint(`{"grants":[{"scope":"acme","role":"writer","names":` + quoted(names) + `}]}`)
	}
	for name, value := range badText() {
		all["token names "+name] = mint(`{"grants":[{"scope":"acme","role":"writer","names":` + value + `}]}`)
	}
	all["token admin of names"] = mint(`{"grants":[{"scope":"acme","role":"admin","names":"a*"}]}`)
	for _, seconds := range []string{"0", "-1", "1.5", "3153600001", "9223372036854775808", `"60"`, `"90d"`, "NaN"} {
		all["token expires_in "+seconds] = mint(`{"grants":[{"scope":"acme","role":"writer"}],"expires_in":` + seconds + `}`)
	}
	for _, at := range []string{`""`, `"tomorrow"`, `"2020-01-01T00:00:00Z"`, `"9999-01-01T00:00:00Z"`, `"2030-01-01"`, "1893456000"} {
		all["token expires_at "+at] = mint(`{"grants":[{"scope":"acme","role":"writer"}],"expires_at":` + at + `}`)
	}
	all["token that expires twice"] = mint(`{"grants":[{"scope":"acme","role":"writer"}],"expires_in":60,"expires_at":"2099-01-01T00:00:00Z"}`)
	for _, seconds := range []string{"-1", "1.5", "2592001", "9223372036854775808", `"1h"`, "NaN"} {
		all["rotate overlap "+seconds] = badRequest{method: "POST", path: "/v1/tokens/u1/rotate", body: `{"overlap":` + seconds + `}`}
	}
	all["token of another"] = mint(`{"grants":[{"scope":"other","role":"reader"}]}`).as(ballast.CodeDenied)
	all["token of all"] = mint(`{"grants":[{"scope":"global","role":"admin"}]}`).as(ballast.CodeDenied)
	return all
}

// badForms are bodies that are wrong before anything in them is looked at, for each operation that takes one.
func badForms() map[string]badRequest {
	all := map[string]badRequest{}
	for operation, body := range map[string]string{
		"POST /v1/uploads": createBody("name", `"fresh"`), "POST /v1/imports": `{"source":"inbox:m/","name":"imported"}`, "POST /v1/uploads/{u}/blobs": blobsBody(blob("form")), "POST /v1/uploads/{u}/commit": commitBody(file(`"a"`, offered)),
		"PUT /v1/models/m/aliases/champion": `{"version":"1"}`, "POST /v1/tokens": tokenBody(`"ci"`),
		"PATCH /v1/models/m/versions/1": patchBody("backend", `"vllm"`), "POST /v1/models/m/rollback": `{"reason":"worse"}`,
		"POST /v1/tokens/u1/rotate": `{"overlap":1}`, "POST /v1/models/m/versions/1/promote": `{"reason":"better"}`, "POST /v1/models/m/versions/1/retire": `{}`, "POST /v1/models/m/versions/1/restore": `{}`, "POST /v1/admin/gc": `{"dry_run":true}`,
	} {
		method, path, _ := strings.Cut(operation, " ")
		for name, bad := range map[string]string{
			"empty": "", "null": "null", "list": "[" + body + "]", "text": quoted("a"), "number": "1", "NaN": "NaN", "form": "a=1&b=2", "cut": body[:len(body)-1],
			"two": body + body, "tail": body + "x", "unknown field": strings.Replace(body, "{", `{"unknown":1,`, 1), "byte order mark": "\ufeff" + body, "UTF-16": "\xff\xfe{\x00}\x00",
			"every field twice": body[:len(body)-1] + "," + body[1:], "a field in capitals": strings.ToUpper(body[:min(4, len(body))]) + body[min(4, len(body)):],
			"deep": strings.Repeat(`{"name":`, 20_000), "not UTF-8": strings.Replace(body, "{", "{\"\xff\":1,", 1),
		} {
			if (name == "empty" || name == "null") && (strings.HasSuffix(path, "/promote") || strings.HasSuffix(path, "/rotate") || strings.HasSuffix(path, "/retire") || strings.HasSuffix(path, "/restore") || strings.HasSuffix(path, "/gc") || strings.HasSuffix(path, "/fsck")) {
				continue // they do without a body
			}
			if bad == body {
				continue // it has no field
			}
			all[operation+" "+name] = badRequest{method: method, path: path, body: bad}
		}
		for _, kind := range []string{"", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json, text/plain", "application/problem+json", "application/", ";"} {
			all[operation+" as "+kind] = badRequest{method: method, path: path, body: body, header: []string{"Content-Type", kind}}
		}
		all[operation+" compressed"] = badRequest{method: method, path: path, body: body, header: []string{"Content-Encoding", "gzip"}}
		all[operation+" of 4 MiB"] = badRequest{method: method, path: path, body: body + strings.Repeat(" ", ballast.MaxBodyBytes), code: ballast.CodeTooLarge}
	}
	all["a file's field in capitals"] = commit(commitBody(strings.Replace(file(`"a"`, offered), "}", `,"SIZE":8}`, 1)))
	all["a file's field twice"] = commit(commitBody(strings.Replace(file(`"a"`, offered), "}", `,"path":"b"}`, 1)))
	all["a metric twice"] = commit(describedBody(`{"metrics":{"loss":1,"loss":2}}`))
	all["unknown field of a file"] = commit(commitBody(strings.Replace(file(`"a"`, offered), "{", `{"mode":511,`, 1)))
	all["unknown field of a blob"] = ask(blobsBody(strings.Replace(blob("form"), "{", `{"url":"http://store",`, 1)))
	all["unknown field of a grant"] = badRequest{method: "POST", path: "/v1/tokens", body: `{"grants":[{"scope":"acme","role":"reader","until":1}]}`}
	return all
}

// badTasks are what no task is called.
func badTasks() map[string]badRequest {
	all := map[string]badRequest{}
	for name, task := range map[string]string{
		"NUL": "a%00", "newline": "a%0ab", "capitals": "NER", "dot": "a.b", "slash": "a%2fb", "traversal": "..%2fa", "bytes": "%ff", "long": strings.Repeat("a", 65), "space": "a%20b", "dash first": "-a",
	} {
		for _, method := range []string{"PUT", "DELETE"} {
			all[method+" task "+name] = badRequest{method: method, path: "/v1/tasks/" + task}
		}
	}
	all["a filter by a task that is none"] = badRequest{method: "GET", path: "/v1/versions?task=flying"}
	all["tasks with a parameter"] = badRequest{method: "GET", path: "/v1/tasks?added=true"}
	return all
}

// badQuotas are scopes that nobody can have, and bounds that are none.
func badQuotas() map[string]badRequest {
	all := map[string]badRequest{}
	for name, scope := range map[string]string{
		"NUL": "a%00", "newline": "a%0ab", "capitals": "ACME", "dot": "a.b", "slash": "a%2fb", "traversal": "..%2fa", "bytes": "%ff", "long": strings.Repeat("a", 64), "two stars": "**", "nil": "00000000-0000-0000-0000-000000000000",
	} {
		for method, body := range map[string]string{"GET": "", "PUT": `{"bytes":1}`, "DELETE": ""} {
			all[method+" quota of "+name] = badRequest{method: method, path: "/v1/admin/quotas/" + scope, body: body}
		}
	}
	for name, body := range map[string]string{
		"negative": `{"bytes":-1}`, "fraction": `{"versions":1.5}`, "text": `{"uploads":"10"}`, "huge": `{"upload_bytes":9223372036854775807}`, "overflow": `{"bytes":9223372036854775808}`,
		"unknown": `{"files":1}`, "capitals": `{"Bytes":1}`, "twice": `{"bytes":1,"bytes":2}`, "list": `[1]`,
	} {
		all["a quota "+name] = badRequest{method: "PUT", path: "/v1/admin/quotas/acme", body: body}
	}
	all["quotas with a parameter"] = badRequest{method: "GET", path: "/v1/admin/quotas?scope=acme"}
	all["no quotas on a page"] = badRequest{method: "GET", path: "/v1/admin/quotas?limit=0"}
	for name, size := range map[string]string{"negative": "-1", "over all files": "99999999999999999999", "fraction": "0.5", "more than 10,000 files of 5 TiB": "54975581388800001"} {
		all["an upload's size "+name] = badRequest{method: "POST", path: "/v1/uploads", body: `{"name":"a","attempt":"0123456789abcdef","size":` + size + `}`}
	}
	return all
}

// badFscks are checks that nobody can ask for.
func badFscks() map[string]badRequest {
	all := map[string]badRequest{}
	for name, body := range map[string]string{
		"negative": `{"rate":-1}`, "text": `{"deep":"yes"}`, "unknown": `{"fast":true}`, "twice": `{"deep":true,"deep":true}`, "list": `[1]`, "capitals": `{"Deep":true}`, "overflow": `{"rate":9223372036854775808}`,
	} {
		all["a check "+name] = badRequest{method: "POST", path: "/v1/admin/fsck", body: body}
		if name == "negative" { // the role is asked for before the numbers
			all["a check "+name] = badRequest{method: "POST", path: "/v1/admin/fsck", body: body, code: ballast.CodeDenied}
		}
	}
	for name, query := range map[string]string{"no findings": "limit=0", "unknown": "scope=acme"} {
		all["a look at a check with "+name] = badRequest{method: "GET", path: "/v1/admin/fsck?" + query}
	}
	return all
}

// badIDs are ids of uploads, imports and tokens that the registry never made.
func badIDs() map[string]badRequest {
	all := map[string]badRequest{}
	for name, id := range map[string]string{
		"NUL": "a%00", "newline": "a%0ab", "DEL": "a%7f", "C1": "%c2%85", "colons": "a::b", "traversal": "..%2f..%2fa", "absolute": "%2fa", "bytes": "%ff", "long": strings.Repeat("a", 65), "another": "u1",
	} {
		for operation, body := range map[string]string{
			"GET /v1/uploads/": "", "GET /v1/imports/": "", "DELETE /v1/imports/": "", "DELETE /v1/uploads/": "", "DELETE /v1/tokens/": "", "GET /v1/tokens/": "", "POST /v1/tokens/ /rotate": `{"overlap":1}`, "POST /v1/uploads/ /blobs": blobsBody(blob("id")), "POST /v1/uploads/ /commit": commitBody(file(`"a"`, offered)),
		} {
			method, path, _ := strings.Cut(operation, " ")
			before, after, _ := strings.Cut(path, " ")
			all[operation+" id "+name] = badRequest{method: method, path: before + id + after, body: body}.as(ballast.CodeNotFound)
		}
	}
	return all
}
