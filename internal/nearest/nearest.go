// Package nearest finds the name that somebody probably meant. It promises to
// guess only where the guess is close; what to say about it is left to the caller.
package nearest

// maxSlips is how many letters may be wrong; more is another word.
const maxSlips = 2

// Name returns the known name that given was most likely meant to be, or "".
func Name(given string, known []string) string {
	best, least := "", maxSlips+1
	for _, k := range known {
		if d := distance(given, k); d < least && 2*d <= len(k) {
			best, least = k, d
		}
	}
	return best
}

// distance is how many bytes must be inserted, dropped or replaced to turn a
// into b (Levenshtein). Where the lengths alone are too far apart it stops.
func distance(a, b string) int {
	if far := max(len(a)-len(b), len(b)-len(a)); far > maxSlips {
		return far
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
