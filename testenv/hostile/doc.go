// Package hostile is what one tenant tries on another, as tables that any registry can be put before: in process, where
// doctored services prove that the tables can tell, and as the real binary.
//
// An [Attack] is one request. It names something that the victim has, and is sent as everybody who has no business with
// it: nobody, a stranger, and each role of another tenant and of global. It is sent a second time about what nobody has,
// and the two answers must be one, byte for byte, but for the name that was asked for. Whatever is answered must not be
// a failure of the service, hold nothing of the victim's, and sign nothing outside of the caller's own scopes. What
// cannot be written as one request over net/http is in smuggle.go.
//
// A new route, a new parameter or a new kind of credential takes a line in native.go, hub.go, crafted.go or, for who
// asks, in callers.go.
package hostile
