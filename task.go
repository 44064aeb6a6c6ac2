package ballast

import (
	"regexp"
	"slices"
	"strings"
)

// MaxTasks bounds the tasks that admins add to those of the registry.
const MaxTasks = 1000

var taskPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// tasks are the registry's own six and the pipeline tags of Hugging Face.
var tasks = toSet(strings.Fields(`text_embedding image_embedding audio_embedding classification ner regression
	audio-classification audio-text-to-text audio-to-audio any-to-any automatic-speech-recognition depth-estimation
	document-question-answering feature-extraction fill-mask graph-ml image-classification image-feature-extraction
	image-segmentation image-text-to-text image-text-to-image image-text-to-video image-to-3d image-to-image
	image-to-text image-to-video keypoint-detection mask-generation multiple-choice object-detection other
	question-answering reinforcement-learning robotics sentence-similarity summarization table-question-answering
	table-to-text tabular-classification tabular-regression tabular-to-text text-classification text-generation
	text-ranking text-retrieval text-to-3d text-to-audio text-to-image text-to-speech text-to-video text2text-generation
	time-series-forecasting token-classification translation unconditional-image-generation video-classification
	video-text-to-text video-to-video visual-document-retrieval visual-question-answering voice-activity-detection
	zero-shot-classification zero-shot-image-classification zero-shot-object-detection`))

// Tasks returns the tasks that every registry knows, sorted. Its admins may have added others.
func Tasks() []string {
	all := make([]string, 0, len(tasks))
	for t := range tasks {
		all = append(all, t)
	}
	slices.Sort(all)
	return all
}

// IsTask reports whether every registry knows a task.
func IsTask(s string) bool { return tasks[s] }

// CheckTask refuses what no task is called: 1 to 64 of a-z 0-9 _ - of which the first is a letter or a digit.
func CheckTask(s string) error {
	if !taskPattern.MatchString(s) {
		return Errorf(CodeInvalid, "task %s: 1 to 64 of a-z 0-9 _ - and begins with a letter or digit, as in text-generation", quote(s))
	}
	return nil
}

// UnknownTask refuses a task that a registry does not know. known are all that it does.
func UnknownTask(s string, known []string) *Error {
	return Errorf(CodeInvalid, "task %s is not known; use one of %s. An admin of global adds another with `ballast task add`", quote(s), strings.Join(known, ", "))
}

// TaskInfo is a task that versions can be for.
type TaskInfo struct {
	Task    string `json:"task"`
	AddedBy string `json:"added_by,omitempty"` // an admin; nobody for one that every registry knows
	AddedAt Time   `json:"added_at,omitzero"`
}

// TasksPage is all tasks that a registry knows, sorted.
type TasksPage struct {
	Tasks []TaskInfo `json:"tasks"`
}
