package httpapi

// Routes lists what the router answers, as "METHOD path", to compare it with
// the document.
func Routes() []string {
	var list []string
	for _, rt := range (&api{}).routes() {
		path := rt.path
		if end := len(path) - len("{$}"); end >= 0 && path[end:] == "{$}" {
			path = path[:end]
		}
		list = append(list, rt.method+" "+path)
	}
	return list
}
