package audit

// What the tests look at.
const (
	MaxWaiting = maxWaiting
	CrowdBurst = crowdBurst
)
