// Package pull interrupts `ballast pull`, as tests of the whole: the real binary before both stores, behind a proxy that hurts
// downloads and counts what clients are sent. It exports nothing.
//
// However it is interrupted, the pull finishes, alone or when it is repeated, every file has the bytes that were pushed, and
// no more travels than the model, and for each interruption a part for each transfer in flight. Each test has a control: the
// same fault for good, or a client that forgets, which must fail. BALLAST_PULL_KILLS sets how often the client is killed.
package pull
