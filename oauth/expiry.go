package oauth

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
)

// expiresIn is how long the access token lives; 0: not told, or nonsense.
func (o object) expiresIn(p *catalog.Provider, a answer, now time.Time) time.Duration {
	if p.ExpiresInField == "" && p.ExpiresInUnit == "" { // as nearly everywhere
		return o.lifetime("expires_in")
	}
	return o.told(p.ExpiresInField, p.ExpiresInUnit, a, now, "expires_in")
}

// refreshExpiresIn is the same for the refresh token, which has no standard
// name.
func (o object) refreshExpiresIn(p *catalog.Provider, a answer, now time.Time) time.Duration {
	unit := p.RefreshExpiresInUnit
	if unit == "" {
		unit = p.ExpiresInUnit
	}
	return o.told(p.RefreshExpiresInField, unit, a, now, "refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in")
}

// told reads what is at the catalogue's path in the catalogue's unit; where
// there is no path, the unit is that of the other names, else they are seconds.
func (o object) told(path string, unit catalog.TimeUnit, a answer, now time.Time, names ...string) time.Duration {
	if path != "" {
		if holder, name := o.find(path); isThere(holder[name]) {
			s, _ := holder.text(name)
			return validity(s, unit, a.clock(now))
		}
		unit = catalog.Seconds
	}
	if unit == "" || unit == catalog.Seconds {
		return o.lifetime(names...)
	}
	for _, name := range names {
		if s, ok := o.text(name); ok {
			if d := validity(s, unit, a.clock(now)); d > 0 {
				return d
			}
		}
	}
	return 0
}

// lifetime reads seconds, as a number or a string; 0: not told, or nonsense.
// The first name that makes sense wins.
func (o object) lifetime(names ...string) time.Duration {
	for _, name := range names {
		if s, ok := o.text(name); ok {
			if d := validity(s, catalog.Seconds, time.Time{}); d > 0 {
				return d
			}
		}
	}
	return 0
}

// validity reads a lifetime, or what is left of it at the time now; 0: over,
// endless or nonsense.
func validity(s string, unit catalog.TimeUnit, now time.Time) time.Duration {
	s = strings.TrimSpace(s)
	if len(s) > maxCode {
		return 0
	}
	if unit == catalog.DateTime {
		return plausible(dateTime(s).Sub(now).Seconds())
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return plausible(inSeconds(f, unit, now))
}

// inSeconds turns a number of the unit into the seconds that are left at the
// time now.
func inSeconds(f float64, unit catalog.TimeUnit, now time.Time) float64 {
	switch unit {
	case catalog.Milliseconds:
		return f / 1000
	case catalog.Timestamp:
		return f - float64(now.UnixMilli())/1000
	case catalog.TimestampMillis:
		return (f - float64(now.UnixMilli())) / 1000
	}
	return f
}

// plausible is a lifetime in whole seconds, unless it is none.
func plausible(seconds float64) time.Duration {
	if !(seconds >= 1 && seconds <= maxLifetime.Seconds()) {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// dateTime reads a date with time, of which providers write several kinds; one
// without a zone is UTC. It is zero where it is none of them.
func dateTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04:05Z0700", http.TimeFormat} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}

// maxSkew is by how much the date of an answer may differ from this machine's
// clock and still be believed.
const maxSkew = 24 * time.Hour

// clock is the time by the clock of who answered, where it is told.
func (a answer) clock(now time.Time) time.Time {
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil || date.Sub(now).Abs() > maxSkew {
		return now
	}
	return date
}
