// Package failpoint names each step at which the registry changes what outlives it, the index or the bucket, and those of
// its end, so that tests can stop it right before or right after any of them.
//
// It does so in a binary built with the tag failpoints alone. Without the tag [Do] is the step itself and nothing else,
// and no name of a step is in the binary.
package failpoint

// Moment is where in a step it can be stopped.
type Moment string

// The moments.
const (
	Before Moment = "before" // nothing was written yet
	After  Moment = "after"  // the write has returned
)

// Variable says to a process with the tag, which cannot be handed a hook, where to stop: <step>:<before|after>:<kill|hold|error>,
// and :<n> for the nth time that it is met (the first, if left out). Kill ends the process at once; hold has it stand still,
// as SIGSTOP does; error fails the step. tell:<file> stops nowhere: the name of each step that begins goes to that file, one
// a line.
const Variable = "BALLAST_FAILPOINT"

// Step is a change that can be stopped.
type Step int

// The steps. First those in the index, each one transaction.
const (
	Migrate Step = iota
	SaveIntent
	CreateUpload
	CreateImport
	DropSources
	PutSources
	Listed
	HashedSources
	Unchanged
	MovedSources
	Renew
	Ask
	MultipartOpened
	MultipartLost
	StoredByPut
	StoredByMultipart
	Tainted
	Accept
	Completing
	BeginCopy
	LeaseVerify
	RenewVerify
	ReturnVerify
	Verified
	Lied
	Inspect
	Reference
	Seal
	Ready
	Recorded
	Patch
	Promote
	Rollback
	Retire
	Delete
	Undelete
	Condemn
	Unreference
	MultipartsGone
	DropBlobs
	DropEvents
	Reopen
	Settle
	Expire
	Forget
	Release
	Reclaimed
	SetAlias
	DeleteAlias
	PutToken
	RotateToken
	UsedTokens
	DeleteToken
	AddTask
	RemoveTask
	SetQuota
	UnsetQuota
	BeginRebuild
	RebuildFiles
	RebuildVersion
	RebuildBlobs
	RebuildFill
	RebuildReady
	EndRebuild
	SavedSnapshot
	Mend
	BytesLost
	SameBytes
	VersionLost
	Recount

	// Writes to the bucket, each one request.

	PutOwner
	PutBlob
	PutRecord
	CreateMultipart
	CompleteMultipart
	AbortMultipart
	CopyObject
	DeleteObject
	DeleteSource
	PutSnapshot

	// What makes the store's acknowledged writes durable.

	SyncOwner  // before the prefix is claimed
	SyncBytes  // before blobs are verified
	SyncSeal   // before a version is sealed
	SyncRecord // before a version is ready

	// What lies in the data folder beside the index.

	FetchSnapshot // for a rebuild

	// The end of a service. They write nothing themselves: it is told to stop, its requests have ended, its work ends, and
	// the index is closed.

	BeginDrain
	LastSnapshot
	EndWork
	CloseIndex

	steps // their number
)

// Steps returns them all.
func Steps() []Step {
	all := make([]Step, steps)
	for i := range all {
		all[i] = Step(i)
	}
	return all
}

// String returns the step's name.
func (s Step) String() string { return names()[s] }

func names() [steps]string {
	return [steps]string{
		Migrate: "migrate", SaveIntent: "save-intent", CreateUpload: "create-upload", CreateImport: "create-import",
		DropSources: "drop-sources", PutSources: "put-sources", Listed: "listed", HashedSources: "hashed-sources", Unchanged: "unchanged",
		MovedSources: "moved-sources", Renew: "renew", Ask: "ask",
		MultipartOpened: "multipart-opened", MultipartLost: "multipart-lost", StoredByPut: "stored-by-put",
		StoredByMultipart: "stored-by-multipart", Tainted: "tainted", Accept: "accept", Completing: "completing", BeginCopy: "begin-copy",
		LeaseVerify: "lease-verify", RenewVerify: "renew-verify", ReturnVerify: "return-verify", Verified: "verified",
		Lied: "lied", Inspect: "inspect", Reference: "reference", Seal: "seal", Ready: "ready", Recorded: "recorded",
		Patch: "patch", Promote: "promote", Rollback: "rollback", Retire: "retire", Delete: "delete", Undelete: "undelete", Condemn: "condemn", Unreference: "unreference",
		MultipartsGone: "multiparts-gone", DropBlobs: "drop-blobs", DropEvents: "drop-events", Reopen: "reopen", Settle: "settle",
		Expire: "expire", Forget: "forget", Release: "release", Reclaimed: "reclaimed", SetAlias: "set-alias",
		DeleteAlias: "delete-alias", PutToken: "put-token", RotateToken: "rotate-token", UsedTokens: "used-tokens", DeleteToken: "delete-token", AddTask: "add-task", RemoveTask: "remove-task", SetQuota: "set-quota", UnsetQuota: "unset-quota",
		BeginRebuild: "begin-rebuild", RebuildFiles: "rebuild-files", RebuildVersion: "rebuild-version", RebuildBlobs: "rebuild-blobs",
		RebuildFill: "rebuild-fill", RebuildReady: "rebuild-ready", EndRebuild: "end-rebuild", SavedSnapshot: "saved-snapshot",
		Mend: "mend", BytesLost: "bytes-lost", SameBytes: "same-bytes", VersionLost: "version-lost", Recount: "recount", PutOwner: "put-owner",
		PutBlob: "put-blob", PutRecord: "put-record", CreateMultipart: "create-multipart",
		CompleteMultipart: "complete-multipart", AbortMultipart: "abort-multipart", CopyObject: "copy-object", DeleteObject: "delete-object", DeleteSource: "delete-source", PutSnapshot: "put-snapshot",
		SyncOwner: "sync-owner", SyncBytes: "sync-bytes", SyncSeal: "sync-seal", SyncRecord: "sync-record",
		FetchSnapshot: "fetch-snapshot", BeginDrain: "begin-drain", LastSnapshot: "last-snapshot", EndWork: "end-work", CloseIndex: "close-index",
	}
}
