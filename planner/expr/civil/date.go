package civil

// Microseconds in larger units.
const (
	Second = int64(1_000_000)
	Minute = 60 * Second
	Hour   = 60 * Minute
	Day    = 24 * Hour
)

// FromDays splits days since 1970-01-01 into year, month and day.
func FromDays(days int64) (year, month, day int) {
	z := days + 719468
	era := FloorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	year = int(yoe + era*400)
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// ToDays is the inverse of FromDays for a valid date.
func ToDays(year, month, day int) int64 {
	y := int64(year)
	m := int64(month)
	if m <= 2 {
		y--
		m += 12
	}
	era := FloorDiv(y, 400)
	yoe := y - era*400
	doy := (153*(m-3)+2)/5 + int64(day) - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

// Valid reports whether the fields name a day.
func Valid(year, month, day int) bool {
	return month >= 1 && month <= 12 && day >= 1 && day <= DaysIn(year, month)
}

// Leap reports whether a year has 366 days.
func Leap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

// DaysIn returns the number of days of a month.
func DaysIn(year, month int) int {
	switch month {
	case 2:
		if Leap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// YearDay returns the day of the year from 1.
func YearDay(days int64) int {
	y, _, _ := FromDays(days)
	return int(days-ToDays(y, 1, 1)) + 1
}

// Weekday returns 0 for Monday to 6 for Sunday.
func Weekday(days int64) int { return int(FloorMod(days+3, 7)) }

// ISOWeek returns the ISO 8601 week and the year it belongs to.
func ISOWeek(days int64) (year, week int) {
	thursday := days - int64(Weekday(days)) + 3
	year, _, _ = FromDays(thursday)
	return year, int((thursday-ToDays(year, 1, 1))/7) + 1
}

// AddMonths moves a date by months; the day is cut to the new month's last.
func AddMonths(days int64, months int64) int64 {
	y, m, d := FromDays(days)
	t := int64(y)*12 + int64(m-1) + months
	ny, nm := int(FloorDiv(t, 12)), int(FloorMod(t, 12))+1
	return ToDays(ny, nm, min(d, DaysIn(ny, nm)))
}

// FloorDiv divides rounding down.
func FloorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// FloorMod is the remainder of FloorDiv.
func FloorMod(a, b int64) int64 {
	r := a % b
	if r != 0 && (r < 0) != (b < 0) {
		r += b
	}
	return r
}
