//go:build race

package actors_test

// raceEnabled shortens tests that let much time pass: under the race detector
// virtual time is twenty times as dear, and Go 1.26 now and then crashes in it
// (raceacquirectx) when timers of a bubble fire in two goroutines at once.
const raceEnabled = true
