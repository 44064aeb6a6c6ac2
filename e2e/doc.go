// Package e2e holds what a user may rely on as tests of the whole: the real binary, the embedded store and a MinIO with
// three users, programs of others that read the bucket, and the lines of the README. It exports nothing.
//
// A test here knows the registry by its command line, its HTTP API and its bucket only.
package e2e
