// Package deploy runs what deploy/ says to run, as tests of the whole: the real binary with the commands, variables, users and volumes of
// the manifests and of the unit, in root folders that its user cannot write to, on a real store. It exports nothing. That the
// manifests are such of Kubernetes, testenv/deploy tells, which has its types; that the unit is one, systemd itself does in cmd/registry.
package deploy
