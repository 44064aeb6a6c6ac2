package hostile

import (
	"net/http"
	"slices"
)

const (
	get, head, post, put, patch, del = http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete

	ifMatch = "If-Match: \"{revision}\"\r\n"
)

// NativeAttacks are those on /v1.
func NativeAttacks() (all []Attack) {
	for _, a := range slices.Concat(othersNames(), othersIDs(), othersScopes(), othersKeys(), othersDigests(), othersCursors(), othersThings(), lists()) {
		a.Face = Native
		all = append(all, a)
	}
	return all
}

// othersNames asks on every route about a model of the victim's, by each way to write it.
func othersNames() (all []Attack) {
	const version = "/versions/{at}"
	for _, way := range []struct{ name, path, at string }{
		{"by its full name", "/v1/models/{them}::{name}", "1"},
		{"by its full name, escaped", "/v1/models/{them}%3A%3A{name}", "1"},
		{"by its name that no other has", "/v1/models/{only}", "1"},
		{"by its full name that no other has", "/v1/models/{them}::{only}", "latest"},
		{"by a version that only it has", "/v1/models/{name}", "{version}"},
		{"by an alias that only it has", "/v1/models/{name}", "@{alias}"},
		{"by a digest that only it has", "/v1/models/{name}", "{digest}"},
	} {
		for _, r := range []struct{ name, method, path, body, header string }{
			{"read", get, version, "", ""}, {"HEAD", head, version, "", ""}, {"provenance", get, version + "?include=retired", "", ""},
			{"files", get, version + "/files", "", ""}, {"files with URLs", get, version + "/files?urls=true&parts=true", "", ""},
			{"a file", get, version + "/files/w.safetensors", "", ""}, {"a file, fresh", get, version + "/files/w.safetensors", "", "Cache-Control: no-cache\r\n"},
			{"HEAD of a file", head, version + "/files/w.safetensors", "", ""}, {"its tag of a file", get, version + "/files/w.safetensors", "", "If-None-Match: \"{filehex}\"\r\n"},
			{"tensors", get, version + "/tensors/w.safetensors", "", ""}, {"children", get, version + "/children", "", ""},
			{"copy", post, version + "/copy", `{"name":"stolen","version":"1"}`, ""}, {"copy within", post, version + "/copy", `{"scope":"{them}","name":"stolen"}`, ""},
			{"describe", patch, version, `{"metadata":{"description":"mine"}}`, ""}, {"describe from its revision", patch, version, `{"metadata":{"description":"mine"}}`, ifMatch},
			{"stage", patch, version, `{"stage":"archived"}`, ""}, {"promote", post, version + "/promote", `{"reason":"mine"}`, ""},
			{"retire", post, version + "/retire", `{}`, ""}, {"retire from its revision", post, version + "/retire", `{}`, ifMatch},
			{"restore", post, version + "/restore", `{}`, ""},
			{"delete", del, version, "", ""}, {"delete if there", del, version + "?if_exists=true", "", ""},
		} {
			a := Attack{Group: "another's version", Name: r.name + " " + way.name, Method: r.method, Path: way.path + r.path, Body: r.body, Header: r.header}
			if r.name == "delete if there" { // which is success where nothing is
				a.Want = Same
			}
			a.Path = replace(a.Path, "{at}", way.at)
			all = append(all, a)
		}
	}
	for _, name := range []string{"{them}::{name}", "{only}", "{them}::{only}", "{them}%3a%3a{name}"} {
		for _, r := range []struct{ name, method, path, body string }{
			{"read", get, "", ""}, {"versions", get, "/versions", ""}, {"versions of any status", get, "/versions?status=all", ""},
			{"production", get, "/production", ""}, {"rollback", post, "/rollback", `{"reason":"mine"}`},
			{"aliases", get, "/aliases", ""}, {"set an alias", put, "/aliases/champion", `{"version":"1"}`},
			{"set its alias", put, "/aliases/{alias}", `{"version":"1"}`}, {"delete an alias", del, "/aliases/champion", ""},
		} {
			all = append(all, Attack{Group: "another's model", Name: r.name + " by " + name, Method: r.method, Path: "/v1/models/" + name + r.path, Body: r.body})
		}
	}
	return all
}

// othersIDs asks by ids that the victim was given.
func othersIDs() (all []Attack) {
	for _, r := range []struct{ name, method, path, body string }{
		{"read an upload", get, "/v1/uploads/{upload}", ""}, {"wait for an upload", get, "/v1/uploads/{upload}?wait=1ms", ""}, {"abort an upload", del, "/v1/uploads/{upload}", ""},
		{"ask for its blobs", post, "/v1/uploads/{upload}/blobs", `{"blobs":[{"digest":"{file}","size":{size}}]}`},
		{"sign its parts", post, "/v1/uploads/{upload}/blobs", `{"blobs":[{"digest":"{file}","size":{size},"method":"multipart","part_size":5242880,"parts":[{"number":1,"sha256":"{filehex}"}]}]}`},
		{"commit an upload", post, "/v1/uploads/{upload}/commit", `{"files":[]}`},
		{"commit its file", post, "/v1/uploads/{upload}/commit", `{"files":[{"path":"w","size":{size},"sha256":"{filehex}"}]}`},
		{"a long body for an upload", post, "/v1/uploads/{upload}/commit", `{"files":[` + repeat(" ", 1<<20) + `]}`},
		{"read an import", get, "/v1/imports/{import}", ""}, {"wait for an import", get, "/v1/imports/{import}?wait=1ms", ""}, {"cancel an import", del, "/v1/imports/{import}", ""},
		{"an import as an upload", get, "/v1/uploads/{import}", ""}, {"abort an import", del, "/v1/uploads/{import}", ""}, {"an upload as an import", get, "/v1/imports/{upload}", ""},
		{"blobs of an import", post, "/v1/uploads/{import}/blobs", `{"blobs":[{"digest":"{file}","size":{size}}]}`},
	} {
		all = append(all, Attack{Group: "another's id", Name: r.name, Method: r.method, Path: r.path, Body: r.body})
	}
	revoke := Attack{Group: "another's id", Name: "revoke a token", Method: del, Path: "/v1/tokens/{token}", But: []string{"global=admin"}}
	return append(all, revoke)
}

// othersScopes names the victim's scope where one is asked for.
func othersScopes() (all []Attack) {
	for _, r := range []struct {
		name, method, path, body string
		want                     Want
	}{
		{"push into it", post, "/v1/uploads", `{"scope":"{them}","name":"subject","version":"9","attempt":"0123456789abcdef"}`, Absent},
		{"hold its label", post, "/v1/uploads", `{"scope":"{them}","name":"opened","version":"1","attempt":"0123456789abcdef"}`, Absent},
		{"import into it", post, "/v1/imports", `{"scope":"{them}","source":"inbox:none/","name":"stolen"}`, Absent},
		{"copy into it", post, "/v1/models/subject/versions/1/copy", `{"scope":"{them}","name":"planted"}`, Absent},
		{"its imports", get, "/v1/imports?scope={them}", "", Absent},
		{"its models", get, "/v1/models?scope={them}", "", Same}, {"its models by prefix", get, "/v1/models?scope={them}&prefix=only", "", Same},
		{"its versions", get, "/v1/versions?scope={them}", "", Same}, {"its versions of any status", get, "/v1/versions?scope={them}&status=all&order=newest", "", Same},
	} {
		all = append(all, Attack{Group: "another's scope", Name: r.name, Method: r.method, Path: r.path, Body: r.body, Want: r.want})
	}
	return append(all,
		Attack{Group: "another's scope", Name: "a token for it", Method: post, Path: "/v1/tokens", Body: `{"name":"mine","grants":[{"scope":"{them}","role":"reader"}]}`, But: []string{"global=admin"}},
		Attack{Group: "another's scope", Name: "a token for it beside one's own", Method: post, Path: "/v1/tokens", Body: `{"name":"mine","grants":[{"scope":"acme","role":"reader"},{"scope":"{them}","role":"admin"}]}`, But: []string{"global=admin"}},
	)
}

// othersKeys names the victim's versions in every field that takes a reference.
func othersKeys() (all []Attack) {
	for _, key := range []string{"{them}::{name}::1", "{them}::{name}:{version}", "{them}::{name}@champion", "{them}::{name}@{alias}", "{them}::{name}@{digest}", "{them}::{name}", "{only}:1", "{only}", "{name}:{version}", "{name}@{digest}"} {
		for _, r := range []struct {
			name, method, path, body string
			want                     Want
		}{
			{"as base of a version", patch, "/v1/models/subject/versions/1", `{"metadata":{"base_model":"{key}"}}`, Absent},
			{"as base of a commit", post, "/v1/uploads/{mine}/commit", `{"files":[],"metadata":{"base_model":"{key}"}}`, Absent},
			{"as base of an import", post, "/v1/imports", `{"source":"inbox:none/","name":"based","metadata":{"base_model":"{key}"}}`, Absent},
			{"as base in a filter", get, "/v1/versions?base={key}", "", Absent}, {"as base in a filter of a model", get, "/v1/models/subject/versions?base={key}", "", Absent},
			{"as a name in the path", get, "/v1/models/{key}", "", Absent}, {"as a version in the path", get, "/v1/models/subject/versions/{key}", "", Absent},
			{"as source of an import", post, "/v1/imports", `{"source":"inbox:{key}","name":"stolen"}`, Absent},
			{"as name of an upload", post, "/v1/uploads", `{"name":"{key}","version":"1","attempt":"0123456789abcdef"}`, Same},
			{"as version of an upload", post, "/v1/uploads", `{"name":"mine","version":"{key}","attempt":"0123456789abcdef"}`, Absent},
			{"as target of an alias", put, "/v1/models/subject/aliases/stolen", `{"version":"{key}"}`, Absent},
		} {
			if r.name == "as name of an upload" && key == "{only}" { // which anybody may have in a scope of their own
				continue
			}
			all = append(all, Attack{Group: "another's key as reference", Name: r.name + " " + key, Method: r.method, Path: replace(r.path, "{key}", key), Body: replace(r.body, "{key}", key), Want: r.want})
		}
	}
	return all
}

// othersDigests names the victim's bytes.
func othersDigests() (all []Attack) {
	const blobs, commit = "/v1/uploads/{mine}/blobs", "/v1/uploads/{mine}/commit"
	for _, r := range []struct {
		name, method, path, body string
		want                     Want
	}{
		{"whether they are there", post, blobs, `{"blobs":[{"digest":"{file}","size":{size}}]}`, Same},
		{"whether they are there, in parts", post, blobs, `{"blobs":[{"digest":"{file}","size":{size},"method":"multipart","part_size":5242880,"parts":[{"number":1,"sha256":"{filehex}"}]}]}`, Same},
		{"whether its manifest is there", post, blobs, `{"blobs":[{"digest":"{digest}","size":700}]}`, Same},
		{"publish them unsent", post, commit, `{"files":[{"path":"w","size":{size},"sha256":"{filehex}"}]}`, Absent},
		{"publish its manifest", post, commit, `{"files":[{"path":"w","size":700,"sha256":"{hex}"}]}`, Absent},
		{"files of its digest", get, "/v1/models/subject/versions/{digest}/files?urls=true", "", Absent},
		{"files of its file's digest", get, "/v1/models/subject/versions/{file}/files?urls=true", "", Absent},
		{"global's by its digest", get, "/v1/models/global::subject/versions/{digest}", "", Absent},
		{"its digest as an alias", get, "/v1/models/subject/versions/@{digest}", "", Absent},
		{"its digest in capitals", get, "/v1/models/subject/versions/SHA256:{hex}", "", Absent},
		{"its digest, cut", get, "/v1/models/subject/versions/{commit}", "", Absent},
		{"an import of its blob", post, "/v1/imports", `{"source":"s3://{bucket}tenants/{them}/blobs/sha256/{key}","name":"stolen"}`, Absent},
		{"an import of its inbox", post, "/v1/imports", `{"source":"s3://{bucket}tenants/{them}/inbox/","name":"stolen"}`, Absent},
		{"an import of its records", post, "/v1/imports", `{"source":"s3://{bucket}tenants/{them}/models/subject/versions/1/","name":"stolen"}`, Absent},
		{"an import around its inbox", post, "/v1/imports", `{"source":"inbox:../../{them}/inbox/","name":"stolen"}`, Absent},
		{"a moving import of its inbox", post, "/v1/imports", `{"source":"s3://{bucket}tenants/{them}/inbox/","name":"stolen","move":true}`, Absent},
	} {
		all = append(all, Attack{Group: "another's digest", Name: r.name, Method: r.method, Path: r.path, Body: r.body, Want: r.want})
	}
	return all
}

// othersCursors pastes places of the victim's lists, and of its feed, into one's own.
func othersCursors() (all []Attack) {
	for _, list := range []string{"models", "versions", "all", "newest", "files", "imports", "tokens", "production", "events"} {
		for _, into := range []struct{ name, path string }{
			{"models", "/v1/models?cursor="}, {"versions", "/v1/models/subject/versions?cursor="}, {"all versions", "/v1/versions?cursor="}, {"the newest", "/v1/versions?order=newest&cursor="},
			{"files", "/v1/models/subject/versions/1/files?urls=true&cursor="}, {"tensors", "/v1/models/subject/versions/1/tensors/w.safetensors?cursor="},
			{"children", "/v1/models/subject/versions/1/children?cursor="}, {"imports", "/v1/imports?cursor="}, {"tokens", "/v1/tokens?cursor="},
			{"production", "/v1/models/subject/production?cursor="}, {"the victim's models", "/v1/models?scope={them}&cursor="}, {"events", "/v1/events?after="},
		} {
			a := Attack{Group: "another's cursor", Name: "of " + list + " into " + into.name, Method: get, Path: into.path + "{cursor:" + list + "}", Want: Same}
			switch {
			case list == "events" && into.name == "events":
				a.Want, a.But = Clean, []string{"global=admin"} // who hears of everybody's tokens
			case into.name == "tokens":
				a.Want, a.But = Clean, []string{"global=admin"} // and sees them; a token's place is by chance
			}
			all = append(all, a)
		}
	}
	return all
}

// othersThings are what a tenant finds, and may not change, of everybody's.
func othersThings() (all []Attack) {
	for _, r := range []struct{ name, method, path, body string }{
		{"add a task", put, "/v1/tasks/claim-triage", ""}, {"remove a task", del, "/v1/tasks/claim-triage", ""},
		{"change a task of every registry", del, "/v1/tasks/text-generation", ""},
	} {
		all = append(all, Attack{Group: "everybody's", Name: r.name, Method: r.method, Path: r.path, Body: r.body, Want: Refused, But: []string{"global=admin"}})
	}
	return all
}

// lists are those that show what is the caller's, and nothing of anybody else's.
func lists() (all []Attack) {
	for _, path := range []string{
		"/v1/models", "/v1/models?prefix=only", "/v1/models?limit=1000", "/v1/versions", "/v1/versions?status=all&order=newest", "/v1/imports", "/v1/whoami", "/v1/store", "/v1/tasks",
		"/v1/events", "/v1/events?after=now", "/v1/tokens", "/v1/models/subject/versions", "/v1/models/subject/aliases", "/v1/models/subject/production",
		"/v1/models/subject/versions/1/children", "/v1/models/subject/versions/1/files?urls=true",
	} {
		a := Attack{Group: "one's own lists", Name: path, Method: get, Path: path, Want: Clean}
		if path == "/v1/tokens" || path == "/v1/events" {
			a.But = []string{"global=admin"}
		}
		all = append(all, a)
	}
	return all
}
