package oauth

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
)

// retryAfter reads when to come again: from the provider's own header, else
// from Retry-After (RFC 9110 section 10.2.3), a number in the provider's unit or
// a date. 0: it is not told, or makes no sense.
func retryAfter(header http.Header, p *catalog.Provider, now time.Time) time.Duration {
	for _, name := range [...]string{p.RetryAfterHeader, "Retry-After"} {
		if name == "" {
			continue
		}
		if text := strings.TrimSpace(header.Get(name)); text != "" {
			return pause(text, p.RetryAfterUnit, now)
		}
	}
	return 0
}

// pause is never more than maxRetryAfter.
func pause(text string, unit catalog.TimeUnit, now time.Time) time.Duration {
	if unit == "" || unit == catalog.Seconds {
		n, err := strconv.ParseUint(text, 10, 32)
		switch {
		case err == nil:
			return min(time.Duration(n)*time.Second, maxRetryAfter)
		case errors.Is(err, strconv.ErrRange):
			return maxRetryAfter
		}
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || f < 0 || unit == "" || unit == catalog.Seconds {
		return 0
	}
	f = inSeconds(min(f, 1e15), unit, now) // beyond any time; keeps what follows a number
	return min(max(time.Duration(min(f, maxRetryAfter.Seconds())*float64(time.Second)), 0), maxRetryAfter)
}
