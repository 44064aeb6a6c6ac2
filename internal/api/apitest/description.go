package apitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/ballast-registry/ballast/docs"
)

// Description is docs/openapi.yaml with a way from a request to its operation.
type Description struct {
	doc     *openapi3.T
	problem *openapi3.Schema
	paths   []describedPath
}

type describedPath struct {
	template string
	match    *regexp.Regexp // of the path as it was sent, still encoded
}

// Load returns the description. It is parsed once, which takes a while under the race detector.
var Load = sync.OnceValues(func() (*Description, error) {
	doc, err := openapi3.NewLoader().LoadFromData([]byte(docs.OpenAPI()))
	if err != nil {
		return nil, fmt.Errorf("apitest: load docs/openapi.yaml: %w", err)
	}
	d := &Description{doc: doc, problem: doc.Components.Schemas["Problem"].Value}
	shapes := strings.NewReplacer("{name}", `[^/]*(/[^/]*)?`, "{path}", `.*`, "{id}", `[^/]*`, "{ref}", `[^/]*`, "{alias}", `[^/]*`, "{task}", `[^/]*`, "{scope}", `[^/]*`)
	for template := range doc.Paths.Map() {
		d.paths = append(d.paths, describedPath{template, regexp.MustCompile("^" + shapes.Replace(template) + "$")})
	}
	// The most literal path first: /v1/models/{name}/versions before /v1/models/{name}.
	slices.SortFunc(d.paths, func(a, b describedPath) int { return strings.Count(b.template, "/") - strings.Count(a.template, "/") })
	return d, d.tighten()
})

// tighten closes the objects of answers to fields that are not described. It also makes the validator walk the schemas
// itself: for 3.1 it would compile them anew for every answer, which takes a hundred times as long.
func (d *Description) tighten() error {
	d.doc.OpenAPI = "3.0.3"
	for template, item := range d.doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status, response := range op.Responses.Map() {
				if err := tightenResponse(response.Value); err != nil {
					return fmt.Errorf("apitest: %s %s: %s: %w", method, template, status, err)
				}
			}
		}
	}
	return nil
}

func tightenResponse(r *openapi3.Response) (err error) {
	for _, h := range r.Headers {
		err = errors.Join(err, h.Value.Schema.WalkSubtree(tightenSchema))
	}
	for _, c := range r.Content {
		if c.Schema.Value.IsEmpty() {
			c.Schema = nil // anything is as described, and need not be parsed
			continue
		}
		err = errors.Join(err, c.Schema.WalkSubtree(tightenSchema))
	}
	return err
}

// tightenSchema refuses keywords of JSON Schema 2020-12 that only the compiler knows, const excepted.
func tightenSchema(at string, ref *openapi3.SchemaRef) error {
	s := ref.Value
	if s.Const != nil {
		s.Enum, s.Const = []any{s.Const}, nil
	}
	if s.PrefixItems != nil || s.Contains != nil || s.PatternProperties != nil || s.DependentSchemas != nil || s.DependentRequired != nil ||
		s.PropertyNames != nil || s.If != nil || s.UnevaluatedItems.Has != nil || s.UnevaluatedProperties.Has != nil || s.ContentSchema != nil {
		return fmt.Errorf("schema at %q has a keyword that would not be checked", at)
	}
	if open := s.AdditionalProperties; len(s.Properties) > 0 && open.Has == nil && open.Schema == nil {
		s.AdditionalProperties.Has = openapi3.Ptr(false)
	}
	return nil
}

// Check holds an answer to the description. body is what the handler wrote, which of an answer to HEAD nobody sees. A
// request that is for no described operation may only be refused, with a problem document; OPTIONS names the methods.
func (d *Description) Check(r *http.Request, status int, header http.Header, body []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("apitest: the validator panicked: %v", v)
		}
	}()
	op, template := d.operation(r)
	if op == nil {
		return d.checkRefusal(r, status, header, body)
	}
	asked := r.Clone(r.Context())
	asked.Method = http.MethodGet // of HEAD the validator would look at nothing
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: asked,
			Route:   &routers.Route{Spec: d.doc, Path: template, PathItem: d.doc.Paths.Value(template), Method: r.Method, Operation: op},
		},
		Status: status, Header: header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: r.Method == http.MethodHead},
	}
	out.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(r.Context(), out); err != nil {
		return err
	}
	return checkUnvalidated(op, status, header, body)
}

// operation is what a request asks for, and its path in the description; nil when it is not described.
func (d *Description) operation(r *http.Request) (*openapi3.Operation, string) {
	for _, p := range d.paths {
		if !p.match.MatchString(r.URL.EscapedPath()) {
			continue
		}
		item := d.doc.Paths.Value(p.template)
		op := item.GetOperation(r.Method)
		if op == nil && r.Method == http.MethodHead {
			op = item.Get
		}
		return op, p.template
	}
	return nil, ""
}

// checkUnvalidated looks at what the validator lets through unread: redirects and 304.
func checkUnvalidated(op *openapi3.Operation, status int, header http.Header, body []byte) error {
	described := op.Responses.Status(status)
	if described == nil {
		return fmt.Errorf("the status is not described")
	}
	for name, h := range described.Value.Headers {
		if h.Value.Required && header.Get(name) == "" {
			return fmt.Errorf("header %s is missing", name)
		}
	}
	if described.Value.Content == nil && len(body) > 0 {
		return fmt.Errorf("a body of %d bytes is not described", len(body))
	}
	return nil
}

const problemType = "application/problem+json"

func (d *Description) checkRefusal(r *http.Request, status int, header http.Header, body []byte) error {
	if r.Method == http.MethodOptions && status == http.StatusNoContent && header.Get("Allow") != "" && len(body) == 0 {
		return nil
	}
	if status < 400 {
		return fmt.Errorf("an operation that is not described succeeded")
	}
	if got := header.Get("Content-Type"); got != problemType {
		return fmt.Errorf("a refusal of type %q, want %s", got, problemType)
	}
	if r.Method == http.MethodHead {
		return nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return d.problem.VisitJSON(v)
}
