package hub

// Routes are the routes of the face, each "METHOD path".
func Routes() (all []string) {
	for _, r := range routes() {
		all = append(all, r.method+" "+r.path)
	}
	return all
}
