// Package hostile is what one tenant tries on another, and what anybody tries with a request that the registry signed, as
// tests of the whole: the real binary before both stores. It exports nothing.
//
// Each table is held against something that is wrong on purpose, and must fail there: a proxy that lets in as somebody
// else, a signer that signs less, a store that looks at no signature.
package hostile
