// Package docs holds those pages of the documentation that the program itself serves.
package docs

import _ "embed"

//go:embed openapi.yaml
var openAPI string

// OpenAPI is openapi.yaml, the description of the HTTP API.
func OpenAPI() string { return openAPI }
