//go:build !race

package worksync_test

// raced says that the race detector is there, which takes memory of its own.
const raced = false
