package hub

import (
	"net/http"

	"github.com/ballast-registry/ballast"
)

// readOnly is the answer to everything that would change a model.
const readOnly = "this registry serves Hugging Face clients for reading only: publish with `ballast push`, and set aliases, retire and delete with `ballast` too"

// noXet is the answer to what a client asks only for Xet, a protocol of huggingface.co's own storage.
const noXet = "this registry has no Xet storage: set HF_HUB_DISABLE_XET=1 for downloads; publish with `ballast push`"

// unsupported are the routes that clients know and that are answered with why they do not work.
func unsupported() (all []route) {
	const (
		model = "/api/models/{repo}"
		lfs   = "/{repo}/info/lfs/objects/batch"
	)
	for _, path := range []string{
		"/api/repos/create", "/api/repos/move", "/api/validate-yaml", lfs,
		model + "/preupload/{rev}", model + "/commit/{rev}", model + "/branch/{rev}", model + "/tag/{rev}",
		model + "/super-squash/{rev}", model + "/discussions", model + "/lfs-files/duplicate",
	} {
		all = append(all, route{http.MethodPost, path, saying(readOnly)})
	}
	for _, path := range []string{"/api/repos/delete", model + "/branch/{rev}", model + "/tag/{rev}"} {
		all = append(all, route{http.MethodDelete, path, saying(readOnly)})
	}
	return append(all,
		route{http.MethodPut, model + "/settings", saying(readOnly)},
		route{http.MethodGet, model + "/auth-check/write", saying(readOnly)},
		route{http.MethodGet, model + "/xet-read-token/{rev}", saying(noXet)},
		route{http.MethodGet, model + "/xet-write-token/{rev}", saying(readOnly)},
		route{http.MethodGet, "/api/datasets/{path}", modelsOnly},
		route{http.MethodGet, "/api/spaces/{path}", modelsOnly},
		route{http.MethodGet, "/datasets/{path}", modelsOnly},
		route{http.MethodGet, "/spaces/{path}", modelsOnly},
	)
}

// saying answers with why something is not served.
func saying(why string) func(*Hub, http.ResponseWriter, *request) error {
	return func(_ *Hub, w http.ResponseWriter, _ *request) error {
		writeRefusal(w, http.StatusNotImplemented, why, refusal{Error: why, Errors: []problem{{why}}})
		return nil
	}
}

// modelsOnly answers for datasets and spaces, of which there are none.
func modelsOnly(_ *Hub, w http.ResponseWriter, _ *request) error {
	w.Header().Set(headerCode, repoNotFound)
	return ballast.Errorf(ballast.CodeNotFound, "this registry holds models only, neither datasets nor spaces")
}
