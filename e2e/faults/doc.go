// Package faults holds what is promised of a store, a disk and a clock that fail, as tests of the whole: the real binary
// before a proxy with faults, before MinIO and the embedded store. It exports nothing.
//
// While a fault lasts, every refusal is typed, shows nothing that is not the client's, and calls nothing absent that
// exists. What was ready stays listed. When it is over the same service, not restarted, goes on: accepted commits are
// finished, the same push is taken, and the invariants hold.
package faults
