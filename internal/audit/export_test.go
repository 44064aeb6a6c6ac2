package audit

// What the tests look at.
const (
	MaxWaiting = maxWaiting
	CrowdBurst = crowdBurst
)

// AppendTime and TimeForm are how lines have their times.
var AppendTime = appendTime

const TimeForm = timeForm
