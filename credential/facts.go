package credential

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Bounds of an account's facts and variables.
const (
	MaxFacts     = 32
	MaxFactName  = 64      // bytes
	MaxFactValue = 2 << 10 // bytes
)

// CheckFacts says what is wrong with an account's facts: at most [MaxFacts]
// of them, names of letters, digits and . _ - with at most [MaxFactName] bytes,
// values of at most [MaxFactValue] bytes without control characters. The error
// is an [ErrInvalid] and shows no value.
func CheckFacts(facts map[string]string) error {
	if len(facts) > MaxFacts {
		return fmt.Errorf("%w: facts has %d entries, at most %d are taken", ErrInvalid, len(facts), MaxFacts)
	}
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		if !isFactName(name) {
			return fmt.Errorf("%w: facts has a name that cannot be; use 1 to %d letters, digits and . _ -", ErrInvalid, MaxFactName)
		}
		if !isFactValue(facts[name]) {
			return fmt.Errorf("%w: facts.%s must have at most %d bytes of text without control characters", ErrInvalid, name, MaxFactValue)
		}
	}
	return nil
}

// MergeFacts lays facts over those that an account has. What [CheckFacts] would
// refuse is left out: a provider's answer must not fail for what it tells
// besides. An empty value takes a fact away. Neither map is changed.
func MergeFacts(old, over map[string]string) map[string]string {
	if len(over) == 0 {
		return old
	}
	merged := make(map[string]string, len(old)+len(over))
	maps.Copy(merged, old)
	for _, name := range slices.Sorted(maps.Keys(over)) {
		value := over[name]
		_, had := merged[name]
		switch {
		case value == "":
			delete(merged, name)
		case isFactName(name) && isFactValue(value) && (had || len(merged) < MaxFacts):
			merged[name] = value
		}
	}
	if len(merged) == 0 {
		return nil
	}
	return merged
}

func isFactName(s string) bool {
	return s != "" && len(s) <= MaxFactName && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
	})
}

func isFactValue(s string) bool {
	return len(s) <= MaxFactValue && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' })
}
