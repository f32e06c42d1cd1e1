//go:build race

package actors_test

// raceEnabled shortens tests that let much time pass: under the race detector
// virtual time is twenty times as dear. And Go 1.26 crashes in it now and then
// (raceacquirectx, racereleasemergeg) when timers of a bubble fire on two
// processors at once: the tests have one then. Races are found all the same, by
// what happens before what and not by what happens at the same time.
const raceEnabled = true
