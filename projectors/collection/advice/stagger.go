package advice

import (
	"fmt"
	"strconv"
	"strings"
)

// A clockwork is the part of a schedule that says at which time of day it comes.
type clockwork struct {
	fields []string // of a cron-like one; nil of a token
	token  uint64
	minute int
	hour   int // -1: several, minute counts in each
	step   int // of */step in place of a minute; minute and hour do not count
}

// minutes of an hour and of a day.
const (
	anHour = 60
	aDay   = 24 * anHour
)

// readClockwork takes a schedule apart; ok is false if it has no one time of day,
// minute or step that could be moved.
func readClockwork(text string) (c clockwork, ok bool) {
	f := strings.Fields(text)
	switch len(f) {
	case 1:
		return readToken(f[0])
	case 5:
	default:
		return c, false
	}
	c.fields = f
	if step, found := strings.CutPrefix(f[0], "*/"); found {
		n, err := strconv.Atoi(step)
		c.step = n
		return c, err == nil && n > 1 && n <= anHour
	}
	var err error
	if c.minute, err = strconv.Atoi(f[0]); err != nil || c.minute < 0 || c.minute >= anHour {
		return c, false
	}
	if c.hour, err = strconv.Atoi(f[1]); err != nil || c.hour < 0 || c.hour >= 24 {
		c.hour = -1
	}
	return c, true
}

// Places of the time of day in a token.
const (
	minuteBit = 58
	hourBit   = 53
	timeBits  = 1<<11 - 1
)

// readToken reads a single token; several together are left alone.
func readToken(text string) (c clockwork, ok bool) {
	token, err := strconv.ParseUint(text, 16, 64)
	if err != nil || len(text) != 16 {
		return c, false
	}
	c.token, c.minute, c.hour = token, int(token>>minuteBit), int(token>>hourBit&31)
	return c, c.minute < anHour && c.hour < 24
}

// at returns the schedule with another time of day, in minutes.
func (c *clockwork) at(time int) string {
	if c.fields == nil {
		token := c.token&^(timeBits<<hourBit) | uint64(time%anHour)<<minuteBit | uint64(time/anHour)<<hourBit
		return fmt.Sprintf("%016X", token)
	}
	f := append([]string{strconv.Itoa(time % anHour)}, c.fields[1:]...)
	if c.hour >= 0 {
		f[1] = strconv.Itoa(time / anHour)
	}
	return strings.Join(f, " ")
}

// moved returns a schedule some minutes later, or earlier, on the same days; ok is
// false if that cannot be.
func moved(text string, minutes int) (string, bool) {
	c, ok := readClockwork(text)
	if !ok || c.step > 0 {
		return "", false
	}
	if c.hour < 0 {
		if m := c.minute + minutes; m >= 0 && m < anHour {
			return c.at(m), true
		}
		return "", false
	}
	if t := anHour*c.hour + c.minute + minutes; t >= 0 && t < aDay {
		return c.at(t), true
	}
	return "", false
}

// staggered proposes other schedules for those that come in the same minute: on the
// same days, at the same hours where there are several, and in the order given. It
// returns "" for those that it leaves alone.
func staggered(texts []string) []string {
	all := make([]string, len(texts))
	var daily, hourly []int
	works := make([]clockwork, len(texts))
	for i, text := range texts {
		c, ok := readClockwork(text)
		works[i] = c
		switch {
		case !ok:
		case c.step > 0:
			offset := i * c.step / len(texts)
			f := append([]string{fmt.Sprintf("%d-%d/%d", offset, anHour-1, c.step)}, c.fields[1:]...)
			all[i] = strings.Join(f, " ")
		case c.hour < 0:
			hourly = append(hourly, i)
		default:
			daily = append(daily, i)
		}
	}
	for n, i := range hourly {
		all[i] = works[i].at(n * anHour / len(hourly))
	}
	for n, i := range daily {
		first := anHour*works[i].hour + works[i].minute
		all[i] = works[i].at(slot(first, n, len(daily)))
	}
	return all
}

// slot is the time of day of the n-th of some collections that come at first: five
// minutes apart, or as far as there is room, and before midnight.
func slot(first, n, of int) int {
	for _, apart := range []int{5, 2, 1} {
		if last := (of - 1) * apart; last <= aDay/4 {
			return min(first, aDay-1-last) + n*apart
		}
	}
	span := min(of-1, aDay/4) // several share a minute
	return min(first, aDay-1-span) + n*span/max(1, of-1)
}
