package options

import (
	"math/big"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

var (
	decimalForm = regexp.MustCompile(`^[0-9]{1,18}(\.[0-9]{1,18})?$`)
	sizeForm    = regexp.MustCompile(`^([0-9]{1,18}(?:\.[0-9]{1,18})?) ?([kmgtp]?)(?:i?b)?$`)
)

// cpuQuantity reads "1.5"; nil if that is no number. Kubernetes counts thousandths: what is between is rounded up.
func cpuQuantity(text string) *resource.Quantity {
	if !decimalForm.MatchString(text) {
		return nil
	}
	milli := times(text, big.NewInt(1000))
	if !milli.IsInt64() {
		return nil
	}
	return resource.NewMilliQuantity(milli.Int64(), resource.DecimalSI)
}

// byteQuantity reads docker's "512m", "1.5g", "2GiB", "1024": units are powers of 1024. nil if it is none of these.
func byteQuantity(text string) *resource.Quantity {
	parts := sizeForm.FindStringSubmatch(strings.ToLower(text))
	if parts == nil {
		return nil
	}
	power := 0
	if parts[2] != "" {
		power = 1 + strings.Index("kmgtp", parts[2])
	}
	bytes := times(parts[1], new(big.Int).Lsh(big.NewInt(1), uint(10*power)))
	if !bytes.IsInt64() {
		return nil
	}
	return resource.NewQuantity(bytes.Int64(), resource.BinarySI)
}

// times multiplies a decimal and rounds up.
func times(decimal string, factor *big.Int) *big.Int {
	number, ok := new(big.Rat).SetString(decimal)
	if !ok {
		return new(big.Int) // the forms above let nothing else through
	}
	number.Mul(number, new(big.Rat).SetInt(factor))
	whole, rest := new(big.Int).QuoRem(number.Num(), number.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	return whole
}
