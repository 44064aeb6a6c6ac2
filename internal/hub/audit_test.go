package hub_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hub"
)

// TestNoBytesWithoutALine asks every route of the face as who may read, as a stranger to the scope, and as nobody: each
// answer with bytes or a signed URL has one line that says so, and so has each that refused them.
func TestNoBytesWithoutALine(t *testing.T) {
	r := newRig(t, nil, nil)
	commit := r.publish(r.token("acme=writer"), "tiny:1", ballast.Metadata{}, files("tiny"))
	r.publish(r.token("acme=writer"), "gone:1", ballast.Metadata{}, files("gone"))
	if _, _, err := r.Retire(t.Context(), r.principal(r.token("acme=maintainer")), own("gone:1")); err != nil {
		t.Fatal(err)
	}
	type asked struct {
		*http.Response
		body  string
		bytes bool // it is a route of bytes
	}
	var all []asked
	handed, refused, sent := 0, 0, map[string]bool{}
	tokens := []string{r.token("acme=reader"), r.token("them=admin"), "bal_wrong"}
	for _, repo := range []string{"tiny", "gone", "absent"} {
		for _, rev := range []string{"main", "1", commit, "9"} {
			for _, path := range []string{"config.json", "empty.txt", "model.bin", "none"} {
				for _, route := range hub.Routes() {
					method, template, _ := strings.Cut(route, " ")
					target := strings.NewReplacer("{repo}", repo, "{rev}", rev, "{path}", path).Replace(template)
					if sent[method+target] {
						continue
					}
					sent[method+target] = true
					for _, token := range tokens {
						for _, m := range map[string][]string{"GET": {"GET", "HEAD"}}[method] {
							resp, body := r.ask(token, m, target)
							a := asked{resp, body, strings.HasPrefix(template, "/{repo}/")}
							all = append(all, a)
						}
					}
				}
			}
		}
	}
	lines := map[string][]ballast.AuditEntry{}
	for _, line := range r.audit.Lines(t) {
		lines[line.RequestID] = append(lines[line.RequestID], line)
	}
	for _, a := range all {
		got := lines[a.Header.Get("X-Request-Id")]
		signed := strings.Contains(a.Header.Get("Location")+a.body, "X-Amz-Signature=")
		what := a.Request.Method + " " + a.Request.URL.Path
		switch {
		case a.StatusCode == http.StatusUnauthorized:
			if len(got) != 1 || got[0].Action != ballast.AuditAuth {
				t.Errorf("%s: a refused token has %+v", what, got)
			}
		case a.Request.Method == http.MethodHead:
			if len(got) != 0 || signed {
				t.Errorf("%s: HEAD has %+v", what, got)
			}
		case a.bytes && a.StatusCode < 400:
			handed++
			one := ballast.AuditEntry{}
			if len(got) == 1 {
				one = got[0]
			}
			size := int64(len(a.body))
			if signed {
				size = int64(len("weights of tiny"))
			}
			if one.Action != ballast.AuditRead || (one.URLs == 1) != signed || one.Bytes != size || one.Key != "acme::tiny::1" || !strings.HasSuffix(what, one.Path) || one.By != "tester@acme" {
				t.Errorf("%s: %d with %d bytes, signed %v, has %+v", what, a.StatusCode, size, signed, got)
			}
		case a.bytes:
			refused++
			if len(got) != 1 || got[0].Action != ballast.AuditRead || got[0].Status != a.StatusCode || got[0].Code == "" || got[0].URLs != 0 || got[0].Bytes != 0 {
				t.Errorf("%s: refused with %d, has %+v", what, a.StatusCode, got)
			}
		case signed || len(got) > 0 && (got[0].Action != ballast.AuditRefused || a.StatusCode < 400):
			t.Errorf("%s: %d, signed %v, has %+v", what, a.StatusCode, signed, got)
		}
	}
	if handed < 15 || refused < 50 {
		t.Errorf("control: bytes were handed out %d times and refused %d times", handed, refused)
	}
}
