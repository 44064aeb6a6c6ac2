// Package push interrupts `ballast push`, as tests of the whole: the real binary before both stores, behind a proxy that hurts
// uploads and counts what clients send. It exports nothing.
//
// However it is interrupted, the push finishes, alone or when it is repeated, what is pulled then has the bytes of the folder,
// no part that the store has acknowledged is sent again, and no more is sent than the model, and for each interruption a part
// for each transfer in flight. Each test has a control. BALLAST_PUSH_KILLS sets how often the client is killed.
package push
