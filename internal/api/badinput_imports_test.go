package api

import (
	"strings"

	"github.com/ballast-registry/ballast"
)

// importBody is a good body of POST /v1/imports with one field in other JSON.
func importBody(field, value string) string {
	fields := map[string]string{"source": `"inbox:m/"`, "name": `"imported"`, "version": `"1"`}
	delete(fields, field)
	body := "{"
	for name, json := range fields {
		body += quoted(name) + ":" + json + ","
	}
	return body + quoted(field) + ":" + value + "}"
}

// badImports are imports from places that cannot be, are not there or are none of the caller's, and of what cannot be
// published.
func badImports() map[string]badRequest {
	all := map[string]badRequest{}
	ask := func(field, value string) badRequest {
		return badRequest{method: "POST", path: "/v1/imports", body: importBody(field, value)}
	}
	for name, value := range badText() {
		for _, field := range []string{"source", "name", "scope", "version"} {
			all["import "+field+" "+name] = ask(field, value)
		}
		all["import metadata "+name] = ask("metadata", value)
		all["import move "+name] = ask("move", value)
	}
	all["import metadata object"], all["import metadata none"] = ask("metadata", `{"licence":"MIT"}`), ask("metadata", `{"task":"cooking"}`)
	for _, source := range []string{"m", "/m", "s3:", "s3://", "s3:///m", "S3://models/m", "s3:/models/m", "https://models/m", "hf://org/m", "INBOX:m", "file:///etc/passwd", "inbox", "inbox:a\x7f"} {
		all["import of "+source] = ask("source", quoted(source))
	}
	all["import of a long key"] = ask("source", quoted("inbox:"+strings.Repeat("a", 1100)))
	for _, source := range []string{
		"inbox:none/", "inbox:..", "inbox:../blobs/", "inbox:m/../../blobs/", "inbox:/m/", "inbox:m//", "inbox:%2e%2e/blobs", "s3://models/", "s3://models/index/",
		"s3://models/tenants/acme/blobs/", "s3://models/tenants/acme/inbox-not/", "s3://models/tenants/them/inbox/m/", "s3://models/global/inbox/m/", "s3://Models/tenants/acme/inbox/m/", "s3://legacy/m/",
	} {
		all["import from "+source] = ask("source", quoted(source)).as(ballast.CodeNotFound)
	}
	all["import into a scope that is not seen"] = ask("scope", `"them"`).as(ballast.CodeNotFound)
	all["import into global"] = ask("scope", `"global"`).as(ballast.CodeDenied)
	all["import without a source"] = badRequest{method: "POST", path: "/v1/imports", body: `{"name":"imported"}`}
	all["import without a name"] = badRequest{method: "POST", path: "/v1/imports", body: `{"source":"inbox:m/"}`}
	all["import on no base"] = ask("metadata", `{"base_model":"nobody:1"}`).as(ballast.CodePrecondition)
	all["import of metadata of 1 MiB"] = ask("metadata", `{"description":`+badText()["1 MiB"]+`}`).as(ballast.CodeTooLarge)
	for _, query := range []string{"limit=0", "limit=NaN", "cursor=%25", "cursor=AAA", "scope=a::b", "wait=1s", "limit=1&limit=2"} {
		all["imports "+query] = badRequest{method: "GET", path: "/v1/imports?" + query}
	}
	for _, query := range []string{"wait=1", "wait=-1s", "wait=soon", "scope=acme"} {
		all["import "+query] = badRequest{method: "GET", path: "/v1/imports/{u}?" + query}
	}
	all["imports of a scope that is not seen"] = badRequest{method: "GET", path: "/v1/imports?scope=them", code: ballast.CodeNotFound}
	all["a push as an import"] = badRequest{method: "GET", path: "/v1/imports/{u}", code: ballast.CodeNotFound}
	all["a push cancelled as an import"] = badRequest{method: "DELETE", path: "/v1/imports/{u}", code: ballast.CodeNotFound}
	return all
}
