package expr

import (
	"math"
	"strconv"
	"strings"
)

// parseNumber reads a number as the runner reads literals and strings that meet a number: decimal with fraction and
// exponent, hexadecimal (0x), octal (0o), Infinity and NaN. White space around is ignored, and nothing is 0. A text
// that is no number gives NaN.
func parseNumber(text string) float64 {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return 0
	case strings.HasPrefix(text, "0x"):
		return parseInt32(text[2:], 16)
	case strings.HasPrefix(text, "0o"):
		return parseInt32(text[2:], 8)
	case isDecimal(text):
		f, _ := strconv.ParseFloat(text, 64) // out of range is an infinity, as in .NET
		return f
	}
	return parseInfinity(text)
}

// parseInt32 reads digits as the runner does: 32 bits, of which the highest is the sign. 0xffffffff is -1.
func parseInt32(digits string, base int) float64 {
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return math.NaN()
	}
	return float64(int32(n)) // #nosec G115 -- the wrap is the rule
}

// parseInfinity reads the names of infinity, in any case and with a sign, as .NET does.
func parseInfinity(text string) float64 {
	sign := 1
	switch text[0] {
	case '-':
		sign, text = -1, text[1:]
	case '+':
		text = text[1:]
	}
	if strings.EqualFold(text, "Infinity") {
		return math.Inf(sign)
	}
	return math.NaN()
}

// isDecimal says whether text is [sign] digits [. digits] [e [sign] digits], with a digit before the exponent.
func isDecimal(text string) bool {
	rest := trimSign(text)
	whole, rest := digits(rest)
	fraction := 0
	if strings.HasPrefix(rest, ".") {
		fraction, rest = digits(rest[1:])
	}
	if whole+fraction == 0 {
		return false
	}
	if rest == "" {
		return true
	}
	if rest[0] != 'e' && rest[0] != 'E' {
		return false
	}
	exponent, rest := digits(trimSign(rest[1:]))
	return exponent > 0 && rest == ""
}

func trimSign(text string) string {
	if text != "" && (text[0] == '+' || text[0] == '-') {
		return text[1:]
	}
	return text
}

// digits counts the decimal digits at the start of text, and gives what comes after.
func digits(text string) (int, string) {
	rest := strings.TrimLeft(text, "0123456789")
	return len(text) - len(rest), rest
}

// formatNumber writes a number like .NET's "G15": 15 significant digits, an exponent of at least two digits when
// the number is below 1E-4 or from 1E+15.
func formatNumber(f float64) string {
	switch {
	case f == 0:
		return "0" // -0 too
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', 14, 64), "e")
	mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	power, _ := strconv.Atoi(exponent)
	if power < -4 || power >= 15 {
		return mantissa + "E" + exponent
	}
	rounded, _ := strconv.ParseFloat(mantissa+"e"+exponent, 64)
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}
