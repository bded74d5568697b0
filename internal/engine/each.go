package engine

import "sync"

// Each calls do for all items side by side, and gives their errors, in the order of the items.
func Each[T any](items []T, do func(T) error) []error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() { errs[i] = do(item) })
	}
	wg.Wait()
	return errs
}
