package objstore

import "fmt"

// listing is the check that absent can be told from forbidden.
func (p *prober) listing() Check {
	return Check{Name: "list_bucket", Needed: Required,
		Claim:  "the service may list the bucket, so that the store tells an absent object from a forbidden one",
		Cost:   "the store answers 403 for what is not there, which the registry never takes for absent: pushes stop and nothing can be rebuilt",
		Remedy: "allow the service's identity s3:ListBucket and s3:ListBucketMultipartUploads on arn:aws:s3:::" + p.s.bucket + ", as docs/iam/service.json does; or correct --s3-bucket, if that bucket is somebody else's"}
}

// serviceDenied is the observation that the service may not do what the probe does with its credentials.
func (p *prober) serviceDenied(err error) observation {
	at := "arn:aws:s3:::" + p.s.bucket
	return observation{Hole, err.Error(), &Check{Name: "service_rights", Needed: Required,
		Claim:  "the service's identity may read, write, delete and list below the prefix, multipart uploads included",
		Cost:   "the registry cannot keep anything, and what it has it may be unable to read or free",
		Remedy: "allow it s3:GetObject, s3:GetObjectVersion, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts on " + at + "/" + p.s.prefix + "*, and what is for the bucket in docs/iam/service.json on " + at}}
}

const otherStore = "use a store that enforces it; this one cannot hold a registry"

// putPolicy says what the put identity needs, as a policy has it.
func (p *prober) putPolicy() string {
	at := "arn:aws:s3:::" + p.s.bucket + "/" + p.s.prefix
	return fmt.Sprintf("name in --s3-put-profile a profile that may do s3:PutObject on %s*/blobs/* and %s*/staging/* and nothing else, above all no s3:GetObject", at, at)
}

// getPolicy says what the get identity needs.
func (p *prober) getPolicy() string {
	return fmt.Sprintf("name in --s3-get-profile a profile that may do s3:GetObject and s3:GetObjectVersion on arn:aws:s3:::%s/%s*/blobs/* and nothing else", p.s.bucket, p.s.prefix)
}

func (p *prober) copyRemedy() string {
	if p.s.putUser == p.s.service {
		return "the service's own credentials cannot sign for clients on this store: " + p.putPolicy() + "; and " + p.getPolicy()
	}
	return p.putPolicy()
}
