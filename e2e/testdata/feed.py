"""Puts a folder into a bucket with boto3, as people do: large files in parts, each with headers of its own.

Usage: feed.py ENDPOINT BUCKET PREFIX FOLDER; the credentials come from the usual AWS places.
"""
import pathlib
import sys

import boto3

endpoint, bucket, prefix, folder = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
root = pathlib.Path(folder)
for path in root.rglob("*"):
    if path.is_file():
        headers = {"Metadata": {"note": "of somebody"}, "ContentType": "text/plain", "CacheControl": "no-cache"}
        s3.upload_file(str(path), bucket, prefix + path.relative_to(root).as_posix(), ExtraArgs=headers)
