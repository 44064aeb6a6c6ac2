package api

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/docs"
)

func loadDescription(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(docs.OpenAPI()))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestDescriptionIsValid(t *testing.T) {
	doc := loadDescription(t)
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEveryRouteIsDescribed(t *testing.T) {
	var routed, described []string
	for _, r := range (&server{}).routes() {
		routed = append(routed, r.method+" "+r.path)
	}
	for path, item := range loadDescription(t).Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(routed)
	slices.Sort(described)
	if diff := cmp.Diff(described, routed); diff != "" {
		t.Errorf("docs/openapi.yaml (-) and the routes (+) differ:\n%s", diff)
	}
}

// TestSchemasNameEveryField holds the schemas to the Go types that are written and read: a field added to one side only
// fails here, though a lenient reader would not notice.
func TestSchemasNameEveryField(t *testing.T) {
	schemas := loadDescription(t).Components.Schemas
	for name, v := range map[string]any{
		"Grant": ballast.Grant{}, "Error": ballast.Error{}, "Holder": ballast.Holder{}, "SignedRequest": ballast.SignedRequest{},
		"CreateUpload": ballast.CreateUpload{}, "Upload": ballast.Upload{}, "Progress": ballast.Progress{},
		"BlobsRequest": ballast.BlobsRequest{}, "BlobRequest": ballast.BlobRequest{}, "PartDigest": ballast.PartDigest{},
		"BlobsResponse": ballast.BlobsResponse{}, "BlobAnswer": ballast.BlobAnswer{}, "PartAnswer": ballast.PartAnswer{},
		"CommitRequest": ballast.CommitRequest{}, "CopyVersion": ballast.CopyVersion{}, "Metadata": ballast.Metadata{}, "VersionInfo": ballast.VersionInfo{},
		"ModelInfo": ballast.ModelInfo{}, "ModelsPage": ballast.ModelsPage{}, "VersionsPage": ballast.VersionsPage{},
		"FileInfo": ballast.FileInfo{}, "FilesPage": ballast.FilesPage{}, "Weights": ballast.Weights{}, "TensorInfo": ballast.TensorInfo{},
		"TensorsPage": ballast.TensorsPage{}, "AliasInfo": ballast.AliasInfo{},
		"AliasesPage": ballast.AliasesPage{}, "SetAlias": ballast.SetAlias{}, "CreateToken": ballast.CreateToken{},
		"RotateToken": ballast.RotateToken{}, "TokenInfo": ballast.TokenInfo{}, "TokensPage": ballast.TokensPage{}, "Whoami": ballast.Whoami{}, "StoreInfo": ballast.StoreInfo{}, "ServiceStatus": statusOK{},
		"PatchVersion": ballast.PatchVersion{}, "Promote": ballast.Promote{}, "Rollback": ballast.Rollback{}, "Promotion": ballast.Promotion{},
		"ProductionPage": ballast.ProductionPage{}, "Reference": ballast.Reference{}, "Child": ballast.Child{},
		"ChildrenPage": ballast.ChildrenPage{}, "Event": ballast.Event{}, "EventsPage": ballast.EventsPage{},
		"AuditEntry": ballast.AuditEntry{}, "AuditPage": ballast.AuditPage{},
	} {
		if schemas[name] == nil {
			t.Errorf("schema %s is missing", name)
			continue
		}
		if diff := cmp.Diff(propertiesOf(schemas[name].Value), fieldsOf(v)); diff != "" {
			t.Errorf("schema %s (-) and its Go type (+) differ:\n%s", name, diff)
		}
	}
}

// fieldsOf lists a struct's JSON fields, each with "!" when it is always written.
func fieldsOf(v any) []string {
	var fields []string
	for f := range reflect.TypeOf(v).Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && !strings.Contains(options, "omit") {
			name += "!"
		}
		if f.IsExported() {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields
}

func propertiesOf(s *openapi3.Schema) []string {
	var fields []string
	for name := range s.Properties {
		if slices.Contains(s.Required, name) {
			name += "!"
		}
		fields = append(fields, name)
	}
	slices.Sort(fields)
	return fields
}

func TestDescriptionNamesEveryCode(t *testing.T) {
	var described []string
	doc := loadDescription(t)
	for _, c := range doc.Components.Schemas["Code"].Value.Enum {
		described = append(described, c.(string))
	}
	for _, c := range ballast.Codes() {
		if !slices.Contains(described, string(c)) || !strings.Contains(doc.Info.Description, "| `"+string(c)+"` |") {
			t.Errorf("code %s is not described", c)
		}
	}
	if len(described) != len(ballast.Codes()) {
		t.Errorf("described codes %v are more than there are", described)
	}
}

// TestDescriptionNamesEveryKindOfEvent, and every action of the audit, which these are too.
func TestDescriptionNamesEveryKindOfEvent(t *testing.T) {
	schemas := loadDescription(t).Components.Schemas
	texts := func(schema, property string) (all []string) {
		for _, v := range schemas[schema].Value.Properties[property].Value.Enum {
			all = append(all, v.(string))
		}
		slices.Sort(all)
		return all
	}
	var kinds, actions []string
	for _, k := range ballast.EventKinds() {
		kinds = append(kinds, string(k))
	}
	slices.Sort(kinds)
	for _, a := range ballast.AuditActions() {
		actions = append(actions, string(a))
	}
	if diff := cmp.Diff(texts("Event", "kind"), kinds); diff != "" {
		t.Errorf("kinds of events described (-) and there (+):\n%s", diff)
	}
	if diff := cmp.Diff(texts("AuditEntry", "action"), actions); diff != "" {
		t.Errorf("actions described (-) and there (+):\n%s", diff)
	}
}
