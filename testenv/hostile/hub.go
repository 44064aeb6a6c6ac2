package hostile

// HubAttacks are those on the Hugging Face face.
func HubAttacks() (all []Attack) {
	add := func(group, name, method, path, body string, want Want) {
		header := ""
		if body != "" && body[0] != '{' {
			header = "Content-Type: application/x-www-form-urlencoded\r\n"
		}
		all = append(all, Attack{Group: group, Name: name, Face: Hub, Method: method, Path: path, Body: body, Header: header, Want: want})
	}
	for _, repo := range []string{"{only}", "{them}::{name}", "{them}%3A%3A{name}", "{them}/{name}", "{them}%2F{only}", "{them}::{only}"} {
		for _, rev := range []string{"main", "1", "{digest}", "{commit}"} {
			add("another's file", "GET "+repo+" at "+rev, get, "/"+repo+"/resolve/"+rev+"/w.safetensors", "", Absent)
			add("another's file", "HEAD "+repo+" at "+rev, head, "/"+repo+"/resolve/"+rev+"/w.safetensors", "", Absent)
			add("another's file", "raw "+repo+" at "+rev, get, "/"+repo+"/raw/"+rev+"/config.json", "", Absent)
			for _, route := range []string{"revision", "tree", "commits"} {
				add("another's model", route+" "+repo+" at "+rev, get, "/api/models/"+repo+"/"+route+"/"+rev, "", Absent)
			}
			add("another's model", "paths-info "+repo+" at "+rev, post, "/api/models/"+repo+"/paths-info/"+rev, "paths=w.safetensors&expand=True", Absent)
			add("another's model", "paths-info as JSON "+repo+" at "+rev, post, "/api/models/"+repo+"/paths-info/"+rev, `{"paths":["w.safetensors"]}`, Absent)
		}
		for _, route := range []string{"", "/refs", "/auth-check", "/auth-check/write", "/xet-read-token/main"} {
			add("another's model", "info"+route+" "+repo, get, "/api/models/"+repo+route, "", Absent)
		}
		for _, route := range []string{"/preupload/main", "/commit/main", "/branch/x", "/tag/x", "/super-squash/main", "/discussions", "/lfs-files/duplicate"} {
			add("another's model, changed", route+" "+repo, post, "/api/models/"+repo+route, `{}`, Absent)
		}
		add("another's model, changed", "batch "+repo, post, "/"+repo+"/info/lfs/objects/batch", `{"operation":"download","objects":[{"oid":"{filehex}","size":{size}}]}`, Absent)
		add("another's model, changed", "settings "+repo, put, "/api/models/"+repo+"/settings", `{"private":false}`, Absent)
		add("another's model, changed", "branch "+repo, del, "/api/models/"+repo+"/branch/x", "", Absent)
	}
	for _, rev := range []string{"{version}", "{alias}", "{digest}", "{commit}", "refs%2Ftags%2F{version}", "refs%2Fheads%2F{alias}", "@{alias}", "{them}::{name}::1", "{file}"} {
		add("another's revision", "a file at "+rev, get, "/subject/resolve/"+rev+"/w.safetensors", "", Absent)
		add("another's revision", "HEAD of a file at "+rev, head, "/subject/resolve/"+rev+"/w.safetensors", "", Absent)
		add("another's revision", "raw at "+rev, get, "/subject/raw/"+rev+"/config.json", "", Absent)
		for _, route := range []string{"revision", "tree", "commits"} {
			add("another's revision", route+" "+rev, get, "/api/models/subject/"+route+"/"+rev, "", Absent)
		}
		add("another's revision", "paths-info "+rev, post, "/api/models/subject/paths-info/"+rev, "paths=w.safetensors", Absent)
	}
	add("another's revision", "a file by its hash", get, "/subject/resolve/{version}/w.safetensors", "", Absent)
	all[len(all)-1].Header = "If-None-Match: \"{filehex}\"\r\n"
	for _, query := range []string{"search={only}", "author={them}", "author=only-", "search=only", "filter={them}", "cursor={cursor:models}", "cursor={cursor:all}", "search={them}::{name}"} {
		add("another's in a list", query, get, "/api/models?"+query, "", Same)
	}
	for _, path := range []string{"/api/models", "/api/models?full=True&limit=100", "/api/models/subject", "/api/models/subject/refs", "/api/models/subject/tree/main?recursive=True&expand=True", "/api/whoami-v2", "/api/models/subject/commits/main"} {
		add("one's own lists", path, get, path, "", Clean)
	}
	return all
}
