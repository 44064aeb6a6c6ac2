"""Reads with boto3 what a registry wrote: lists a scope's blobs, reads a version's manifest and checks every file.

Usage: read.py ENDPOINT BUCKET SCOPE_PATH MANIFEST_KEY; the credentials come from the usual AWS places.
Prints {"listed": [keys], "files": {path: sha256}}.
"""
import hashlib
import json
import sys

import boto3

endpoint, bucket, scope, manifest_key = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")


def body(key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


listed = [
    entry["Key"]
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=scope + "/blobs/sha256/")
    for entry in page.get("Contents", [])
]
for key in listed:
    assert hashlib.sha256(body(key)).hexdigest() == key.rsplit("/", 1)[1], key

files = {}
for layer in json.loads(body(manifest_key))["layers"]:
    digest = layer["digest"].removeprefix("sha256:")
    content = body(f"{scope}/blobs/sha256/{digest[:2]}/{digest}")
    assert len(content) == layer["size"], layer
    files[layer["annotations"]["org.cncf.model.filepath"]] = hashlib.sha256(content).hexdigest()
print(json.dumps({"listed": listed, "files": files}))
