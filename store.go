package ballast

// StoreInfo is the answer of GET /v1/store: where the registry's objects lie, for programs that read the store with an
// identity of their own. It grants nothing.
type StoreInfo struct {
	Endpoint  string `json:"endpoint,omitempty"` // URL under which clients reach the store; left out, it is AWS's of the region
	Region    string `json:"region"`
	Bucket    string `json:"bucket"`
	Prefix    string `json:"prefix,omitempty"` // before every key, with its slash at the end
	PathStyle bool   `json:"path_style"`       // the bucket stands in the path of URLs, not in the host name
}

// Key is the whole key in the bucket of what object_key and BlobKey name below the registry's prefix.
func (s StoreInfo) Key(objectKey string) string { return s.Prefix + objectKey }

// URI is the same as an s3:// address.
func (s StoreInfo) URI(objectKey string) string { return "s3://" + s.Bucket + "/" + s.Key(objectKey) }
