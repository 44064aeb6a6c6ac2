package api

import (
	"strings"

	"github.com/ballast-registry/ballast"
)

// badChanges are changes of a version that must not be made: of m, whose version 1 is champion and staged and whose
// version 2 is in production.
func badChanges() map[string]badRequest {
	all := map[string]badRequest{}
	change := func(body string) badRequest {
		return badRequest{method: "PATCH", path: "/v1/models/m/versions/1", body: body}
	}
	for _, field := range []string{"model_type", "backend", "architecture", "registered_by", "dataset_id", "config_hash", "tags", "metrics", "input_dim"} {
		for _, name := range []string{"NUL", "newline", "DEL", "bytes"} {
			all["patch "+field+" "+name] = change(patchBody(field, badText()[name]))
		}
		all["patch "+field+" true"] = change(patchBody(field, "true"))
	}
	for name, metadata := range map[string]string{
		"base": `{"base_model":"m:2"}`, "no base": `{"base_model":null}`, "BASE": `{"BASE_MODEL":"m:2"}`, "Task": `{"Task":"ner"}`, "unknown": `{"licence":"MIT"}`,
		"unknown gone": `{"licence":null}`, "no name": `{"":1}`, "task": `{"task":"cooking"}`, "metric NaN": `{"metrics":{"loss":NaN}}`,
		"metric text": `{"metrics":{"loss":"0.5"}}`, "metric 1e999": `{"metrics":{"loss":1e999}}`, "metric without a name": `{"metrics":{"":1}}`,
		"metrics list": `{"metrics":[1]}`, "tag twice": `{"tags":["a","a"]}`, "tag empty": `{"tags":[""]}`, "half a parameter": `{"num_parameters":1.5}`,
		"huge": `{"num_parameters":9223372036854775808}`, "list": `[]`, "text": `"a"`, "deeper": `{"extra":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
	} {
		all["patch metadata "+name] = change(`{"metadata":` + metadata + `}`)
	}
	all["patch description 1 MiB"] = change(patchBody("description", badText()["1 MiB"])).as(ballast.CodeTooLarge)
	all["patch deep"] = change(patchBody("extra", strings.Repeat("[", 500)+strings.Repeat("]", 500))).as(ballast.CodeTooLarge)
	all["patch good and bad"] = change(`{"stage":"archived","metadata":{"task":"cooking"}}`)
	all["patch nothing"] = change(`{}`)
	for name, value := range badText() {
		all["patch stage "+name] = change(`{"stage":` + value + `}`)
		if name != "C1" && name != "colons" && name != "traversal" && name != "absolute" && name != "backslash" && name != "space" { // a reason may hold those
			all["rollback reason "+name] = badRequest{method: "POST", path: "/v1/models/m/rollback", body: `{"reason":` + value + `}`}
			if name != "empty" { // a promotion may have none
				all["promote reason "+name] = badRequest{method: "POST", path: "/v1/models/m/versions/1/promote", body: `{"reason":` + value + `}`}
			}
		}
	}
	for _, stage := range []string{"none", "validated", "production"} { // it is staged
		all["patch back to "+stage] = change(`{"stage":"` + stage + `"}`).as(ballast.CodePrecondition)
	}
	all["rollback reason blank"] = badRequest{method: "POST", path: "/v1/models/m/rollback", body: `{"reason":"  "}`}
	for _, match := range []string{`"-1"`, `"NaN"`, `1`, `""`, "*"} {
		for method, path := range map[string]string{"PATCH": "", "POST": "/promote", "DELETE": ""} {
			all[method+path+" If-Match "+match] = badRequest{method: method, path: "/v1/models/m/versions/1" + path, body: patchBody("task", `"ner"`), header: []string{"If-Match", match}}
		}
	}
	const other = `"99"`
	all["patch of another revision"] = badRequest{method: "PATCH", path: "/v1/models/m/versions/1", body: patchBody("task", `"ner"`), header: []string{"If-Match", other}, code: ballast.CodePrecondition}
	all["retire another revision"] = badRequest{method: "POST", path: "/v1/models/m/versions/1/retire", header: []string{"If-Match", other}, code: ballast.CodePrecondition}
	all["delete another revision"] = badRequest{method: "DELETE", path: "/v1/models/m/versions/1", header: []string{"If-Match", other}, code: ballast.CodePrecondition}
	all["delete the champion"] = badRequest{method: "DELETE", path: "/v1/models/m/versions/1", code: ballast.CodeReferenced}
	all["delete production"] = badRequest{method: "DELETE", path: "/v1/models/m/versions/@production", code: ballast.CodeReferenced}
	all["delete what is not there"] = badRequest{method: "DELETE", path: "/v1/models/m/versions/9", code: ballast.CodeNotFound}
	all["delete elsewhere if it exists"] = badRequest{method: "DELETE", path: "/v1/models/them::m/versions/9?if_exists=true", code: ballast.CodeNotFound}
	all["delete in global if it exists"] = badRequest{method: "DELETE", path: "/v1/models/global::m/versions/9?if_exists=true", code: ballast.CodeDenied}
	all["delete if maybe"] = badRequest{method: "DELETE", path: "/v1/models/m/versions/9?if_exists=maybe"}
	for _, query := range []string{"after=x", "after=1", "after=now1-1", "after=1-x", "after=-1", "wait=1", "wait=-1s", "limit=0", "cursor=1-1"} {
		all["events "+query] = badRequest{method: "GET", path: "/v1/events?" + query}
	}
	all["events of an epoch that never was"] = badRequest{method: "GET", path: "/v1/events?after=7-1", code: ballast.CodeGone}
	for _, query := range []string{"since=x", "since=2026-11-22", "since=1h", "model=a%00", "model=../a", "model=m@champion", "model=m@sha256:" + strings.Repeat("0", 64), "action=bytes.", "action=BYTES", "action=x", "scope=Acme", "cursor=YQ", "cursor=%25", "limit=0", "after=1-1", "who=" + strings.Repeat("a", 257), "scope=acme&model=acme::m&until=1"} {
		all["audit "+query] = badRequest{method: "GET", path: "/v1/audit?" + query}
	}
	all["audit of another scope"] = badRequest{method: "GET", path: "/v1/audit?scope=them", code: ballast.CodeDenied}
	all["audit of another's model"] = badRequest{method: "GET", path: "/v1/audit?model=them::m", code: ballast.CodeDenied}
	all["audit of global"] = badRequest{method: "GET", path: "/v1/audit?scope=global", code: ballast.CodeDenied}
	for _, path := range []string{"m/production?cursor=YQ", "m/production?cursor=MA", "m/production?limit=0", "m/versions/1/children?cursor=%25", "m/versions/1?include=all"} {
		all["GET "+path] = badRequest{method: "GET", path: "/v1/models/" + path}
	}
	return all
}
