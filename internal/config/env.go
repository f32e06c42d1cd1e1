package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/grantd/grantd/internal/nearest"
)

const envPrefix = "GRANTD_"

// environment puts the values of GRANTD_... variables into the configuration:
// GRANTD_HTTP_LISTEN for http.listen, lists separated by commas. A variable
// that is set to nothing counts as not set, as in shell and compose files
// ${X:-} stands for "no opinion".
//
// A variable that begins like a section but names no key of it is a problem,
// as an unknown key in the file is. Other GRANTD_... variables are warned of,
// unless the caller knows them, because a typing error in a section's name
// must not pass unseen. What Kubernetes sets for a service called grantd
// (GRANTD_PORT=tcp://..., GRANTD_SERVICE_HOST) is passed over.
func (r *reader) environment(environ, known []string) (warnings []string) {
	byEnv := make(map[string]key, len(r.keys))
	names := make([]string, 0, len(r.keys))
	for _, k := range r.keys {
		byEnv[k.env()] = k
		names = append(names, k.env())
	}
	slices.Sort(names)
	for _, variable := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(variable, "=")
		if value == "" || !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) || fromKubernetes(name, value) {
			continue
		}
		k, ok := byEnv[name]
		switch {
		case ok:
			r.variable(k, name, value)
		case r.namesSection(name):
			r.problems = append(r.problems, Problem{Where: name, Text: "names no configuration key" + hint(name, names)})
		default:
			warnings = append(warnings, fmt.Sprintf("environment variable %s is not used%s", name, hint(name, names)))
		}
	}
	return warnings
}

// variable sets one key from the environment.
func (r *reader) variable(k key, name, value string) {
	r.origins[k.path] = name
	list, ok := k.value.(*[]string)
	if !ok {
		if err := k.set(value); err != nil {
			r.problems = append(r.problems, Problem{Where: name, Key: k.path, Text: err.Error()})
		}
		return
	}
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	*list = items
}

// namesSection reports whether the variable's name begins with a section.
func (r *reader) namesSection(name string) bool {
	for _, section := range r.children[""] {
		if strings.HasPrefix(name, envPrefix+strings.ToUpper(section)+"_") {
			return true
		}
	}
	return false
}

func fromKubernetes(name, value string) bool {
	return strings.Contains(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.HasPrefix(value, "tcp://") || strings.HasPrefix(value, "udp://") ||
		strings.Contains(name, "_TCP_") || strings.Contains(name, "_UDP_")
}

func hint(name string, names []string) string {
	if near := nearest.Name(name, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}
